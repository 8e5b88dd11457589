"""One writer per directory: a lock that names its owner and ends with it.

    .lock    JSON: what holds it, process, host and time

The lock is the kernel's (`flock`), so it ends with its owner, however that dies, and is then taken over
without a question. What the file says is only for the message that the next one gets. Where the file system
knows no locks, the file's own word is taken: an owner on this host that is no longer alive is dead, one
on another host is alive until the file is removed.
"""

import contextlib
import errno
import fcntl
import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.base.config import UserError

LOCK_NAME = ".lock"
_POLL_SECONDS = 0.1
_UNSUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


@contextlib.contextmanager
def held(directory: Path, *, purpose: str, wait: bool = False) -> Iterator[None]:
    """Holds the lock of `directory`, which is created if need be, while the block runs.

    Args:
        purpose: what the owner does there, such as "training"; shown to others who are refused.
        wait: whether to wait for whoever holds it.

    Raises:
        UserError: another process holds it, and is not waited for.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / LOCK_NAME
    descriptor = _acquire(path, wait=wait)
    try:
        owner = {
            "purpose": purpose,
            "pid": os.getpid(),
            "started": _start_of(os.getpid()),
            "host": platform.node(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, (json.dumps(owner) + "\n").encode(), 0)
        yield
    finally:
        # Removed before it is let go: whoever opened the file meanwhile notices that it is gone.
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(descriptor)


def _acquire(path: Path, *, wait: bool) -> int:
    """An open, locked descriptor of the file that has the name `path`."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            _lock(descriptor, path, wait=wait)
            if _is_at(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int, path: Path, *, wait: bool) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise _refusal(path, _owner(descriptor)) from None
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        while _may_be_alive(owner := _owner(descriptor)):
            if not wait:
                raise _refusal(path, owner) from None
            time.sleep(_POLL_SECONDS)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether `path` still names the open file: its last owner removes it before letting go."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _owner(descriptor: int) -> dict[str, Any]:
    try:
        owner = json.loads(os.pread(descriptor, 4096, 0))
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _may_be_alive(owner: dict[str, Any]) -> bool:
    if not owner:
        return False
    if owner.get("host") != platform.node():
        return True
    pid = owner.get("pid")
    return isinstance(pid, int) and _start_of(pid) == owner.get("started") is not None


def _start_of(pid: int) -> str | None:
    """When a process started, in the kernel's ticks: distinguishes it from a later one of the same ID."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _refusal(path: Path, owner: dict[str, Any]) -> UserError:
    who = (
        f"{owner.get('purpose')} by process {owner.get('pid')} on {owner.get('host')} "
        f"since {owner.get('since')}"
        if owner
        else "another process"
    )
    return UserError(
        f"{path.parent} is in use: {who}; wait until it ends, or give another directory "
        f"(if that process is gone, remove {path})"
    )
