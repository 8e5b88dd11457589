"""No command has a thread of tf.data's tuner: an iterator that goes would wait for it, for up to a minute."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import fake_run
import pytest
import tensorflow as tf
from native_stacks import tuner_threads

from engine import evaluate
from engine.base.settings import TrainConfig
from engine.inference.predictor import Predictor
from engine.pipeline import datasets
from engine.training import diagnosis, trainer

SMALL = [
    *("--global-batch-size", "16", "--depth", "2", "--width", "4", "--precision", "float32"),
    *("--augment", "light"),
]


@pytest.fixture
def looked(monkeypatch):
    """The tuner's threads that were seen, and a function that looks for more."""
    before, seen, looks = tuner_threads(), set(), []

    def look(*arguments):
        looks.append(1)
        seen.update(tuner_threads() - before)
        return False

    yield seen, look
    assert looks


def start(*arguments):
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def family(pid):
    """A process and those under it that are alive."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [child for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []
    return [pid, *(one for child in children for one in family(int(child)))]


def seen_until_it_ends(process, *others):
    """How often a thread of the tuner was seen in a process, those under it, and others with it."""
    seen, looks, deadline = [], 0, time.monotonic() + 200
    while process.poll() is None:
        assert time.monotonic() < deadline
        for pid in (one for root in (process, *others) for one in family(root.pid)):
            try:
                seen += [(pid, thread) for thread in tuner_threads(pid)]
                looks += 1
            except OSError:  # it has just ended
                continue
        time.sleep(0.1)  # an iterator, and a tuner with it, is open for a training's length
    assert process.returncode == 0, process.stdout.read()
    assert looks
    return seen


_DEFAULT_OPTIONS = """
import tensorflow as tf
iterator = iter(tf.data.Dataset.range(10**9).map(lambda n: n + 1).prefetch(1))
next(iterator)
input()
"""


def test_the_tuner_is_seen_where_there_is_one():
    before = tuner_threads()
    iterator = iter(tf.data.Dataset.range(10**9).map(lambda number: number + 1).prefetch(1))
    next(iterator)
    deadline = time.monotonic() + 20
    while not tuner_threads() - before:  # it may not have gone to sleep yet
        assert time.monotonic() < deadline
    del iterator


def test_the_tuner_of_a_child_is_seen():
    child = subprocess.Popen([sys.executable, "-c", _DEFAULT_OPTIONS], stdin=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while not tuner_threads(child.pid):
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        child.communicate(b"\n", timeout=60)


@pytest.mark.parametrize("cache", ["memory", "streaming"])
def test_training_has_none(striped, tmp_path, looked, monkeypatch, cache):
    seen, look = looked
    monkeypatch.setattr(diagnosis, "images_per_second", lambda run, **_: [run(), look(), 1.0][-1])
    config = TrainConfig(
        epochs=1, global_batch_size=16, depth=2, width=4, precision="float32", cache=cache
    )
    trainer.train(config, striped, tmp_path, should_stop=look, diagnose=True, say=lambda line: None)
    assert not seen


def test_streams_of_encoded_images_have_none(shards, looked):
    seen, look = looked
    batches = iter(datasets.training(shards, global_batch_size=8, cache="streaming"))
    next(batches)
    look()
    assert not seen


def test_evaluating_has_none(tmp_path, looked, monkeypatch):
    seen, look = looked
    images = fake_run.grey_images([40, 200] * 8)
    patients = [f"patient {i}" for i in range(16)]
    shards = fake_run.make_shards(tmp_path / "shards", images, [0, 1] * 8, patients)
    outputs = Predictor.outputs

    def look_and_predict(self, batch, **options):
        look()
        return outputs(self, batch, **options)

    monkeypatch.setattr(Predictor, "outputs", look_and_predict)
    run = fake_run.make_run(tmp_path / "run")
    assert evaluate.main([str(run), str(shards), "--batch-size", "4", "--shifts"]) == 0
    assert not seen


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("engine.train", "{shards}", "--num-logical-devices", "2", "--strategy", "mirrored"),
        ("engine.launch", "--num-workers", "2", "--", "{shards}"),
        ("tuning.search", "{shards}", "--max-trials", "1", "--depth", "2"),
    ],
    ids=["mirrored", "workers", "search"],
)
def test_commands_that_start_processes_have_none(striped, tmp_path, command):
    filled = [part.format(shards=striped) for part in command]
    flags = [*SMALL, "--dropout", "0:0.5"] if command[0].startswith("tuning") else SMALL
    process = start(*filled, "--workdir", tmp_path / "run", "--epochs", "3", *flags)
    assert not seen_until_it_ends(process)


@pytest.mark.slow
def test_the_data_service_has_none(striped, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"localhost:{port}"
    service = [start("engine.data_service", "dispatcher", "--port", port, "--work-dir", tmp_path)]
    try:
        service.append(start("engine.data_service", "worker", "--dispatcher", address))
        for process in service:
            assert process.stdout.readline()
        flags = (*SMALL, "--epochs", "3", "--data-service", f"grpc://{address}")
        training = start("engine.train", striped, "--workdir", tmp_path / "run", *flags)
        assert not seen_until_it_ends(training, *service)
    finally:
        for process in service:
            process.terminate()
            process.communicate(timeout=60)
