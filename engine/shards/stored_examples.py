"""Whole records of shards, in any order and of any encoding, without TensorFlow."""

import dataclasses
import io
import os
import re

import numpy as np
from PIL import Image

from engine.shards import tfrecords
from engine.shards.manifest import Manifest
from engine.shards.record_scan import REPAIR, ScannedShard
from engine.shards.tfrecords import DamagedShardError

_CRC_BYTES = 4
_VARINT = rb"[\x80-\xff]{0,9}[\x00-\x7f]"
# What `tfrecords.serialize_example` writes before a text, and then its length.
_BEFORE_TEXT = rb"\x0a%b%b\x12%b\x0a%b\x0a(%b)"


@dataclasses.dataclass(frozen=True)
class StoredExample:
    """One record: its image, uint8[H, W, C], and what stands beside it."""

    image: np.ndarray
    label: int
    path: str
    patient: str


def read_examples(shard: ScannedShard, places: range, manifest: Manifest) -> list[StoredExample]:
    """Some records of a shard, in order, each compared with its checksum.

    Raises:
        DamagedShardError: a record is not the one that was written, or its image cannot be decoded.
    """
    try:
        with open(shard.path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            return [_read(file.fileno(), shard, place, size, manifest) for place in places]
    except OSError as error:
        raise DamagedShardError(f"{shard.path}: cannot be read ({error.strerror})") from error


def _read(
    descriptor: int, shard: ScannedShard, place: int, file_bytes: int, manifest: Manifest
) -> StoredExample:
    start = int(shard.starts[place])
    last = place + 1 == len(shard.starts)
    end = file_bytes if last else int(shard.starts[place + 1]) - tfrecords.FRAME_BYTES
    stored = os.pread(descriptor, end - start, start)
    record, crc = stored[:-_CRC_BYTES], stored[-_CRC_BYTES:]
    if len(stored) != end - start or tfrecords.masked_crc(record) != crc:
        raise _damaged(shard, start)
    image_end = len(stored) - int(shard.behind[place])
    beside = record[image_end:]
    try:
        image = _decoded(record[int(shard.before[place]) : image_end], manifest)
    except (OSError, ValueError, SyntaxError) as error:
        raise _damaged(shard, start) from error
    return StoredExample(
        image=image,
        label=int(shard.labels[place]),
        path=_text(beside, b"path", shard, start),
        patient=_text(beside, b"patient", shard, start),
    )


def _decoded(encoded: bytes, manifest: Manifest) -> np.ndarray:
    shape = manifest.image_shape
    if manifest.encoding == "raw":
        return np.frombuffer(encoded, np.uint8).reshape(shape)
    with Image.open(io.BytesIO(encoded), formats=("PNG", "JPEG")) as image:
        return np.asarray(image.convert("L" if shape[-1] == 1 else "RGB")).reshape(shape)


def _text(beside: bytes, name: bytes, shard: ScannedShard, start: int) -> str:
    pattern = _BEFORE_TEXT % (re.escape(bytes([len(name)])), name, *(_VARINT,) * 3)
    match = re.search(pattern, beside, re.DOTALL)
    if match is None:
        raise _damaged(shard, start)
    length = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(match[1]))
    return tfrecords.decoded_text(beside[match.end() : match.end() + length])


def _damaged(shard: ScannedShard, start: int) -> DamagedShardError:
    return DamagedShardError(f"{shard.path}: the record at byte {start:,} is damaged; {REPAIR}")
