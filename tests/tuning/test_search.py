"""The command on real trainings: slow, as every trial imports TensorFlow."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.base import machine
from engine.base.settings import TrainConfig
from engine.shards import data_identity, tfrecords
from engine.training import trainer
from tuning import (
    arguments,
    checks,
    chief,
    device_shares,
    leaderboard,
    search,
    search_directory,
    session,
)
from tuning.search_directory import SearchDirectory
from tuning.settings import SearchConfig
from tuning.trial_files import Outcome, TrialSpec

FLAGS = [
    *("--tuner", "random", "--depth", "2:3", "--width", "4,8", "--dropout", "0.1"),
    *("--learning-rate", "1e-3:1e-2", "--global-batch-size", "16", "--precision", "float32"),
    *("--augment", "light", "--deterministic"),
]


def command(shards, workdir, *flags):
    return [
        *(sys.executable, "-m", "tuning.search", str(shards), "--workdir", str(workdir)),
        *FLAGS,
        *flags,
    ]


def wait_for(condition, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read() if process.stderr else process.poll()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def epochs_done(history):
    return len(history.read_text().splitlines()) - 1 if history.is_file() else 0


@pytest.mark.slow
def test_a_killed_search_goes_on_with_the_trial_it_was_at_and_its_best_trains(
    striped, tmp_path, capsys
):
    workdir = tmp_path / "s"
    flags = [*("--max-trials", "1", "--epochs", "300"), "--compare-default"]
    running = command(striped, workdir, *flags)
    trial = SearchDirectory(workdir).trial("0")
    process = subprocess.Popen(running, stderr=subprocess.DEVNULL)
    wait_for(lambda: epochs_done(trial.run.history) >= 2, process)
    process.kill()  # the trial sees that it is alone, saves and ends
    process.wait()
    process = subprocess.Popen(running, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: "resuming after" in trial.stderr.read_text(), process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 143
    assert "the same command continues" in process.stderr.read()
    assert not trial.outcome.is_file()
    # The rest of its epochs here, so that the test ends: as short as a trial can be.
    values = TrialSpec.read(trial.spec).values
    workdir = tmp_path / "short"
    argv = command(striped, workdir, "--max-trials", "1", "--epochs", "2", "--compare-default")[3:]
    assert search.main(argv) == 0
    printed = capsys.readouterr()
    assert "1. trial 0  val_auroc" in printed.out
    assert "test AUROC, winner:" in printed.out and "test AUROC, default:" in printed.out
    assert "trial 0 (1/1) completed 2/2 epochs" in printed.err
    best = f"--config {workdir / 'best.json'} --workdir {tmp_path / 'short-best'}"
    assert f"python -m engine.train {striped} {best}" in printed.out
    left = SearchDirectory(workdir)
    assert TrialSpec.read(left.trial("0").spec).values == values  # of the seed, not of the epochs
    metrics = json.loads(left.held_out.read_text())
    assert metrics["winner"]["auroc"]["low"] <= metrics["winner"]["auroc"]["value"]
    best = TrainConfig.from_json(json.loads(left.best.read_text()))
    found = trainer.train(best, striped, tmp_path / "run", say=lambda line: None)
    assert found.best_value == pytest.approx(Outcome.read(left.trial("0").outcome).value, abs=1e-6)


@pytest.mark.slow
def test_two_workers_run_every_trial_once_though_one_of_them_dies(striped, tmp_path):
    workdir = tmp_path / "s"
    directory = SearchDirectory(workdir)
    flags = ["--max-trials", "4", "--epochs", "2", "--num-workers", "2"]
    process = subprocess.Popen(
        command(striped, workdir, *flags), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    wait_for(lambda: len(directory.trial_ids()) >= 2, process)
    os.kill(_worker("tuner1", workdir), signal.SIGKILL)
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert "worker tuner1 ended (signal SIGKILL" in errors
    assert directory.trial_ids() == ["0", "1", "2", "3"]
    assert errors.count("completed 2/2 epochs") + errors.count("pruned") == 4
    assert "4 trials, 0 failed" in output
    logs = [directory.trial(name).stderr.read_text() for name in directory.trial_ids()]
    assert all("streaming tier" in log for log in logs)  # one copy of the images, in the page cache
    assert json.loads(directory.best.read_text())["cache"] == "auto"  # alone it may hold its own
    oracle = json.loads(directory.oracle.read_text())["oracle"]
    assert sorted(oracle["end_order"]) == ["0", "1", "2", "3"] and not oracle["ongoing_trials"]


def _worker(tuner_id, workdir):
    """The process of a worker, by its environment."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            environment = path.read_bytes().decode(errors="replace").split("\0")
            arguments = (path.parent / "cmdline").read_text().split("\0")
        except OSError:
            continue
        mine = f"KERASTUNER_TUNER_ID={tuner_id}" in environment and str(workdir) in arguments
        if mine and "tuning.search" in arguments:
            return int(path.parent.name)
    raise AssertionError(f"no worker {tuner_id}")


