"""Whether the records of a split are those that its manifest describes, without reading an image.

From each record comes what stands around its image: its frame, its label. That tells where every
record lies, and is compared with the manifest in three ways: the shard's checksum over its frames
(which hold the CRC of each record), the number of records, and how many there are of each class. So
shards of another build are distinguished from the right ones, whatever their names and sizes, before
the first image is read. Every length is held against the file's size, so that TensorFlow's reader, which
allocates what a record's length asks for, is never handed a file that was not checked.

3 us per image, one system call.
"""

import dataclasses
import functools
import hashlib
import os
import re
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.shards import tfrecords
from engine.shards.manifest import Manifest, ShardInfo
from engine.shards.tfrecords import FRAME_BYTES, DamagedShardError

HEAD_BYTES = 64  # of a record, within which its image begins

_LENGTH = struct.Struct("<Q")
_CRC_BYTES = 4
_READ_BYTES = FRAME_BYTES + HEAD_BYTES
_VARINT = rb"[\x80-\xff]{0,9}[\x00-\x7f]"
# What `tfrecords.serialize_example` writes behind the label and before a path, and then its length.
_BEFORE_PATH = re.compile(rb"\x0a\x04path\x12%b\x0a%b\x0a(%b)" % ((_VARINT,) * 3), re.DOTALL)
# What it writes before an image, whose length is the last number.
_HEAD = re.compile(rb"\x0a%b\x0a%b\x0a\x05image\x12%b\x0a%b\x0a(%b)" % ((_VARINT,) * 5), re.DOTALL)
REPAIR = "run the same engine.build_tfrecords command again with --repair, or copy the shards again"


@dataclasses.dataclass(frozen=True)
class ScannedShard:
    """Where the records of one shard lie, each int64[N].

    Attributes:
        starts: the byte at which a record begins, behind the 12 bytes of its frame.
        before: bytes of the record before its image.
        behind: bytes behind its image, the CRC included.
        labels: the index of its class.
    """

    path: Path
    starts: np.ndarray
    before: np.ndarray
    behind: np.ndarray
    labels: np.ndarray


def scan_split(shards: Path, manifest: Manifest, split: str) -> list[ScannedShard]:
    """The shards of a split that hold any record, compared with the manifest.

    Raises:
        DamagedShardError: a shard is missing or holds other records than the manifest says.
    """
    info = manifest.splits[split]
    image_bytes = int(np.prod(manifest.image_shape)) if manifest.encoding == "raw" else None
    try:
        found = [
            scan_shard(
                shards, shard, num_classes=len(manifest.class_names), image_bytes=image_bytes
            )
            for shard in info.shards
            if shard.num_examples
        ]
    except DamagedShardError as error:
        raise DamagedShardError(f"{error}; {REPAIR}") from error
    counts = count_classes(found, manifest.class_names)
    if counts != info.class_counts:
        raise DamagedShardError(
            f"{shards}: split {split!r} holds {counts}, the manifest says {info.class_counts}; {REPAIR}"
        )
    return found


def paths_of(found: Sequence[ScannedShard]) -> list[str]:
    """The source file of each record, without reading an image. No checksum is compared.

    Raises:
        DamagedShardError: a shard cannot be read, or a record has no path.
    """
    return [path for shard in found for path in _paths_of(shard)]


