import contextlib
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from command_runs import history, wait_for_step
from numbered_shards import write_shards

from engine import data_service, train
from engine.base import loopback
from engine.base.config import UserError
from engine.base.setting_values import check_service_address
from engine.base.settings import TrainConfig
from engine.pipeline import service_input
from engine.pipeline.reading import StoredSplit

FLAGS = [
    *("--global-batch-size", "16", "--depth", "2", "--width", "4", "--precision", "float32"),
    *("--augment", "light", "--deterministic", "--checkpoint-every", "5"),
]


def run_in_background(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


class Service:
    """A dispatcher and two workers, each of which can be killed and started again."""

    def __init__(self, directory):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = str(free.getsockname()[1])
        self.address = f"localhost:{self._port}"
        self._directory = directory
        self.dispatcher = self.start_dispatcher()
        self.workers = [self.start_worker() for _ in range(2)]
        for process, said in [(self.dispatcher, "dispatcher at"), (self.workers[0], "worker of")]:
            assert process.stdout.readline() == "loading TensorFlow ...\n"
            assert said in process.stdout.readline()

    def start_dispatcher(self):
        command = ("dispatcher", "--port", self._port, "--work-dir", self._directory)
        return run_in_background("engine.data_service", *map(str, command))

    def start_worker(self):
        return run_in_background("engine.data_service", "worker", "--dispatcher", self.address)

    def end(self):
        for process in (*self.workers, self.dispatcher):
            process.terminate()
            process.communicate(timeout=60)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """Shared, so the test that kills parts of it comes last."""
    running = Service(tmp_path_factory.mktemp("service") / "state")
    yield running
    running.end()


@pytest.mark.slow
def test_two_training_workers_get_the_batches_of_one_process(striped, service, tmp_path):
    flags = [*FLAGS, "--epochs", "2"]
    runs = tmp_path / "alone", tmp_path / "two"
    assert train.main([str(striped), "--workdir", str(runs[0]), *flags]) == 0
    two = run_in_background(
        *("engine.launch", "--num-workers", "2", "--", striped, "--workdir", str(runs[1])),
        *(*flags, "--data-service", f"grpc://{service.address}"),
    )
    printed, _ = two.communicate(timeout=200)
    assert two.returncode == 0, printed
    np.testing.assert_allclose(history(runs[1]), history(runs[0]), rtol=1e-5)


@pytest.mark.slow
def test_a_worker_that_cannot_read_the_shards_is_one_line(service, tmp_path):
    manifest = write_shards(tmp_path, {"train": 40})
    places = StoredSplit(tmp_path, "train", manifest).places
    for path in places.paths:
        Path(path).unlink()
    read = service_input.make_reader(places, manifest)
    with pytest.raises(UserError, match=r"cannot read the shards .*same absolute path"):
        service_input.make_batches(
            lambda number: read(number + tf.range(4, dtype=tf.int64)),
            address=service.address,
            start=0,
            batch_size=4,
            image_shape=manifest.image_shape,
            damage_named=contextlib.nullcontext,
        )


@pytest.mark.slow
def test_training_is_the_same_though_dispatcher_and_a_worker_are_killed(striped, service, tmp_path):
    flags = [*FLAGS, "--epochs", "12"]
    alone, fed = tmp_path / "alone", tmp_path / "fed"
    assert train.main([str(striped), "--workdir", str(alone), *flags]) == 0
    training = run_in_background(
        *("engine.train", striped, "--workdir", str(fed), *flags),
        *("--data-service", f"grpc://{service.address}"),
    )
    wait_for_step(fed, 5)
    service.dispatcher.kill()
    service.dispatcher.wait()
    service.dispatcher = service.start_dispatcher()
    service.workers[1].kill()
    printed, _ = training.communicate(timeout=200)
    assert training.returncode == 0, printed
    assert f"input: service tier, tf.data service at {service.address}" in printed
    np.testing.assert_array_equal(history(fed), history(alone))
    service.dispatcher.terminate()
    service.workers[0].terminate()
    assert service.dispatcher.wait(60) == service.workers[0].wait(60) == 143


@pytest.mark.parametrize(
    "address", ["localhost:5050", "grpc://localhost", "grpc://:5", "grpc://a/b:1", "grpc://a:x", ""]
)
def test_a_malformed_address_is_one_line(address):
    with pytest.raises(UserError, match=re.escape(f"--data-service: got {address!r}: expected")):
        TrainConfig(data_service=address)
    assert check_service_address("grpc://10.0.0.1:5050") == "grpc://10.0.0.1:5050"


def test_images_cannot_be_kept_here_and_brought_from_elsewhere():
    with pytest.raises(UserError, match="give one of them"):
        TrainConfig(cache="memory", data_service="grpc://localhost:5050")


@pytest.mark.parametrize(("host", "device"), [("localhost", b"lo\0"), ("10.0.0.1", b"")])
def test_the_dispatcher_is_this_hosts_alone_unless_others_know_it(tmp_path, capsys, host, device):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    before = loopback._listening()
    command = ["dispatcher", "--port", str(port), "--work-dir", str(tmp_path), "--host", host]
    server = data_service._dispatcher(data_service.build_parser().parse_args(command))
    try:
        mine = loopback._listening().keys() - before.keys()
        assert mine
        for descriptor in mine:
            with socket.socket(fileno=os.dup(descriptor)) as listener:
                assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16) == device
    finally:
        server._stop()
    said = f"warning: port {port} of TensorFlow's is open on every address of this host"
    assert (said in capsys.readouterr().err) is (host != "localhost")


def test_a_port_that_is_taken_is_one_line(capsys, tmp_path):
    with socket.create_server(("", 0)) as taken:
        port = str(taken.getsockname()[1])
        status = data_service.main(["dispatcher", "--port", port, "--work-dir", str(tmp_path)])
    assert status == 2
    assert f"--port {port}: cannot be listened on" in capsys.readouterr().err


def test_a_worker_without_a_dispatcher_ends_with_one_line(capsys, monkeypatch):
    monkeypatch.setattr(data_service, "CONNECT_SECONDS", 0.0)
    assert data_service.main(["worker", "--dispatcher", "localhost:1"]) == 2
    assert "nothing listens at localhost:1" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["worker", "--dispatcher", "nowhere"], ["dispatcher"], []])
def test_wrong_arguments_end_with_status_two(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        data_service.main(arguments)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err
