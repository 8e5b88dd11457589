"""What every command shares: exit statuses, one-line errors, and how a run is asked to stop.

0    done
1    anything else went wrong (a traceback says what, or one line where the disk is full or there are too
     few file descriptors)
2    the user's input is wrong (one line says what arrived, what was expected, how to fix it), or leads
     where this user must not read or write
130  stopped by Ctrl-C after saving
143  stopped by SIGTERM after saving
"""

import contextlib
import errno
import gc
import os
import select
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from engine.base import files, orphans
from engine.base.config import UserError

DONE, FAILED, WRONG_INPUT, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143

# What the system refuses for no fault of the program: exit status, and how to fix it.
_REFUSALS = {
    errno.ENOSPC: (FAILED, "free some space, or give another directory"),
    errno.EDQUOT: (FAILED, "free some space, or give another directory"),
    errno.EMFILE: (FAILED, "allow more with ulimit -n, such as ulimit -n 1024"),
    errno.ENFILE: (FAILED, "close other programs"),
    errno.EROFS: (WRONG_INPUT, "give a directory that can be written to"),
    errno.EACCES: (WRONG_INPUT, "change its permissions, or give another path"),
    errno.ENOTDIR: (WRONG_INPUT, "give a path that does not lead through a file"),
    errno.EPERM: (WRONG_INPUT, "change its permissions, or give another path"),
    errno.ENAMETOOLONG: (WRONG_INPUT, "give a shorter path"),
}


class StopRequested(BaseException):
    """Raised where a SIGTERM arrives outside training, so that `finally` blocks still run.

    A `BaseException`, as `KeyboardInterrupt` is: libraries that catch every `Exception` (Keras,
    KerasTuner) must not swallow it.
    """


def raise_stop_requested(signal_number: int, frame: object) -> None:
    """A signal handler that raises `StopRequested`."""
    raise StopRequested


class StopFlag:
    """Within its block, Ctrl-C and SIGTERM raise this flag instead of breaking off.

    Called, it says whether to stop. A second Ctrl-C does break off, for those who will not wait.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._previous: dict[int, Any] = {}

    def __call__(self) -> bool:
        return self.signal_number is not None

    def __enter__(self) -> "StopFlag":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._raise_flag)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _raise_flag(self, signal_number: int, frame: object) -> None:
        if self.signal_number is not None and signal_number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_number = signal_number
        _say_from_handler("stopping after this step ...")


def _say_from_handler(text: str) -> None:
    """Writes a line to standard error past Python's buffer, which the signal may have interrupted in use.

    A second write to the buffer from within the first is an error.
    """
    try:
        descriptor = sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):  # a notebook's, or a test's, has none
        print(text, file=sys.stderr, flush=True)
    else:
        with contextlib.suppress(OSError):  # a terminal that is gone
            os.write(descriptor, f"{text}\n".encode())


def run(program: str, body: Callable[[], int]) -> int:
    """Runs a command's body and turns what it raises into an exit status; ends with a command that started it.

    Args:
        program: the name that error lines begin with, as `python -m engine.train`.
        body: returns an exit status.
    """
    orphans.end_with_parent()
    quieten_tensorflow()
    drop_decoder_warnings()
    drop_font_warnings()
    with _sigterm_raises():
        return _status_of(program, body)


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Within the block, SIGTERM raises `StopRequested`; only a main thread can arrange that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, raise_stop_requested)
    try:
        yield
    finally:
        # None is a handler that was not installed from Python, and cannot be put back from it.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if previous is None else previous)


def _status_of(program: str, body: Callable[[], int]) -> int:
    try:
        status = body()
        with files.errors_named(Path("standard output")):
            sys.stdout.flush()
        return status
    except UserError as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        return WRONG_INPUT
    except BrokenPipeError:
        if not _reader_went_away():
            traceback.print_exc()  # some other pipe, such as one to a worker process
            return FAILED
        # The reader (head, less) went away: its choice, not an error.
        _drop_standard_output()
        return DONE
    except OSError as error:
        return _status_of_refusal(program, error)
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except StopRequested:
        print(f"{program}: stopped by SIGTERM", file=sys.stderr)
        return TERMINATED
    except Exception:
        traceback.print_exc()
        return FAILED


def _status_of_refusal(program: str, error: OSError) -> int:
    """One line where the system refuses a path or a resource; a traceback for any other error."""
    if error.errno not in _REFUSALS:
        traceback.print_exc()
        return FAILED
    status, cure = _REFUSALS[error.errno]
    # Unbuffered, standard output fails where it is written to, without a name.
    unnamed = "standard output, or a file that was being written"
    where = unnamed if error.filename is None else os.fsdecode(error.filename)
    print(f"{program}: error: {where}: {error.strerror}; {cure}", file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:
        _drop_standard_output()
    return status


def _drop_standard_output() -> None:
    """Points standard output at nothing, or the interpreter complains when it flushes at exit."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)


def _reader_went_away() -> bool:
    """Whether standard output is a pipe whose reader has ended."""
    poll = select.poll()
    poll.register(1, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def drop_decoder_warnings() -> None:
    """Keeps what Pillow and pydicom say of odd metadata off standard error; for the start of a process.

    Once for all threads: `warnings.catch_warnings` within them changes the filters of the others, and
    of whatever comes later.
    """
    warnings.filterwarnings("ignore", module=r"(PIL|pydicom)\.")


def drop_font_warnings() -> None:
    """Keeps what matplotlib says of characters that its font lacks off standard error: names of classes may
    be in any script, and figures show a box for each."""
    warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from")


def quieten_tensorflow() -> None:
    """Keeps TensorFlow's log off standard error, unless the user asked for it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@contextlib.contextmanager
def without_scikit_learn() -> Iterator[None]:
    """Within the block, importing scikit-learn fails, as if it were not installed.

    Keras, and so TensorFlow, imports it for wrappers of its own where it is installed (KerasTuner needs it):
    1.2 of 5.4 s of processor time. For commands that import TensorFlow and never use it.
    """
    if "sklearn" in sys.modules:
        yield
        return
    sys.modules["sklearn"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["sklearn"]


@contextlib.contextmanager
def quiet_imports() -> Iterator[None]:
    """Drops what native libraries print while TensorFlow is imported and looks for devices.

    That chatter ignores `TF_CPP_MIN_LOG_LEVEL`, so the file descriptor itself is turned away within
    the block; when the block raises, what was printed is shown. Set `TF_CPP_MIN_LOG_LEVEL=0` to
    see it always. Python's collector of cycles, which would look through a million new objects again
    and again and find none to free, waits until the end (a sixth of the time that importing takes).
    """
    with _collected_at_the_end(), _stderr_turned_away():
        yield


@contextlib.contextmanager
def _collected_at_the_end() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # modules stay until the process ends
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def _stderr_turned_away() -> Iterator[None]:
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as chatter:
        os.dup2(chatter.fileno(), 2)
        try:
            yield
            if "tensorflow" in sys.modules:
                sys.modules["tensorflow"].config.list_physical_devices()
        except BaseException:
            chatter.seek(0)
            os.write(kept, chatter.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
