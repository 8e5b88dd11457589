"""One writer per directory: who holds the lock, who is told, and who takes over."""

import errno
import fcntl
import json
import os
import platform
import signal
import subprocess
import sys
import threading

import pytest

from engine.base import locks
from engine.base.config import UserError

HOLDER = """
import sys, time
from pathlib import Path
from engine.base import locks
with locks.held(Path(sys.argv[1]), purpose="building"):
    print("held", flush=True)
    time.sleep(60)
"""


def start_holder(directory):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    return holder


def test_the_second_is_refused_and_told_who_holds_it(tmp_path):
    holder = start_holder(tmp_path)
    try:
        with pytest.raises(UserError) as refused, locks.held(tmp_path, purpose="building"):
            pass
    finally:
        holder.kill()
        holder.wait()
    for said in ("building", str(holder.pid), platform.node(), str(tmp_path)):
        assert said in str(refused.value)


def test_it_is_taken_over_when_its_owner_is_killed(tmp_path):
    holder = start_holder(tmp_path)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / locks.LOCK_NAME).exists()
    with locks.held(tmp_path, purpose="training"):
        owner = json.loads((tmp_path / locks.LOCK_NAME).read_text())
        assert owner["pid"] == os.getpid()


def test_nothing_is_left_afterwards_and_it_can_be_held_again(tmp_path):
    for _ in range(2):
        with locks.held(tmp_path / "new", purpose="training"):
            pass
        assert list((tmp_path / "new").iterdir()) == []


def test_it_is_let_go_when_the_block_raises(tmp_path):
    with pytest.raises(ZeroDivisionError), locks.held(tmp_path, purpose="training"):
        raise ZeroDivisionError
    with locks.held(tmp_path, purpose="training"):
        pass


def test_one_that_waits_takes_over_when_the_owner_ends(tmp_path):
    holder = start_holder(tmp_path)
    threading.Thread(target=holder.kill).start()
    with locks.held(tmp_path, purpose="training", wait=True):
        assert holder.wait() == -signal.SIGKILL
        with pytest.raises(UserError), locks.held(tmp_path, purpose="training"):
            pass


def test_a_planted_link_is_not_followed(tmp_path):
    target = tmp_path / "target"
    target.write_text("kept")
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / locks.LOCK_NAME).symlink_to(target)
    with pytest.raises(OSError), locks.held(tmp_path / "dir", purpose="training"):
        pass
    assert target.read_text() == "kept"


class TestWithoutKernelLocks:
    """A file system that knows no locks: the file's own word is taken."""

    @pytest.fixture(autouse=True)
    def no_flock(self, monkeypatch):
        def refuse(*_):
            raise OSError(errno.ENOSYS, "no locks here")

        monkeypatch.setattr(fcntl, "flock", refuse)

    def write_owner(self, directory, **changed):
        owner = {
            "purpose": "building",
            "pid": os.getpid(),
            "started": locks._start_of(os.getpid()),
            "host": platform.node(),
            "since": "2026-01-01 00:00:00",
        }
        (directory / locks.LOCK_NAME).write_text(json.dumps({**owner, **changed}))

    @pytest.mark.parametrize("changed", [{}, {"host": "elsewhere"}])
    def test_an_owner_that_may_live_is_respected(self, tmp_path, changed):
        self.write_owner(tmp_path, **changed)
        with pytest.raises(UserError, match="in use"), locks.held(tmp_path, purpose="training"):
            pass

    @pytest.mark.parametrize("changed", [{"started": "1"}, {"pid": 2**22 + 1}])
    def test_a_dead_owner_of_this_host_is_not(self, tmp_path, changed):
        self.write_owner(tmp_path, **changed)
        with locks.held(tmp_path, purpose="training"):
            pass