@pytest.mark.slow
def test_chief_and_worker_find_one_another_by_keras_tuners_variables(striped, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(port)}
    running = command(striped, tmp_path / "s", "--max-trials", "1", "--epochs", "1")
    chief, worker = (
        subprocess.Popen(
            running,
            env={**os.environ, **address, "KERASTUNER_TUNER_ID": tuner_id},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for tuner_id in ("chief", "tuner0")
    )
    output, errors = chief.communicate(timeout=240)
    assert chief.returncode == 0, errors
    assert worker.wait(timeout=60) == 0, worker.stderr.read()
    assert "1 trials, 0 failed" in output
    assert (tmp_path / "s" / "best.json").is_file()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "--workdir SEARCH is missing"),
        (["--workdir", "{tmp}/s", "--depth", "5:2"], "LOW below HIGH"),
        (["--workdir", "{tmp}/s", "--epochs", "2:5"], "--epochs"),
        (["--workdir", "{tmp}/s", "--depth", "2:7"], "--depth LOW:4"),
        (["--workdir", "{tmp}/s", "--space", "{tmp}/absent.json"], "absent.json"),
    ],
)
def test_wrong_input_gets_one_line_and_status_two(striped, tmp_path, capsys, flags, said):
    flags = [flag.format(tmp=tmp_path) for flag in flags]
    assert search.main([str(striped), *flags, "--global-batch-size", "16"]) == 2
    *before, last = capsys.readouterr().err.strip().splitlines()
    # Which depths the images allow is known once Keras is there.
    assert before == (["loading TensorFlow ..."] if "2:7" in flags else [])
    assert said in last


def test_a_workers_share_of_the_cores_does_for_what_the_chief_starts(
    striped, tmp_path, monkeypatch
):
    """The chief has looked whether the host bears so many workers; each of them sees its share alone."""
    monkeypatch.setattr(machine, "usable_cores", lambda: 6)
    asked = command(striped, tmp_path / "s", "--num-workers", "6")[3:]
    wanted = arguments.read(search.build_parser().parse_args(asked))
    directory, manifest = SearchDirectory(tmp_path / "s"), tfrecords.read_manifest(striped)
    checks.check_data(wanted.config, wanted.space, manifest)
    search_directory.prepare(
        directory, wanted.config, wanted.space, data_identity.describe(manifest)
    )
    monkeypatch.setattr(chief._Worker, "_start", lambda worker: None)
    share = device_shares.divide_host(1, num_gpus=0)[0]
    started = chief._Worker("tuner0", share, directory, striped, port=1)._command[3:]
    monkeypatch.setattr(machine, "usable_cores", lambda: 1)
    found = arguments.read(search.build_parser().parse_args(started))
    checks.check_data(found.config, found.space, manifest)
    search_directory.check_same_search(
        directory, found.config, found.space, data_identity.describe(manifest)
    )


def test_the_next_command_is_told_of_a_search_in_the_working_directory(
    striped, tmp_path, capsys, monkeypatch
):
    spec = TrialSpec(trial_id="0", values={}, config={}, objective="val_auroc", last_epoch=1)
    trial = leaderboard.Trial(spec, None, (0.9,))
    result = session.SearchResult([trial], trial)
    (tmp_path / "s").mkdir()
    monkeypatch.chdir(tmp_path / "s")
    assert search._print_result(result, SearchConfig(), striped, Path()) == 0
    assert f"--workdir {tmp_path / 's-best'}" in capsys.readouterr().out


def test_half_of_keras_tuners_variables_are_refused(striped, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    argv = [str(striped), "--workdir", str(tmp_path / "s"), "--global-batch-size", "16"]
    assert search.main(argv) == 2
    assert "KERASTUNER_ORACLE_IP" in capsys.readouterr().err
