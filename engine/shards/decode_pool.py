"""Workers that turn image files into framed records, in order, a bounded number at a time.

Threads or processes (`ordered_pool.prefers_processes`); a process never imports TensorFlow.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from engine.base.ordered_pool import OrderedPool, batches
from engine.images import bit_depth, decoding
from engine.images.dicom import description
from engine.images.dicom.description import Description
from engine.images.format import ImageFormat
from engine.shards import tfrecords

TASK_BYTES = 2 << 20  # of pixels that a task sends back, at most
TASK_FILES = 16
THREAD_TASK_FILES = 4  # nothing is sent to threads, and small tasks leave none of them idle


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """An image that became a framed record; `doubts` are what `decoding.decode_bytes` warned of."""

    framed: bytes
    doubts: tuple[str, ...] = ()


Outcome = Record | str  # or the reason why there is no record


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
        processes: whether they are processes rather than threads; see `ordered_pool.prefers_processes`.
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
        self._processes = processes
        self._pool = OrderedPool(
            workers=workers,
            processes=processes,
            preload=__name__,
            on_kill="run the same command again with fewer --workers or smaller --max-pixels, it "
            "continues",
        )

    def __enter__(self) -> "DecodePool":
        self._pool.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._pool.__exit__(*exception)

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
        tasks = batches(sources, size if self._processes else min(size, THREAD_TASK_FILES))
        for done in self._pool.in_order(decode_files, tasks, self._root, record_format):
            yield from done

    def largest_values(self, paths: Iterable[str]) -> Iterator[int | None]:
        """For each path: the largest value of a file of more than 8 bits; None of any other file.

        Raises:
            UserError: as `outcomes`.
        """
        tasks = batches(paths, TASK_FILES)
        limit = self._format.max_pixels
        for done in self._pool.in_order(decoding.largest_deep_values, tasks, self._root, limit):
            yield from done

    def descriptions(self, paths: Iterable[str]) -> Iterator[Description | None]:
        """For each path: what a DICOM file's header says; None of a file that has no image.

        Raises:
            UserError: as `outcomes`.
        """
        tasks = batches(paths, TASK_FILES)
        for done in self._pool.in_order(describe_files, tasks, self._root, self._format):
            yield from done


def decode_files(
    sources: Iterable[SourceFile], root: str, record_format: RecordFormat
) -> list[Outcome]:
    """The outcomes of some files, decoded here and now."""
    return [_decode_file(root, source, record_format) for source in sources]


def describe_files(
    paths: Iterable[str], root: str, record_format: RecordFormat
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
