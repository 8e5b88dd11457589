"""Where every image of a split lies in its shards, and reading any of them, in any order.

Reading records one after the other hands each image on as a string, four times copied on its way to
a batch. Shards written here hold raw pixels at a place that can be known beforehand, so that one
system call puts an image from the page cache into its row of the batch, past no other copy. The CRC
of each record is checked as it is read.

The index takes 21 bytes per image and 3 us to make; images stay in the files.
"""

import dataclasses
import os
import resource
from collections.abc import Sequence

import numpy as np

from engine.base.python_calls import calls
from engine.shards import tfrecords
from engine.shards.record_scan import HEAD_BYTES, REPAIR, ScannedShard
from engine.shards.tfrecords import FRAME_BYTES, DamagedShardError, Manifest

_ALIGNMENT = 64  # of what TensorFlow takes over without copying, bytes
_SPARE_FILES = 256  # which the process may want to open besides the shards


class RecordIndex:
    """Random access to the images of one split, which must be stored raw.

    Args:
        found: a split's shards, as `scan_split` found them.

    Attributes:
        labels: int64[N], in the order of the records.

    Raises:
        ValueError: the images are not stored raw.
    """

    def __init__(self, manifest: Manifest, found: Sequence[ScannedShard]) -> None:
        if manifest.encoding != "raw":
            raise ValueError(f"images are stored as {manifest.encoding}, expected raw")
        self._shape = manifest.image_shape
        self._image_bytes = int(np.prod(self._shape))
        _allow_open_files(len(found))
        self._files = [
            open(shard.path, "rb", buffering=0)  # noqa: SIM115 (read from as long as this lives)
            for shard in found
        ]
        self._file_of = _file_of(found)
        self._start = np.concatenate([shard.starts for shard in found])
        self._before = np.concatenate([shard.before for shard in found]).astype(np.int8)
        self._behind = np.concatenate([shard.behind for shard in found]).astype(np.int32)
        self.labels = np.concatenate([shard.labels for shard in found])

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
        head = bytearray(HEAD_BYTES)
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
                    f"damaged; {REPAIR}"
                )
        return images.reshape(-1, *self._shape)


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


def places_of(found: Sequence[ScannedShard]) -> Places:
    """Where each record of scanned shards begins."""
    return Places(
        paths=tuple(str(shard.path.absolute()) for shard in found),
        file_of=_file_of(found),
        starts=np.concatenate([shard.starts - FRAME_BYTES for shard in found]),
    )


def _file_of(found: Sequence[ScannedShard]) -> np.ndarray:
    """int32[N]: which shard holds a record."""
    return np.repeat(np.arange(len(found), dtype=np.int32), [len(shard.starts) for shard in found])


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
