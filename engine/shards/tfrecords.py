"""The shard format, both sides: records, shards, checksums, TFDS metadata; `manifest` is its own.

A shards directory holds

    <split>-00000-of-00008.tfrecord   tf.train.Example records
    features.json, dataset_info.json  TFDS metadata (and label.labels.txt, the class names)
    rejected.csv                      every file left out, and why
    manifest.json                     written last; without it the directory is an unfinished build

and a record holds `image` (uint8[H, W, C] as raw bytes, or as PNG or JPEG), `label` (int64, the
index into the manifest's class names), `path` (relative to the image folder, with slashes) and
`patient` (the group that splits keep together; empty where there is none).

Only `parse_batch` needs TensorFlow. Records are framed here with a hardware CRC, since importing
TensorFlow takes 3 s, longer than building a few thousand images, and a worker process without it
starts in 0.3 s instead.
"""

import hashlib
import json
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import google_crc32c

from engine.base import files
from engine.base.config import UserError
from engine.base.wire_format import field, varint
from engine.shards.manifest import (  # noqa: F401 (half of the format, found under either name)
    BUILD_STATE,
    DICOM,
    FORMAT_VERSION,
    MANIFEST,
    REJECTED,
    SPLITS,
    Manifest,
    ShardInfo,
    SplitInfo,
    read_manifest,
    shard_name,
    write_manifest,
)

if TYPE_CHECKING:
    import tensorflow as tf

FEATURES = ("image", "label", "path", "patient")
FRAME_BYTES = 12  # before a record: its length and the length's CRC; 4 more, its own CRC, follow it
TFDS_FILES = ("features.json", "dataset_info.json", "label.labels.txt")

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")


class DamagedShardError(UserError):
    """A shard is not what the manifest says; the message names it and says in what it differs."""


# ---------------------------------------------------------------------------- reading batches


def parse_batch(
    serialized: "tf.Tensor", manifest: Manifest, *, features: Sequence[str] = FEATURES
) -> dict[str, "tf.Tensor"]:
    """Parses a batch of records at once, in graph operations; for use in `Dataset.map`.

    One call for a batch is twice as fast as a call for each record (34,000 against 17,000
    images/s at 224 x 224 on 2 cores).

    Args:
        serialized: string[B], records of the shards that `manifest` describes.
        features: those wanted among `image`, `label`, `path` and `patient`; others are not
            parsed.

    Returns:
        `image` uint8[B, H, W, C], its shape static but for B; `label` int64[B]; `path` string[B];
        `patient` string[B].

    Raises:
        ValueError: `features` names none or an unknown one.
    """
    import tensorflow as tf

    unknown = set(features) - set(FEATURES)
    if unknown or not features:
        raise ValueError(f"features: got {tuple(features)}, expected some of {FEATURES}")
    types = {"image": tf.string, "label": tf.int64, "path": tf.string, "patient": tf.string}
    specification = {name: tf.io.FixedLenFeature([], types[name]) for name in features}
    parsed = tf.io.parse_example(serialized, specification)
    if "image" in parsed:
        parsed["image"] = _decode_images(parsed["image"], manifest)
        parsed["image"].set_shape([serialized.shape[0], *manifest.image_shape])
    return parsed


def _decode_images(encoded: "tf.Tensor", manifest: Manifest) -> "tf.Tensor":
    """string[B] -> uint8[B, H, W, C]."""
    import tensorflow as tf

    shape = manifest.image_shape
    if manifest.encoding == "raw":
        return tf.reshape(tf.io.decode_raw(encoded, tf.uint8), [-1, *shape])

    def decode(image: "tf.Tensor") -> "tf.Tensor":
        if manifest.encoding == "png":
            return tf.ensure_shape(tf.io.decode_png(image, channels=shape[-1]), shape)
        # The default transform differs from libjpeg's by up to 13 grey levels.
        pixels = tf.io.decode_jpeg(image, channels=shape[-1], dct_method="INTEGER_ACCURATE")
        return tf.ensure_shape(pixels, shape)

    return tf.map_fn(decode, encoded, fn_output_signature=tf.TensorSpec(shape, tf.uint8))


