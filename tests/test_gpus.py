"""What only a GPU, or two of them, can show; skipped elsewhere."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from numbered_shards import striped_image, write_shards

# In a process of its own: others of these tests ask for other devices, precisions and determinism.
_TRAIN = """
import json, sys
import tensorflow as tf
from engine.training import trainer
from engine.runs.run_directory import RunDirectory
from engine.base.settings import TrainConfig

shards, workdir, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
tf.config.experimental.enable_tensor_float_32_execution(False)
visible = options.pop("gpus", 1)
tf.config.set_visible_devices(tf.config.list_physical_devices("GPU")[:visible], "GPU")
config = TrainConfig(epochs=2, global_batch_size=16, depth=2, width=8, ema_momentum=0.5, **options)
result = trainer.train(config, shards, workdir)
runtime = RunDirectory(workdir).read_environment()["runtime"]
peak = tf.config.experimental.get_memory_info("GPU:0")["peak"]
print(json.dumps({"losses": [r["loss"] for r in result.history], "peak": peak, **runtime}))
"""


def train(tmp_path, name, **options):
    """The losses of a short training on GPUs, what it ran on, and the memory it took there."""
    if not (tmp_path / "shards").exists():
        write_shards(tmp_path / "shards", {"train": 100, "validation": 40}, draw=striped_image)
    done = subprocess.run(
        [
            *(sys.executable, "-c", _TRAIN),
            *(str(tmp_path / "shards"), str(tmp_path / name), json.dumps(options)),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.gpu
def test_training_uses_the_gpu(tmp_path):
    result = train(tmp_path, "run")
    weights_bytes = 4 * 1000
    assert result["peak"] > weights_bytes
    assert result["jit_compile"]


@pytest.mark.gpu
@pytest.mark.parametrize("jit_compile", ["on", "off"])
@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [("float32", 5e-3), ("mixed_bfloat16", 5e-2), ("mixed_float16", 2e-2)],
)
def test_every_precision_is_near_float32_with_and_without_xla(
    tmp_path, precision, tolerance, jit_compile
):
    plain = train(tmp_path, "plain", precision="float32", jit_compile="off")
    other = train(tmp_path, "other", precision=precision, jit_compile=jit_compile)
    assert other["precision"] == precision
    assert other["jit_compile"] == (jit_compile == "on")
    assert other["losses"] == pytest.approx(plain["losses"], rel=tolerance)


@pytest.mark.gpu
def test_steps_run_together_give_the_run_of_single_ones_on_a_gpu(tmp_path):
    options = {"precision": "float32", "deterministic": True}
    single = train(tmp_path, "single", steps_per_execution="1", **options)
    together = train(tmp_path, "together", steps_per_execution="4", **options)
    assert together["losses"] == single["losses"]


@pytest.mark.multi_gpu
def test_two_gpus_train_as_one(tmp_path):
    options = {"precision": "float32", "jit_compile": "off"}
    one, two = (train(tmp_path, f"on{gpus}", gpus=gpus, **options) for gpus in (1, 2))
    assert two["num_replicas"] == 2
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-5)


@pytest.mark.multi_gpu
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_xla_over_two_gpus_falls_back_and_says_so(tmp_path, precision):
    result = train(tmp_path, "run", gpus=2, precision=precision, jit_compile="on")
    assert not result["jit_compile"]
    assert "XLA off (it cannot compile a step that several devices share)" in result["summary"]
