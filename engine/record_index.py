"""Where every image of a split lies in its shards, and reading any of them, in any order.

Reading records one after the other hands each image on as a string, four times copied on its way to a
batch. Shards written here hold raw pixels at a place that can be known beforehand, so that one system
call puts an image from the page cache into its row of the batch, past no other copy. The CRC of each
record is checked as it is read.

The index takes 21 bytes an image and 4 us to make; images stay in the files.
"""

import dataclasses
import os
import resource
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from engine import tfrecords
from engine.python_calls import calls
from engine.tfrecords import DamagedShardError, Manifest

_FRAME = struct.Struct(
    "<Q"
)  # a record's length; 4 bytes of CRC follow, then the record, then 4 more
_FRAME_BYTES = 12
_HEAD_BYTES = 64  # of a record, within which its image begins
_ALIGNMENT = 64  # of what TensorFlow takes over without copying, bytes
_SPARE_FILES = 256  # which the process may want to open besides the shards


class RecordIndex:
    """Random access to the images of one split, which must be stored raw.

    Args:
        shards: the directory.
        split: one of the manifest's.

    Attributes:
        labels: int64[N], in the order of the records.

    Raises:
        ValueError: the images are not stored raw.
        DamagedShardError: a shard holds other records than the manifest says.
    """

    def __init__(self, shards: Path, manifest: Manifest, split: str) -> None:
        if manifest.encoding != "raw":
            raise ValueError(f"images are stored as {manifest.encoding}, expected raw")
        self._shape = manifest.image_shape
        self._image_bytes = int(np.prod(self._shape))
        infos = [info for info in manifest.splits[split].shards if info.num_examples]
        _allow_open_files(len(infos))
        self._files = [
            open(shards / info.file, "rb", buffering=0)  # noqa: SIM115 (read from as long as this lives)
            for info in infos
        ]
        layout = _Layout(self._image_bytes, len(manifest.class_names))
        found = [
            layout.scan(file, info.num_examples)
            for file, info in zip(self._files, infos, strict=True)
        ]
        table = np.concatenate(found)
        self._file_of: np.ndarray = np.repeat(
            np.arange(len(found), dtype=np.int32), [len(f) for f in found]
        )
        self._start = table[:, 0].copy()
        self._before = table[:, 1].astype(np.int8)
        self._behind = table[:, 2].astype(np.int32)
        self.labels = table[:, 3].copy()

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """The images at `indices`, int[B] -> uint8[B, H, W, C]; threads may call it at once.

        Raises:
            DamagedShardError: an image is not the one that was written.
        """
        with calls.one() as leaving:
            if leaving:
                return np.zeros((len(indices), *self._shape), np.uint8)
            return self._read(indices)

    def _read(self, indices: np.ndarray) -> np.ndarray:
        images = aligned_empty(len(indices), self._image_bytes)
        head = bytearray(_HEAD_BYTES)
        tail = bytearray(int(self._behind[indices].max(initial=0)))
        rows = zip(
            images,
            self._file_of[indices].tolist(),
            self._start[indices].tolist(),
            self._before[indices].tolist(),
            self._behind[indices].tolist(),
            strict=True,
        )
        for image, number, start, before, behind in rows:
            record = (memoryview(head)[:before], image, memoryview(tail)[:behind])
            count = os.preadv(self._files[number].fileno(), record, start)
            expected = bytes(tail[behind - 4 : behind])
            crc = tfrecords.masked_crc(bytes(head[:before]), image, bytes(tail[: behind - 4]))
            if count != before + len(image) + behind or crc != expected:
                raise DamagedShardError(
                    f"{self._files[number].name}: the record at byte {start:,} is cut short or "
                    "damaged; mend it with engine.build_tfrecords --repair"
                )
        return images.reshape(-1, *self._shape)