# ---------------------------------------------------------------------------- writing records


def serialize_example(*, image: bytes, label: int, path: str, patient: str) -> bytes:
    """A `tf.train.Example` of one image, with its features in alphabetical order."""
    features = (
        _map_entry("image", _bytes_feature(image)),
        label_entry(label),
        # A file name that is not UTF-8 reaches Python with surrogates; its bytes go out as they were.
        _map_entry("path", _bytes_feature(path.encode("utf-8", "surrogateescape"))),
        _map_entry("patient", _bytes_feature(patient.encode("utf-8", "surrogateescape"))),
    )
    return field(1, b"".join(features))  # Example.features


def decoded_text(stored: bytes) -> str:
    """A path or a patient as records hold it, as text; bytes that are not UTF-8 are escaped."""
    return stored.decode("utf-8", "backslashreplace")


def label_entry(label: int) -> bytes:
    """The fields after the image."""
    return _map_entry("label", _int64_feature(label))


def frame_record(record: bytes) -> bytes:
    """A record as stored in a TFRecord file: length, its CRC, the record, its CRC."""
    length = _LENGTH.pack(len(record))
    return b"".join((length, masked_crc(length), record, masked_crc(record)))


def _read_frames(path: Path) -> Iterator[tuple[bytes, bytes, bytes]]:
    """What stands before each record, the record, and its CRC, both CRCs checked.

    Raises:
        DamagedShardError: a CRC does not match, or the file ends within a record. (A file cut
            between two records looks whole from inside: counts come from the manifest.)
    """
    with open(path, "rb") as file:
        left = os.fstat(file.fileno()).st_size
        index = 0
        while header := file.read(FRAME_BYTES):
            if len(header) < FRAME_BYTES or header[8:] != masked_crc(header[:8]):
                raise DamagedShardError(f"{path}: record {index} has a damaged header")
            (length,) = _LENGTH.unpack(header[:8])
            left -= FRAME_BYTES + length + 4
            # Before it is read: a length may ask for more memory than there is.
            if left < 0:
                raise DamagedShardError(
                    f"{path}: record {index} is cut short: its {length:,} bytes are more than the "
                    "file holds"
                )
            record, crc = file.read(length), file.read(4)
            if crc != masked_crc(record):
                raise DamagedShardError(f"{path}: record {index} is damaged")
            yield header, record, crc
            index += 1


class ShardWriter:
    """Writes framed records into one shard, counting and hashing on the way.

    Args:
        path: a file to create, as handed out by `files.written_aside`.
        name: the name the shard will have.
    """

    def __init__(self, path: Path, *, name: str) -> None:
        self._name = name
        self._file = open(path, "wb", buffering=1 << 20)  # noqa: SIM115 (closed by __exit__)
        self._sha256, self._records_sha256 = hashlib.sha256(), hashlib.sha256()
        self._num_examples = self._bytes = 0

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, *exception: Any) -> None:
        self._file.close()

    def write(self, framed: bytes) -> None:
        """Appends one record as `frame_record` made it."""
        self._file.write(framed)
        self._sha256.update(framed)
        self._records_sha256.update(framed[:FRAME_BYTES] + framed[-4:])
        self._num_examples += 1
        self._bytes += len(framed)

    def info(self) -> ShardInfo:
        """What was written so far."""
        return ShardInfo(
            file=self._name,
            num_examples=self._num_examples,
            bytes=self._bytes,
            sha256=self._sha256.hexdigest(),
            records_sha256=self._records_sha256.hexdigest(),
        )


