import json
import socket
import subprocess
import sys

import pytest

from engine.base.config import UserError
from engine.training import cluster


@pytest.mark.parametrize(
    ("config", "workers"),
    [
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}', 2),
        ('{"cluster": {"chief": ["c:1"], "worker": ["a:1"]}, "task": {}}', 2),
        ('{"cluster": {"worker": ["a:1"]}}', 1),
    ],
)
def test_workers_are_counted_from_tf_config(monkeypatch, config, workers):
    monkeypatch.setenv("TF_CONFIG", config)
    assert cluster.num_workers() == workers


@pytest.mark.parametrize(
    "config",
    [
        *("", "x", "[]", "{}", '{"cluster": 3}', '{"cluster": {"worker": "a:1"}}'),
        *('{"cluster": {"worker": ["a"]}}', '{"cluster": {"worker": [1]}}', "null"),
    ],
)
def test_a_tf_config_that_is_none_is_shown(monkeypatch, config):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(UserError, match="TF_CONFIG: got"):
        cluster.num_workers()


def test_workers_without_a_cluster_are_refused(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(UserError, match=r"engine\.launch"):
        cluster.join(on_gpu=False)


def test_workers_are_counted_from_a_slurm_step(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "3")
    assert cluster.num_workers() == 3


def test_a_slurm_step_without_its_hosts_is_one_line(monkeypatch):
    for name in ("SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="start with srun"):
        cluster.slurm_resolver()


def test_workers_of_a_slurm_step_are_its_tasks_on_ports_of_the_job(monkeypatch):
    step = {
        "SLURM_JOB_ID": "20017",
        "SLURM_PROCID": "2",
        "SLURM_STEP_NUM_TASKS": "3",
        "SLURM_STEP_NODELIST": "node[1-2]",
        "SLURM_STEP_TASKS_PER_NODE": "2,1",
    }
    for name, value in step.items():
        monkeypatch.setenv(name, value)
    resolver = cluster.slurm_resolver()
    hosts = resolver.cluster_spec().as_dict()["worker"]
    assert hosts == ["node1:20017", "node1:20018", "node2:20017"]
    assert resolver.task_id == 2


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (None, 'expected a "task" that says which worker'),
        ({}, 'expected a "task" that says which worker'),
        ([], 'expected a "task" that says which worker'),
        ({"type": "ps", "index": 0}, 'expected a "task" that says which worker'),
        ({"type": "chief", "index": 0}, 'expected a "task" that says which worker'),
        ({"type": "worker"}, '"index" of the task is None, expected 0 to 1'),
        ({"type": "worker", "index": 2}, '"index" of the task is 2, expected 0 to 1'),
        ({"type": "worker", "index": -1}, "expected 0 to 1"),
        ({"type": "worker", "index": "0"}, "expected 0 to 1"),
    ],
)
def test_a_tf_config_that_does_not_say_which_worker_this_is_is_one_line(monkeypatch, task, said):
    config = {"cluster": {"worker": ["a:1", "b:1"]}}
    monkeypatch.setenv(
        "TF_CONFIG", json.dumps(config if task is None else {**config, "task": task})
    )
    with pytest.raises(UserError, match=r"^TF_CONFIG: got ") as refused:
        cluster.join(on_gpu=False)
    assert said in str(refused.value)


@pytest.mark.parametrize("tasks", ["x", "", "0", "-1", "2.5"])
def test_a_slurm_step_of_no_number_of_tasks_is_one_line(monkeypatch, tasks):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", tasks)
    with pytest.raises(
        UserError, match=r"SLURM_STEP_NUM_TASKS: got .*expected the number of tasks"
    ):
        cluster.num_workers()


_JOIN = """
import socket
from engine.training import cluster
from engine.base import loopback
cluster.join(on_gpu=False)
for descriptor, port in loopback._listening().items():
    with socket.socket(fileno=descriptor) as listener:
        print(port, listener.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16))
"""


@pytest.mark.slow
def test_the_server_of_a_worker_on_the_loopback_is_kept_to_it(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    workers = {"cluster": {"worker": [f"127.0.0.1:{port}"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(workers))
    done = subprocess.run([sys.executable, "-c", _JOIN], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{port} {b'lo' + bytes(1)!r}"]
    assert "warning: port" not in done.stderr


def test_a_server_for_other_hosts_is_said_to_be_open(capsys):
    with cluster._server(["10.0.0.1:2222", "10.0.0.2:2223"], 1):
        pass
    assert "warning: port 2223 of TensorFlow's is open on every address" in capsys.readouterr().err
