"""Lets the interpreter end while an open dataset still calls into Python."""

import atexit
import contextlib
import threading
import time
from collections.abc import Iterator

_QUIET_SECONDS = 0.1


class _Calls:
    """Counts calls of datasets into Python, and at exit waits until no more come.

    A thread of TensorFlow's that wants to call into Python once the interpreter is ending never comes
    back, and whoever then deletes the dataset waits for it indefinitely. Reading ahead is bounded, so it
    is enough to wait, with the interpreter still alive, until no more calls come.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running, self._last, self.leaving = 0, 0.0, False
        atexit.register(self._settle)

    @contextlib.contextmanager
    def one(self) -> Iterator[bool]:
        """Around a call; yields whether the interpreter is about to end."""
        with self._lock:
            self._running += 1
        try:
            yield self.leaving
        finally:
            with self._lock:
                self._running -= 1
                self._last = time.monotonic()

    def _settle(self) -> None:
        self.leaving = True
        while self._running or time.monotonic() - self._last < _QUIET_SECONDS:
            time.sleep(_QUIET_SECONDS / 10)


calls = _Calls()
