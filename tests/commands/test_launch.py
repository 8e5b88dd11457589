import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command_runs import history, newest_step, wait_for_step

from engine import launch, train

FLAGS = [
    *("--global-batch-size", "16", "--depth", "2", "--width", "4", "--precision", "float32"),
    *("--epochs", "3", "--augment", "light", "--seed", "3", "--deterministic"),
]


@pytest.fixture(scope="module")
def alone(striped, tmp_path_factory):
    """The history of the same training in one process."""
    return train_alone(striped, tmp_path_factory.mktemp("alone") / "run")


def train_alone(shards, run, *flags):
    assert train.main([str(shards), "--workdir", str(run), *FLAGS, *flags]) == 0
    return history(run)


def start(shards, run, *flags, cache="memory"):
    command = [sys.executable, "-m", "engine.launch", "--num-workers", "2", "--grace-seconds", "30"]
    training = [shards, "--workdir", str(run), *FLAGS, "--cache", cache, *flags]
    return subprocess.Popen(
        [*command, "--", *training], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def workers_of(process):
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True
    )
    return [int(pid) for pid in found.stdout.split()]


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["memory", "streaming"])
def test_two_workers_train_as_one_process_does(striped, alone, tmp_path, cache):
    process = start(striped, tmp_path / "run", cache=cache)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    np.testing.assert_allclose(history(tmp_path / "run"), alone, rtol=1e-5)
    assert re.search(r"\[worker 0\] worker 0 of 2: 2 x .*8 images each", printed)
    assert "[worker 1] worker 1 of 2" in printed
    assert printed.count("decision threshold") == 1


@pytest.mark.slow
def test_two_workers_train_in_bfloat16_and_learn_as_in_float32(striped, alone, tmp_path):
    process = start(striped, tmp_path / "run", "--precision", "mixed_bfloat16")
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    assert "mixed_bfloat16 (as requested); XLA off" in printed
    loss = 0
    np.testing.assert_allclose(history(tmp_path / "run")[:, loss], alone[:, loss], rtol=0.03)


def isolation_allowed():
    """Whether this system allows network namespaces."""
    ask = "import sys; from engine.base import loopback; sys.exit(not loopback.isolate())"
    return subprocess.run([sys.executable, "-c", ask], check=False).returncode == 0


@pytest.mark.slow
def test_a_job_whose_workers_are_killed_or_told_to_stop_goes_on_when_run_again(striped, tmp_path):
    """Worker 0 is the chief; with the kills of tests/training/test_kills.py these are twenty.

    One job is ended again and again, as each start costs two imports of TensorFlow.
    """
    isolated = isolation_allowed()
    chance, run = random.Random(1), tmp_path / "run"
    flags = ["--epochs", "12", "--checkpoint-every", "2"]
    for victim in (0, 1, 0, 1, None):
        begun = newest_step(run)
        process = start(striped, run, *flags, "--resume")
        wait_for_step(run, begun + chance.randint(1, 4))
        time.sleep(chance.uniform(0, 0.1))
        if victim is None:
            process.send_signal(signal.SIGTERM)
        else:
            workers = workers_of(process)
            if isolated:  # other networks do not see the workers' ports
                (network,) = {Path(f"/proc/{pid}/ns/net").readlink() for pid in workers}
                assert network != Path("/proc/self/ns/net").readlink()
            os.kill(workers[victim], signal.SIGKILL)
        printed, _ = process.communicate(timeout=120)
        assert process.returncode == (143 if victim is None else 128 + signal.SIGKILL), printed
        assert victim is None or f"worker {victim} ended with signal SIGKILL" in printed
    process = start(striped, run, *flags, "--resume")
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    expected = train_alone(striped, tmp_path / "alone", "--epochs", "12")
    np.testing.assert_allclose(history(run), expected, rtol=1e-5)


@pytest.mark.slow
def test_the_tasks_of_a_slurm_step_train_as_one_process_does(striped, alone, tmp_path):
    step = {
        "SLURM_JOB_ID": str(random.SystemRandom().randrange(10_000)),
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_TASKS_PER_NODE": "2",
    }
    command = [sys.executable, "-m", "engine.train", striped, "--workdir", str(tmp_path / "run")]
    tasks = [
        subprocess.Popen(
            [*command, *FLAGS],
            env={**os.environ, **step, "SLURM_PROCID": str(number)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(2)
    ]
    printed = [task.communicate(timeout=300)[0] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], printed
    assert "worker 0 of 2" in printed[0] and "worker 1 of 2" in printed[1]
    np.testing.assert_allclose(history(tmp_path / "run"), alone, rtol=1e-5)


def test_workers_stay_on_a_network_of_their_own_unless_their_input_comes_from_elsewhere(tmp_path):
    (tmp_path / "fed.json").write_text('{"data_service": "grpc://localhost:5050"}')
    plain = ["shards", "--workdir", "run", "--resume", "--epochs", "3"]
    assert not launch._needs_network(plain)
    assert launch._needs_network([*plain, "--data-service", "grpc://localhost:5050"])
    assert launch._needs_network([*plain, "--config", str(tmp_path / "fed.json")])


def test_flags_for_the_workers_are_given_in_full_and_told_in_one_line(capsys):
    """As to engine.train itself: a beginning of a flag is another flag, and no usage precedes an error."""
    assert not launch._needs_network(["shards", "--data-serv", "grpc://localhost:5050"])
    with pytest.raises(SystemExit, match="2"):
        launch.main(["--", "shards", "--workdir", "run", "--epochs"])
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_ports_that_are_open_for_a_while_are_named_loudly(monkeypatch, capsys):
    monkeypatch.setattr(launch, "_check", lambda given: None)  # there are no shards
    monkeypatch.setattr(launch, "launch", lambda *arguments, **options: 0)
    for isolated in (True, False):
        monkeypatch.setattr(launch.loopback, "isolate", lambda isolated=isolated: isolated)
        assert launch.main(["--", "shards", "--workdir", "run"]) == 0
        said = re.search(r"joined: warning: port \d+, \d+ of TensorFlow's", capsys.readouterr().err)
        assert (said is None) is isolated


def test_workers_get_ports_and_numbers_of_their_own():
    environments = launch.worker_environments(3)
    configs = [environment["TF_CONFIG"] for environment in environments]
    assert len(set(configs)) == 3
    assert all(len(set(re.findall(r"127.0.0.1:(\d+)", config))) == 3 for config in configs)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no train arguments"),
        (["--num-workers", "0", "--", "x"], "1 or"),
        (["--num-workers", "99999", "--", "x"], "--num-workers 99999: each is a process"),
    ],
)
def test_wrong_arguments_get_one_line_and_status_two(capsys, arguments, said):
    assert launch.main(arguments) == 2
    assert said in capsys.readouterr().err
