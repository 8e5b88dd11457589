import forked_trainings
import pytest
import tensorflow as tf

from engine.base.config import UserError
from engine.training import runtime

NO_GPU = not tf.config.list_physical_devices("GPU")


def prepare(**options):
    defaults = {
        "precision": "float32",
        "jit_compile": "auto",
        "strategy": "auto",
        "num_logical_devices": 1,
        "global_batch_size": 8,
        "precision_advice": None,
        "seed": 0,
        "deterministic": False,
    }
    return runtime.prepare(**{**defaults, **options})


@pytest.mark.skipif(not NO_GPU, reason="says what happens without a GPU")
@pytest.mark.parametrize(
    ("flags", "advice", "expected"),
    [
        ({"amx_bf16", "avx512_bf16"}, "slower", "mixed_bfloat16"),
        ({"avx512_bf16"}, None, "mixed_bfloat16"),
        ({"avx512_bf16"}, "slower", "float32"),
        ({"avx2"}, None, "float32"),
        (set(), None, "float32"),
    ],
)
def test_auto_precision_follows_the_processor(monkeypatch, flags, advice, expected):
    monkeypatch.setattr(runtime, "processor_flags", lambda: frozenset(flags))
    precision, reason = runtime.choose_precision("auto", advice)
    assert precision == expected
    assert reason


@pytest.mark.skipif(not NO_GPU, reason="says what happens without a GPU")
def test_float16_is_refused_on_a_processor():
    with pytest.raises(UserError, match="mixed_float16"):
        runtime.choose_precision("mixed_float16", "weight")


def test_what_is_asked_for_is_taken():
    assert runtime.choose_precision("mixed_bfloat16", "batch")[0] == "mixed_bfloat16"


@pytest.mark.skipif(not NO_GPU, reason="says what happens without a GPU")
def test_one_processor_is_a_single_device_without_xla():
    chosen = prepare()
    assert chosen.num_replicas == 1
    assert not chosen.jit_compile
    assert "float32" in chosen.summary
    assert "XLA off" in chosen.summary


def test_more_devices_than_a_running_process_has_are_refused():
    tf.constant(0) + 1  # the devices are in use from here on
    with pytest.raises(UserError, match="--num-logical-devices 64"):
        prepare(num_logical_devices=64)


def test_a_batch_that_does_not_divide_is_refused_with_the_nearest_that_do():
    for batch, replicas, nearest in ((10, 4, "8 or 12"), (3, 4, "are 4")):
        with pytest.raises(UserError, match=nearest):
            runtime._check_divides(batch, replicas)


@pytest.mark.parametrize(
    ("asked", "on_gpu", "replicas", "deterministic", "expected"),
    [
        ("auto", False, 1, False, (False, "halves the speed")),
        ("auto", True, 1, False, (True, "one GPU")),
        ("auto", True, 1, True, (False, "deterministic")),
        ("auto", True, 2, False, (False, "several devices")),
        ("on", False, 1, False, (True, "as requested")),
        ("on", True, 1, False, (True, "as requested")),
        ("on", True, 1, True, (False, "deterministic")),
        ("on", False, 2, False, (False, "several devices")),
        ("on", True, 8, False, (False, "several devices")),
        ("off", True, 1, False, (False, "as requested")),
        ("off", True, 2, True, (False, "as requested")),
    ],
)
def test_xla_is_used_where_the_stack_can(asked, on_gpu, replicas, deterministic, expected):
    jit, reason = runtime.choose_jit(
        asked, on_gpu=on_gpu, replicas=replicas, deterministic=deterministic
    )
    assert jit == expected[0]
    assert expected[1] in reason


@pytest.mark.slow
def test_two_and_four_devices_train_as_one(striped, tmp_path):
    """Same losses with the batch divided: augmentation, dropout, clipping and averaging included."""
    settings = {"dropout": 0.5, "augment": "strong", "global_clipnorm": 0.5}
    rows = forked_trainings.losses(striped, tmp_path, (1, 2, 4), **settings)
    one, two, four = ([loss for loss, _ in row] for row in rows)
    assert one == pytest.approx(two, rel=1e-5)
    assert one == pytest.approx(four, rel=1e-5)


@pytest.mark.parametrize(("deterministic", "gpus", "expected"), [
    (True, 0, [1]), (True, 2, []), (False, 0, []),
])  # fmt: skip
def test_operations_of_deterministic_runs_are_one_at_a_time(
    monkeypatch, deterministic, gpus, expected
):
    asked = []
    monkeypatch.setattr(tf.config.threading, "set_inter_op_parallelism_threads", asked.append)
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: None)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["a GPU"] * gpus)
    monkeypatch.setattr(runtime, "_devices", lambda count: tf.config.list_logical_devices("CPU"))
    monkeypatch.setattr(runtime, "_strategy", lambda *_, **__: tf.distribute.get_strategy())
    monkeypatch.setattr(runtime, "_device_name", lambda on_gpu: "device")
    prepare(deterministic=deterministic)
    assert asked == expected