def _paths_of(shard: ScannedShard) -> list[str]:
    try:
        with open(shard.path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            ends = [*(shard.starts[1:] - FRAME_BYTES).tolist(), size]
            behind = shard.behind.tolist()
            tails = [
                os.pread(file.fileno(), length, end - length)
                for end, length in zip(ends, behind, strict=True)
            ]
    except OSError as error:
        raise DamagedShardError(f"{shard.path}: cannot be read ({error.strerror})") from error
    paths = []
    for tail in tails:
        match = _BEFORE_PATH.search(tail)
        if match is None:
            raise DamagedShardError(f"{shard.path}: holds a record without a path; {REPAIR}")
        stored = tail[match.end() : match.end() + _value_of(match[1])]
        paths.append(tfrecords.decoded_text(stored))
    return paths


def find_damage(shards: Path, manifest: Manifest, split: str) -> str | None:
    """Re-reads every record of a split: what is wrong with the first damaged shard, a line."""
    for info in manifest.splits[split].shards:
        try:
            tfrecords.verify_shard(shards, info)
        except DamagedShardError as error:
            return f"{error}; {REPAIR}"
    return None


def count_classes(found: Sequence[ScannedShard], class_names: Sequence[str]) -> dict[str, int]:
    """Examples by class name, zeros included."""
    labels = np.concatenate([np.zeros(0, np.int64), *(scan.labels for scan in found)])
    counts = np.bincount(labels, minlength=len(class_names))
    return dict(zip(class_names, counts.tolist(), strict=True))


def scan_shard(
    shards: Path, info: ShardInfo, *, num_classes: int, image_bytes: int | None
) -> ScannedShard:
    """One shard, compared with what is known of it.

    Args:
        image_bytes: the size that every image must have; None where they are encoded.

    Raises:
        DamagedShardError: it is missing or holds other records.
    """
    path = shards / info.file
    try:
        with open(path, "rb", buffering=0) as file:
            rows, frames = _Walk(file.fileno(), path, num_classes, image_bytes).rows(
                info.num_examples
            )
    except OSError as error:
        raise DamagedShardError(f"{path}: cannot be read ({error.strerror})") from error
    if hashlib.sha256(frames).hexdigest() != info.records_sha256:
        raise DamagedShardError(
            f"{path}: its records are not those that were written, but as of another build"
        )
    starts, before, behind, labels = np.array(rows, np.int64).reshape(-1, 4).T.copy()
    return ScannedShard(path, starts, before, behind, labels)


class _Walk:
    """From record to record through an open shard."""

    def __init__(
        self, descriptor: int, path: Path, num_classes: int, image_bytes: int | None
    ) -> None:
        self._descriptor, self._path = descriptor, path
        self._image_bytes = image_bytes
        self._labels = {tfrecords.label_entry(label): label for label in range(num_classes)}
        self._label_sizes = sorted({len(entry) for entry in self._labels})

    def rows(self, num_examples: int) -> tuple[list[tuple[int, int, int, int]], bytes]:
        """Start, bytes before, bytes behind and label of each record; and all frames in a row."""
        size = os.fstat(self._descriptor).st_size
        rows, frames, offset = [], bytearray(), 0
        head = os.pread(self._descriptor, _READ_BYTES, 0)
        for _ in range(num_examples):
            match = _HEAD.match(head, FRAME_BYTES)
            if match is None:
                raise self._damaged(f"no record of the expected layout at byte {offset:,}")
            (length,) = _LENGTH.unpack_from(head)
            start, image_at = offset + FRAME_BYTES, offset + match.end()
            image_bytes = _value_of(match[1])
            if self._image_bytes not in (None, image_bytes):
                raise self._damaged(f"an image of {image_bytes:,} bytes at byte {offset:,}")
            behind = start + length + _CRC_BYTES - image_at - image_bytes
            if start + length + _CRC_BYTES > size or behind < _CRC_BYTES:
                raise self._damaged(f"a record of {length:,} bytes at byte {offset:,}")
            # What is behind an image and the next record's head are read in one call.
            chunk = os.pread(self._descriptor, behind + _READ_BYTES, image_at + image_bytes)
            label = self._label_of(chunk)
            if label is None:
                raise self._damaged(f"no known label in the record at byte {offset:,}")
            rows.append((start, match.end() - FRAME_BYTES, behind, label))
            frames += head[:FRAME_BYTES] + chunk[behind - _CRC_BYTES : behind]
            head, offset = chunk[behind:], start + length + _CRC_BYTES
        if offset != size:
            raise self._damaged(f"more than the {num_examples} records it should")
        return rows, bytes(frames)

    def _label_of(self, chunk: bytes) -> int | None:
        for size in self._label_sizes:
            if (label := self._labels.get(chunk[:size])) is not None:
                return label
        return None

    def _damaged(self, what: str) -> DamagedShardError:
        return DamagedShardError(f"{self._path}: holds {what}")


@functools.lru_cache(maxsize=4096)
def _value_of(varint: bytes) -> int:
    return sum((byte & 0x7F) << 7 * place for place, byte in enumerate(varint))
