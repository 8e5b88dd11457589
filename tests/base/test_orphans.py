"""What a command starts ends with it: killed with SIGKILL, at once and later."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from engine.base import orphans
from engine.runs.run_directory import RunDirectory
from engine.training import checkpoints
from tuning.search_directory import SearchDirectory

SMALL = [
    *("--global-batch-size", "16", "--depth", "2", "--width", "4", "--precision", "float32"),
    *("--augment", "light", "--epochs", "300"),
]

# A command that does nothing, and the one that starts it: its parent.
_CHILD = """
import sys, threading
from engine.base import command_line
{before}
def body():
    print("ready", flush=True)
    threading.Event().wait()
    return 0
sys.exit(command_line.run("child", body))
"""
_PARENT = """
import os, subprocess, sys
from engine.base import orphans
environment = {{**os.environ, **orphans.environment(grace_seconds={grace})}}
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], env=environment)
print(child.pid, flush=True)
{after}
"""
_STUBBORN = "import signal; command_line._sigterm_raises = __import__('contextlib').nullcontext; "
_STUBBORN += "signal.signal(signal.SIGTERM, signal.SIG_IGN)"


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def below(pid):
    """The processes under one, at any depth."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(c) for task in tasks for c in (task / "children").read_text().split()]
    except OSError:
        return set()
    return {one for child in children for one in {child, *below(child)}}


def wait_until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value


def start(*arguments):
    command = [sys.executable, "-m", *map(str, arguments)]
    nothing = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing)


def parent_of(child, *, grace, after):
    parent = _PARENT.format(grace=grace, after=after)
    return subprocess.Popen(
        [sys.executable, "-c", parent, textwrap.dedent(child)], stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("grace", [0, 0.2])
@pytest.mark.parametrize("stubborn", ["", _STUBBORN], ids=["", "stubborn"])
def test_a_child_ends_with_a_parent_that_is_killed(grace, stubborn):
    child = _CHILD.format(before=stubborn)
    with parent_of(child, grace=grace, after="child.wait()") as parent:
        pid = int(parent.stdout.readline())
        assert parent.stdout.readline() == "ready\n"
        parent.kill()
    wait_until(lambda: not alive(pid), seconds=30)


def test_a_child_ends_whose_parent_is_gone_before_it_has_begun():
    child = _CHILD.format(before="")
    with parent_of(child, grace=60, after="os.kill(os.getpid(), 9)") as parent:
        pid = int(parent.stdout.readline())
        assert "ready" not in parent.stdout.read()
    wait_until(lambda: not alive(pid), seconds=30)


def test_what_a_child_starts_by_itself_is_not_concerned(monkeypatch):
    monkeypatch.setenv(orphans.VARIABLE, f"{os.getppid()} 60")
    monkeypatch.setattr(orphans.ctypes, "CDLL", _NoLibrary)
    monkeypatch.setattr(orphans, "_kill_after", lambda *arguments: None)
    orphans.end_with_parent()
    assert orphans.VARIABLE not in os.environ


class _NoLibrary:
    def __init__(self, name):
        self.prctl = lambda *arguments: 0


# When the parent is killed: as soon as it has children, or once they are at work.
MOMENTS = ("at once", "later")


def killed(process, moment, is_at_work):
    """Kills a command at a moment; returns what it had started."""
    wait_until(lambda: below(process.pid))
    if moment == "later":
        wait_until(is_at_work)
    started = below(process.pid)
    process.kill()
    process.wait()
    return started


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_workers_of_a_training_end_with_their_launcher(striped, tmp_path, moment):
    run = RunDirectory(tmp_path / "run")
    flags = (striped, "--workdir", run.path, *SMALL, "--checkpoint-every", "2")
    process = start("engine.launch", "--num-workers", "2", "--grace-seconds", "5", "--", *flags)
    workers = killed(process, moment, lambda: checkpoints.paths(run.checkpoints))
    wait_until(lambda: not any(map(alive, workers)), seconds=60)


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", ["1", "2"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_trials_and_workers_of_a_search_end_with_it(striped, tmp_path, moment, num_workers):
    directory = SearchDirectory(tmp_path / "s")
    process = start(
        *("tuning.search", striped, "--workdir", directory.path, "--num-workers", num_workers),
        *("--max-trials", "2", "--dropout", "0:0.5", *SMALL),
    )
    trial = directory.trial("0")
    started = killed(process, moment, trial.run.history.is_file)
    wait_until(lambda: not any(map(alive, started)), seconds=60)
    assert not trial.outcome.is_file()


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_processes_that_draw_end_with_their_command(tmp_path, moment):
    images = tmp_path / "images"
    flags = ("--workers", "2", "--train-images", "4000")
    process = start("engine.phantoms", images, *flags)
    started = killed(process, moment, lambda: list(images.rglob("*.jpeg")))
    wait_until(lambda: not any(map(alive, started)), seconds=30)


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_processes_that_decode_end_with_the_build(image_folder, tmp_path, moment):
    shards = tmp_path / "shards"
    process = start("engine.build_tfrecords", image_folder, shards, "--workers", "2")
    # Two workers, what forks them, and what tracks their resources.
    started = killed(process, moment, lambda: len(below(process.pid)) >= 4)
    wait_until(lambda: not any(map(alive, started)), seconds=30)