class _Layout:
    """What stands around an image in its record, as `tfrecords.serialize_example` writes it."""

    def __init__(self, image_bytes: int, num_classes: int) -> None:
        self._image_bytes = image_bytes
        self._header = tfrecords.image_header(image_bytes)
        self._labels = {tfrecords.label_entry(label): label for label in range(num_classes)}
        self._label_sizes = sorted({len(entry) for entry in self._labels})

    def scan(self, file: BinaryIO, num_examples: int) -> np.ndarray:
        """int64[N, 4]: where a record starts, bytes before its image, bytes behind, its label.

        The bytes behind an image and the next record's head are read in one call.
        """
        rows: np.ndarray = np.empty((num_examples, 4), np.int64)
        descriptor, offset = file.fileno(), 0
        head = os.pread(descriptor, _FRAME_BYTES + _HEAD_BYTES, 0)
        for row in rows:
            frame, body = head[:_FRAME_BYTES], head[_FRAME_BYTES:]
            at = body.find(self._header)
            if len(frame) < _FRAME_BYTES or frame[8:] != tfrecords.masked_crc(frame[:8]) or at < 2:
                raise _damaged(file, f"has no record of the expected layout at byte {offset:,}")
            (length,) = _FRAME.unpack(frame[:8])
            start, before = offset + _FRAME_BYTES, at + len(self._header)
            behind = length - before - self._image_bytes + 4
            chunk = os.pread(
                descriptor,
                max(0, behind) + _FRAME_BYTES + _HEAD_BYTES,
                start + before + self._image_bytes,
            )
            label = self._label_of(chunk)
            if behind < 4 or len(chunk) < behind or label is None:
                raise _damaged(file, f"is cut short or damaged in the record at byte {offset:,}")
            row[:] = start, before, behind, label
            head, offset = chunk[behind:], start + length + 4
        if head:
            raise _damaged(file, f"holds more than the {num_examples} records it should")
        return rows

    def _label_of(self, chunk: bytes) -> int | None:
        for size in self._label_sizes:
            if (label := self._labels.get(chunk[:size])) is not None:
                return label
        return None


@dataclasses.dataclass(frozen=True)
class Places:
    """Where each record of a split begins, whatever its encoding.

    Attributes:
        paths: the shards, absolute.
        file_of: int32[N], which of them holds a record.
        starts: int64[N], the byte at which its frame begins.
    """

    paths: tuple[str, ...]
    file_of: np.ndarray
    starts: np.ndarray


def find_records(shards: Path, manifest: Manifest, split: str) -> Places:
    """Reads the frame of each record, 12 bytes, and nothing else.

    Raises:
        DamagedShardError: a shard holds other records than the manifest says.
    """
    infos = [info for info in manifest.splits[split].shards if info.num_examples]
    starts = []
    for info in infos:
        with open(shards / info.file, "rb", buffering=0) as file:
            starts.append(_frame_starts(file, info.num_examples))
    return Places(
        paths=tuple(str((shards / info.file).absolute()) for info in infos),
        file_of=np.repeat(np.arange(len(infos), dtype=np.int32), [len(one) for one in starts]),
        starts=np.concatenate(starts),
    )


def _frame_starts(file: BinaryIO, num_examples: int) -> np.ndarray:
    starts: np.ndarray = np.empty(num_examples, np.int64)
    offset = 0
    for number in range(num_examples):
        frame = os.pread(file.fileno(), _FRAME_BYTES, offset)
        if len(frame) < _FRAME_BYTES or frame[8:] != tfrecords.masked_crc(frame[:8]):
            raise _damaged(file, f"has no record at byte {offset:,}")
        starts[number] = offset
        offset += _FRAME_BYTES + _FRAME.unpack(frame[:8])[0] + 4
    if offset != os.fstat(file.fileno()).st_size:
        raise _damaged(file, f"does not end with the last of its {num_examples} records")
    return starts


def _damaged(file: BinaryIO, what: str) -> DamagedShardError:
    return DamagedShardError(f"{file.name} {what}; check it with engine.build_tfrecords --verify")


def aligned_empty(rows: int, columns: int) -> np.ndarray:
    """uint8[rows, columns] at an address that TensorFlow takes over rather than copies."""
    size = rows * columns
    buffer: np.ndarray = np.empty(size + _ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % _ALIGNMENT
    return buffer[start : start + size].reshape(rows, columns)


def _allow_open_files(count: int) -> None:
    """Raises the process's own limit of open files where a split has very many shards."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _SPARE_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
