"""Workers that turn image files into framed records, in order, a bounded number at a time.

Threads for a few workers on large images: decoding and resizing let go of the interpreter lock, so
2 threads make 563 images/s of 250 KB X-rays where 2 processes make 561, and start at once. Processes
for everything else: of 8 KB images, 2 threads decode 4,450 per second, 2 processes 6,100. A process
takes 0.3 s to start and 40 MB; it never imports TensorFlow, and is never forked from the caller,
who may hold TensorFlow's threads.
"""

import collections
import dataclasses
import itertools
import math
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

from engine.base import command_line
from engine.base.config import UserError
from engine.images import bit_depth, decoding
from engine.images.dicom import description
from engine.images.dicom.description import Description
from engine.images.format import ImageFormat
from engine.shards import tfrecords

TASKS_PER_WORKER = 3  # in flight: enough that no worker waits while the caller writes
TASK_BYTES = 2 << 20  # of pixels that a task sends back, at most
TASK_FILES = 16
THREAD_TASK_FILES = 4  # nothing is sent to threads, and small tasks leave none of them idle
LARGE_FILE_BYTES = 100_000
MOST_THREADS = 4  # what holds the lock takes 0.1 ms per image; beyond, threads wait for one another


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """An image that became a framed record; `doubts` are what `decoding.decode_bytes` warned of."""

    framed: bytes
    doubts: tuple[str, ...] = ()


Outcome = Record | str  # or the reason why there is no record
Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class RecordFormat:
    """How files become records; see `decoding.decode_bytes` and `decoding.encode`."""

    image_format: ImageFormat
    max_pixels: int
    encoding: str
    jpeg_quality: int

    @property
    def files_per_task(self) -> int:
        """Many small images per task, so that sending costs little; few large ones, for memory."""
        return max(1, min(TASK_FILES, TASK_BYTES // math.prod(self.image_format.image_shape)))


@dataclasses.dataclass(frozen=True)
class SourceFile:
    """One file to be a record; `path` is relative to the image folder."""

    path: str
    label: int
    patient: str


class DecodePool:
    """A context manager; workers start at once, so that they come up while the caller is busy.

    Args:
        root: the image folder.
        workers: how many; 1 decodes in the calling thread.
        processes: whether they are processes rather than threads; see `prefers_processes`.
    """

    def __init__(
        self,
        root: Path | str,
        record_format: RecordFormat,
        *,
        workers: int,
        processes: bool = True,
    ) -> None:
        self._root = str(root)
        self._format = record_format
        self._workers = workers
        self._processes = processes
        self._executor: Executor | None = None

    def __enter__(self) -> "DecodePool":
        if self._workers == 1:
            return self
        if not self._processes:
            self._executor = ThreadPoolExecutor(self._workers)
            return self
        self._executor = ProcessPoolExecutor(
            self._workers, mp_context=_context(), initializer=_start_worker
        )
        for _ in range(self._workers):
            self._executor.submit(os.getpid)
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def outcomes(
        self, sources: Iterable[SourceFile], *, bits: int = bit_depth.DEFAULT
    ) -> Iterator[Outcome]:
        """One outcome for each source, in their order; reads ahead by a few tasks per worker.

        Args:
            bits: how 16-bit files are read; known later than the rest of the format.

        Raises:
            UserError: a worker was killed, most likely out of memory.
        """
        image_format = dataclasses.replace(self._format.image_format, bits=bits)
        record_format = dataclasses.replace(self._format, image_format=image_format)
        size = record_format.files_per_task
        tasks = _batches(sources, size if self._processes else min(size, THREAD_TASK_FILES))
        for done in self._in_order(decode_files, tasks, record_format):
            yield from done

    def largest_values(self, paths: Iterable[str]) -> Iterator[int | None]:
        """For each path: the largest value of a file of more than 8 bits; None of any other file.

        Raises:
            UserError: as `outcomes`.
        """
        for done in self._in_order(largest_values, _batches(paths, TASK_FILES), self._format):
            yield from done

    def descriptions(self, paths: Iterable[str]) -> Iterator[Description | None]:
        """For each path: what a DICOM file's header says; None of a file that has no image.

        Raises:
            UserError: as `outcomes`.
        """
        for done in self._in_order(describe_files, _batches(paths, TASK_FILES), self._format):
            yield from done

    def _in_order(
        self,
        function: Callable[[str, Task, RecordFormat], Result],
        tasks: Iterable[Task],
        record_format: RecordFormat,
    ) -> Iterator[Result]:
        """`function(root, task, record_format)` for each task, a bounded number ahead."""
        if self._executor is None:
            for task in tasks:
                yield function(self._root, task, record_format)
            return
        pending: collections.deque[Future[Result]] = collections.deque()
        try:
            for task in tasks:
                pending.append(self._executor.submit(function, self._root, task, record_format))
                if len(pending) >= self._workers * TASKS_PER_WORKER:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool:
            raise UserError(
                "a decoding process was killed, most likely because the machine ran out of memory; run the "
                "same command again with fewer --workers or smaller --max-pixels, it continues"
            ) from None


def prefers_processes(file_bytes: Sequence[int], *, workers: int) -> bool:
    """Whether processes are faster than threads for files of such sizes (any sample of them)."""
    mean = sum(file_bytes) / max(1, len(file_bytes))
    return workers > MOST_THREADS or mean < LARGE_FILE_BYTES


def decode_files(
    root: str, sources: Iterable[SourceFile], record_format: RecordFormat
) -> list[Outcome]:
    """The outcomes of some files, decoded here and now."""
    return [_decode_file(root, source, record_format) for source in sources]


def largest_values(
    root: str, paths: Iterable[str], record_format: RecordFormat
) -> list[int | None]:
    """The largest value of each file, here and now; see `DecodePool.largest_values`."""
    return [_largest_value(Path(root, path), record_format.max_pixels) for path in paths]


def _largest_value(path: Path, max_pixels: int) -> int | None:
    try:
        data = decoding.read_file(path)
    except decoding.DecodeError:
        return None  # it is named when it is decoded
    return decoding.largest_deep_value(data, max_pixels=max_pixels)


def describe_files(
    root: str, paths: Iterable[str], record_format: RecordFormat
) -> list[Description | None]:
    """What the header of each file says, here and now; see `DecodePool.descriptions`."""
    return [_describe_file(Path(root, path), record_format.max_pixels) for path in paths]


def _describe_file(path: Path, max_pixels: int) -> Description | None:
    try:
        return description.describe(decoding.read_file(path), max_pixels)
    except decoding.DecodeError:
        return None  # it is named when it is decoded


def _decode_file(root: str, source: SourceFile, record_format: RecordFormat) -> Outcome:
    doubts: list[str] = []
    try:
        pixels = decoding.decode_file(
            Path(root, source.path),
            record_format.image_format,
            max_pixels=record_format.max_pixels,
            warn=doubts.append,
        )
    except decoding.DecodeError as error:
        return error.reason
    image = decoding.encode(pixels, record_format.encoding, jpeg_quality=record_format.jpeg_quality)
    example = tfrecords.serialize_example(
        image=image, label=source.label, path=source.path, patient=source.patient
    )
    return Record(tfrecords.frame_record(example), tuple(doubts))


def _batches(items: Iterable[Task], size: int) -> Iterator[tuple[Task, ...]]:
    iterator = iter(items)
    while batch := tuple(itertools.islice(iterator, size)):
        yield batch


def _context() -> multiprocessing.context.BaseContext:
    if sys.platform == "win32":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


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
