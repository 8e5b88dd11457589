"""Commands that a command starts end with it, however it ends: kill -9 while they import included.

The parent adds `environment(...)` to what it gives them, and `command_line.run` heeds it before anything
heavy is imported. From there on the kernel notifies them (man 2 prctl, PR_SET_PDEATHSIG).
"""

import ctypes
import os
import signal
import threading
import time

VARIABLE = "ENGINE_PARENT"
_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.5


def environment(*, grace_seconds: float) -> dict[str, str]:
    """What a child's environment adds. The thread that starts a child must live as long as the child may.

    Args:
        grace_seconds: what the child gets to save, after SIGTERM; 0 kills it at once.
    """
    return {VARIABLE: f"{os.getpid()} {grace_seconds}"}


def end_with_parent() -> None:
    """Has this process end with the one that the environment names; without one it does nothing."""
    given = os.environ.pop(VARIABLE, None)
    if given is None:
        return
    parent, grace_seconds = int(given.split()[0]), float(given.split()[1])
    number = signal.SIGTERM if grace_seconds else signal.SIGKILL
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it was gone before the kernel was asked
        os.kill(os.getpid(), signal.SIGKILL)
    if grace_seconds:
        arguments = (parent, grace_seconds)
        threading.Thread(target=_kill_after, args=arguments, name="orphan", daemon=True).start()


def _kill_after(parent: int, grace_seconds: float) -> None:
    """Kills this process some time after its parent has ended: libraries may block SIGTERM indefinitely."""
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    time.sleep(grace_seconds)
    os.kill(os.getpid(), signal.SIGKILL)
