"""Kills a training process, with SIGKILL and at random moments, again and again until it is done."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from engine.networks import layers  # noqa: F401 (registers the layers of a model file)
from engine.runs.run_directory import RunDirectory
from engine.training import checkpoints, history

KILLS = 8  # of each tier's run; tests/test_launch.py kills workers, and test_trainer.py shows that
# another seed, order or draw tells

# Importing TensorFlow takes 3 s, so one process imports it and forks, before anything has run, a child
# for each stretch of training. A child says when it has taken a step; it is killed up to 40 ms later.
_FORKS = """
import json, os, random, signal, sys
from engine.training import trainer
from engine.base.settings import TrainConfig

shards, whole, parts, cache, kills = *sys.argv[1:5], int(sys.argv[5])
config = TrainConfig(
    epochs=20, global_batch_size=16, depth=2, width=4, dropout=0.5, augment="standard", seed=3,
    precision="float32", ema_momentum=0.5, deterministic=True, checkpoint_every="2", cache=cache,
    steps_per_execution="1",
)
STEPS = 120


def train_in_child(workdir, stepped):
    def should_stop():
        os.write(stepped, b".")
        return False

    status = 1
    try:
        trainer.train(config, shards, workdir, resume=True, should_stop=should_stop)
        status = 0
    finally:
        os._exit(status)


def stretch(workdir, steps, seconds):
    # Trains on; after so many steps and seconds kills it. Returns whether it was killed.
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        train_in_child(workdir, writing)
    os.close(writing)
    seen = 0
    while seen < steps and (got := os.read(reading, 1)):
        seen += 1
    if steps < STEPS:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        signal.sigwait([signal.SIGALRM])
        os.kill(child, signal.SIGKILL)
    while os.read(reading, 64):
        pass
    os.close(reading)
    status = os.waitpid(child, 0)[1]
    return os.WIFSIGNALED(status)


signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
chance = random.Random(cache)
undisturbed = stretch(whole, STEPS + 1, 0)
killed = [
    stretch(parts, chance.randint(1, 5), chance.uniform(0.001, 0.04)) for _ in range(kills)
]
print(json.dumps([undisturbed, sum(killed), stretch(parts, STEPS + 1, 0)]))
"""


def train(shards, whole, parts, cache, *, kills):
    """Trains one run undisturbed and another in stretches.

    Returns whether the first was killed, how many stretches of the second were, and whether its last was.
    """
    arguments = [str(shards), str(whole), str(parts), cache, str(kills)]
    done = subprocess.run(
        [sys.executable, "-c", _FORKS, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def outcome(workdir):
    """What a run leaves, but for what the clock decides."""
    run = RunDirectory(workdir)
    rows = [
        line.split(",")[: -len(history.CLOCK_FIELDS)]
        for line in run.history.read_text().splitlines()
    ]
    newest = checkpoints.paths(run.checkpoints)[-1]
    with np.load(newest) as archive:
        arrays = {name: archive[name] for name in archive.files if name != "state"}
    weights = keras.saving.load_model(run.model).get_weights()
    return rows, newest.name, arrays | {f"best of the file/{i}": w for i, w in enumerate(weights)}


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["memory", "streaming"])
def test_a_run_killed_at_random_moments_ends_as_the_undisturbed_one_to_the_bit(
    striped, tmp_path, cache
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(striped, whole, parts, cache, kills=KILLS) == [False, KILLS, False]
    expected, got = outcome(whole), outcome(parts)
    assert got[:2] == expected[:2]
    assert len(got[0]) == 21  # epochs and a header
    for name, array in expected[2].items():
        np.testing.assert_array_equal(got[2][name], array, err_msg=name)