def verify_shard(shards_dir: Path, shard: ShardInfo) -> None:
    """Re-reads one shard: its size, checksum, the CRC of each record, and their count.

    Raises:
        DamagedShardError: the file is missing or differs in any of these.
    """
    path = shards_dir / shard.file
    if not path.is_file():
        raise DamagedShardError(f"{path}: missing")
    size = path.stat().st_size
    if size != shard.bytes:
        raise DamagedShardError(f"{path}: {size:,} bytes long, {shard.bytes:,} were written")
    count, digest = 0, hashlib.sha256()
    for frame in _read_frames(path):
        count += 1
        for part in frame:
            digest.update(part)
    if count != shard.num_examples:
        raise DamagedShardError(f"{path}: holds {count} records, {shard.num_examples} were written")
    if digest.hexdigest() != shard.sha256:
        raise DamagedShardError(f"{path}: its SHA-256 is not the one that was written")


def masked_crc(*parts: Any) -> bytes:
    """The CRC-32C of bytes or uint8 arrays, one after the other, as TFRecord files have it.

    It is rotated and offset, since a CRC of CRCs would be weak.
    """
    crc = 0
    for part in parts:
        crc = google_crc32c.extend(crc, part)
    return _CRC.pack((((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _map_entry(name: str, feature: bytes) -> bytes:
    return field(1, field(1, name.encode()) + field(2, feature))  # Features.feature


def _bytes_feature(value: bytes) -> bytes:
    return field(1, field(1, value))  # Feature.bytes_list, BytesList.value


def _int64_feature(value: int) -> bytes:
    return field(3, field(1, varint(value)))  # Feature.int64_list, Int64List.value (packed)


# ---------------------------------------------------------------------------- TFDS metadata


def write_tfds_metadata(shards_dir: Path, manifest: Manifest) -> None:
    """Writes what lets `tfds.builder_from_directory(SHARDS)` read the shards."""
    for name, text in tfds_metadata(manifest).items():
        files.write_text(shards_dir / name, text)


def tfds_metadata(manifest: Manifest) -> dict[str, str]:
    """File name -> text: what `tfds.folder_dataset.write_metadata` would write (a test holds them
    together), without importing TensorFlow."""
    return {
        "features.json": json.dumps(_tfds_features(manifest), indent=2) + "\n",
        "dataset_info.json": json.dumps(_tfds_dataset_info(manifest), indent=2) + "\n",
        "label.labels.txt": "".join(f"{name}\n" for name in manifest.class_names),
    }


def _tfds_features(manifest: Manifest) -> dict[str, Any]:
    package = "tensorflow_datasets.core.features"
    shape = {"dimensions": [str(size) for size in manifest.image_shape]}
    if manifest.encoding == "raw":
        image: dict[str, Any] = {
            "pythonClassName": f"{package}.tensor_feature.Tensor",
            "tensor": {"dtype": "uint8", "encoding": "bytes", "shape": shape},
        }
    else:
        image = {
            "pythonClassName": f"{package}.image_feature.Image",
            "image": {"dtype": "uint8", "encodingFormat": manifest.encoding, "shape": shape},
        }
    label = {
        "pythonClassName": f"{package}.class_label_feature.ClassLabel",
        "classLabel": {"numClasses": str(len(manifest.class_names))},
    }
    text = {"pythonClassName": f"{package}.text_feature.Text", "text": {}}
    return {
        "pythonClassName": f"{package}.features_dict.FeaturesDict",
        "featuresDict": {
            "features": {"image": image, "label": label, "path": text, "patient": text}
        },
    }


def _tfds_dataset_info(manifest: Manifest) -> dict[str, Any]:
    splits = [
        {
            "filepathTemplate": "{SPLIT}-{SHARD_X_OF_Y}.{FILEFORMAT}",
            "name": name,
            "numBytes": str(sum(shard.bytes for shard in split.shards)),
            "shardLengths": [str(shard.num_examples) for shard in split.shards],
        }
        for name, split in manifest.splits.items()
    ]
    keys = [{"featureKey": "image"}, {"featureKey": "label"}]
    return {
        "fileFormat": "tfrecord",
        "splits": splits,
        "supervisedKeys": {"tuple": {"items": keys}},
        "version": "1.0.0",
    }
