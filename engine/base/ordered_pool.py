"""A function applied by several workers, with the results in order and a bounded number of tasks ahead.

Threads for a few workers on large files, processes for everything else: see `prefers_processes`. A
process takes 0.3 s to start and 40 MB; it is never forked from the caller, who may hold TensorFlow's
threads.
"""

import collections
import contextlib
import itertools
import multiprocessing
import multiprocessing.connection
import multiprocessing.context
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from engine.base import command_line
from engine.base.config import UserError

TASKS_PER_WORKER = 3  # in flight: enough that no worker waits while the caller uses results
LARGE_FILE_BYTES = 100_000
MOST_THREADS = 4  # what holds the lock takes 0.1 ms per image; beyond, threads wait for one another

Task = TypeVar("Task")
Result = TypeVar("Result")


class OrderedPool:
    """A context manager; workers start at once, so that they come up while the caller is busy.

    Args:
        workers: how many; 1 works in the calling thread.
        processes: whether they are processes rather than threads.
        preload: the module of the functions that processes will call.
        on_kill: how to fix it where a process is killed, as the end of a message.
    """

    def __init__(
        self, *, workers: int, processes: bool, preload: str, on_kill: str = "run it again"
    ) -> None:
        self._workers, self._processes = workers, processes
        self._preload, self._on_kill = preload, on_kill
        self._executor: Executor | None = None

    def __enter__(self) -> "OrderedPool":
        if self._workers == 1:
            return self
        if not self._processes:
            self._executor = ThreadPoolExecutor(self._workers)
            return self
        self._executor = ProcessPoolExecutor(
            self._workers, mp_context=_context(self._preload), initializer=_start_worker
        )
        for _ in range(self._workers):
            self._executor.submit(os.getpid)
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def in_order(
        self, function: Callable[..., Result], tasks: Iterable[Task], *arguments: Any
    ) -> Iterator[Result]:
        """`function(task, *arguments)` for each task, a few tasks per worker ahead.

        Raises:
            UserError: a worker was killed, most likely out of memory.
        """
        if self._executor is None:
            for task in tasks:
                yield function(task, *arguments)
            return
        pending: collections.deque[Future[Result]] = collections.deque()
        try:
            for task in tasks:
                pending.append(self._executor.submit(function, task, *arguments))
                if len(pending) >= self._workers * TASKS_PER_WORKER:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool:
            raise UserError(
                "a decoding process was killed, most likely because the machine ran out of memory; "
                f"{self._on_kill}"
            ) from None


def prefers_processes(file_bytes: Sequence[int], *, workers: int) -> bool:
    """Whether processes are faster than threads for decoding files of such sizes (any sample of them).

    Decoding and resizing let go of the interpreter lock: 2 threads make 563 images/s of 250 KB X-rays
    where 2 processes make 561, and start at once. Of 8 KB images, 2 threads decode 4,450 per second,
    2 processes 6,100.
    """
    mean = sum(file_bytes) / max(1, len(file_bytes))
    return workers > MOST_THREADS or mean < LARGE_FILE_BYTES


def batches(items: Iterable[Task], size: int) -> Iterator[tuple[Task, ...]]:
    """Up to `size` items at a time, in order."""
    iterator = iter(items)
    while batch := tuple(itertools.islice(iterator, size)):
        yield batch


def _context(preload: str) -> multiprocessing.context.BaseContext:
    if sys.platform == "win32":
        return multiprocessing.get_context("spawn")
    multiprocessing.get_context("forkserver").set_forkserver_preload([preload])
    return _ForkServerContext()


class _Process(multiprocessing.context.ForkServerProcess):
    """A process that does not run the caller's script again, as `multiprocessing` has it.

    A script without `if __name__ == "__main__"` would begin anew in each worker; what workers call here
    is never in it.
    """

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 (the name is that of the base class)
        with _script_hidden():
            return multiprocessing.context.ForkServerProcess._Popen(process_obj)


class _ForkServerContext(multiprocessing.context.ForkServerContext):
    Process = _Process


@contextlib.contextmanager
def _script_hidden() -> Iterator[None]:
    """Within the block, the main module seems to come from no file."""
    main: dict[str, Any] = vars(sys.modules["__main__"])
    kept: dict[str, Any] = {name: main[name] for name in ("__spec__", "__file__") if name in main}
    main["__spec__"] = None
    main.pop("__file__", None)
    try:
        yield
    finally:
        main.update(kept)


def _start_worker() -> None:
    """Leaves Ctrl-C to the caller, and ends the worker if the caller is killed.

    The pool's own pipes do not show it: each worker holds both ends, and would wait indefinitely.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    command_line.drop_decoder_warnings()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
