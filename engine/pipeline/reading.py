"""A split as it is stored: its labels, paths and images, in the order of the records.

`StoredSplit` keeps what it has read, so that whoever shares one object reads the shards once: the
scan of the records (3 us per image), and the decoded images if they are asked for.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from engine.base.config import UserError
from engine.pipeline.dataset_options import unconverted, untuned
from engine.shards import tfrecords
from engine.shards.dataset_checks import split_info
from engine.shards.record_index import Places, RecordIndex, aligned_empty, places_of
from engine.shards.record_scan import REPAIR, ScannedShard, find_damage, scan_split
from engine.shards.tfrecords import DamagedShardError, Manifest

PREFETCHED_BATCHES = 4  # bounded: AUTOTUNE may take memory without limit
_LOAD_BATCH = 256
_RECORD_MARGIN_BYTES = 4096  # label, path and patient; a longer record takes a second read


class StoredSplit:
    """One split of a shards directory, opened once for all who hold this object.

    Args:
        shards: the directory.
        name: the split.
        manifest: the directory's, if it has been read already.

    Attributes:
        num_examples: as the manifest says, which the shards are compared with when they are opened.

    Raises:
        UserError: there are no shards, or no such split, or it is empty.
    """

    def __init__(self, shards: Path | str, name: str, manifest: Manifest | None = None) -> None:
        self.shards, self.name = Path(shards), name
        self.manifest = tfrecords.read_manifest(shards) if manifest is None else manifest
        self.num_examples = split_info(self.manifest, name).num_examples

    @property
    def decoded_bytes(self) -> int:
        """The size of the pixels in memory."""
        return self.num_examples * math.prod(self.manifest.image_shape)

    @functools.cached_property
    def scanned(self) -> list[ScannedShard]:
        """The shards that hold any record, compared with the manifest.

        Raises:
            DamagedShardError: a shard holds other records than the manifest says.
        """
        return scan_split(self.shards, self.manifest, self.name)

    @property
    def shard_paths(self) -> list[str]:
        """The shards that hold any record, in order; raises as `scanned` does."""
        return [str(shard.path) for shard in self.scanned]

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """int64[N], without reading an image; raises as `scanned` does."""
        return np.concatenate([shard.labels for shard in self.scanned])

    @functools.cached_property
    def images(self) -> np.ndarray:
        """Every image, decoded, uint8[N, H, W, C]; raises as `load` does."""
        return self.load(("image",))["image"]

    @functools.cached_property
    def places(self) -> Places:
        """Where each record begins; raises as `scanned` does."""
        return places_of(self.scanned)

    def index(self) -> RecordIndex:
        """Random access to the images, which must be stored raw; raises as `scanned` does."""
        return RecordIndex(self.manifest, self.scanned)

    def first_images(self, count: int) -> np.ndarray:
        """The first images, uint8[<=count, H, W, C].

        Raises:
            DamagedShardError: a record is damaged.
        """
        if "images" in self.__dict__:
            return self.images[:count]
        with self.damage_named():
            return next(iter(self._parsed(count, ("image",))))["image"].numpy()

    def paths(self, indices: np.ndarray) -> list[str]:
        """The source files of the examples at `indices`, int64[B]; no others are read.

        Raises:
            DamagedShardError: one of their records is damaged.
        """
        return [tfrecords.decoded_text(path) for path in self._feature_at(indices, "path")]

    def images_at(self, indices: np.ndarray) -> np.ndarray:
        """The images at `indices`, int64[B], decoded, uint8[B, H, W, C]; no others are read.

        Raises:
            DamagedShardError: one of their records is damaged.
        """
        return self._feature_at(indices, "image")

    def _feature_at(self, indices: np.ndarray, feature: str) -> np.ndarray:
        with self.damage_named():
            read = make_record_reader(self.places, self.manifest)
            serialized = read(tf.constant(indices, tf.int64))
            parsed = tfrecords.parse_batch(serialized, self.manifest, features=(feature,))
        return np.asarray(parsed[feature].numpy())

    def load(self, features: Sequence[str] = ("image", "label")) -> dict[str, np.ndarray]:
        """Reads every example into memory; what is returned is not kept.

        Returns:
            One array per feature: `image` uint8[N, H, W, C], `label` int64[N], `path` and `patient`
            object[N] of bytes.

        Raises:
            UserError: the shards hold other records than the manifest says, or a record is damaged.
        """
        arrays: dict[str, np.ndarray] = {}
        done = 0
        with self.damage_named():
            for batch in self._parsed(_LOAD_BATCH, features):
                for name, value in batch.items():
                    value = value.numpy()
                    if name not in arrays:
                        arrays[name] = _empty_like(value, self.num_examples)
                    arrays[name][done : done + len(value)] = value[: self.num_examples - done]
                done += len(value)
        if done != self.num_examples:
            raise UserError(
                f"{self.shards}: split {self.name!r} holds {done} records, the manifest says "
                f"{self.num_examples}; {REPAIR}"
            )
        return arrays

    def dataset(
        self, batch_size: int = 256, features: Sequence[str] = ("image", "label")
    ) -> tf.data.Dataset:
        """Every example once, in the order of the records, the remainder included.

        Args:
            features: which of `image`, `label`, `path`, `patient` to read.

        Returns:
            A dataset of known cardinality, of dictionaries: `image` uint8[<=B, H, W, C], `label`
            int64[<=B], `path` and `patient` string[<=B].
        """
        num_batches = math.ceil(self.num_examples / batch_size)
        known = tf.data.experimental.assert_cardinality(num_batches)
        return self._parsed(batch_size, features).apply(known).prefetch(PREFETCHED_BATCHES)

    def _parsed(self, batch_size: int, features: Sequence[str]) -> tf.data.Dataset:
        records = tf.data.TFRecordDataset(self.shard_paths, buffer_size=8 << 20)
        parsed = records.batch(batch_size).map(
            unconverted(
                lambda serialized: tfrecords.parse_batch(
                    serialized, self.manifest, features=features
                )
            ),
            num_parallel_calls=2,
            deterministic=True,
        )
        return parsed.with_options(untuned())

    def damage(self, error: tf.errors.OpError) -> str | None:
        """What was wrong with a shard, if that is why a dataset failed: a line for the user."""
        _, found, message = str(error).partition("DamagedShardError: ")
        if found:
            return message.splitlines()[0]
        if isinstance(error, tf.errors.DataLossError):
            # TensorFlow names no file.
            return find_damage(self.shards, self.manifest, self.name) or (
                f"{self.shards}, split {self.name!r}: {error.message}"
            )
        return None

    @contextlib.contextmanager
    def damage_named(self) -> Iterator[None]:
        """Raises `DamagedShardError`, naming the shard, if the block reads a damaged record."""
        try:
            yield
        except tf.errors.DataLossError as error:
            raise DamagedShardError(self.damage(error)) from error


def make_record_reader(places: Places, manifest: Manifest) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function from records' numbers, int64[B], to the records, string[B], in pure operations."""
    paths, file_of = tf.constant(places.paths), tf.constant(places.file_of)
    starts = tf.constant(places.starts)
    buffer_bytes = math.prod(manifest.image_shape) + _RECORD_MARGIN_BYTES

    def record_at(path: tf.Tensor, start: tf.Tensor) -> tf.data.Dataset:
        records = tf.raw_ops.TFRecordDatasetV2(
            filenames=[path],
            compression_type="",
            buffer_size=tf.constant(buffer_bytes, tf.int64),
            byte_offsets=[start],
        )
        return tf.data.experimental.from_variant(records, tf.TensorSpec([], tf.string)).take(1)

    def read(indices: tf.Tensor) -> tf.Tensor:
        where = tf.gather(paths, tf.gather(file_of, indices)), tf.gather(starts, indices)
        records = tf.data.Dataset.from_tensor_slices(where).flat_map(record_at)
        return records.batch(tf.size(indices, tf.int64)).get_single_element()

    return read


def _empty_like(batch: np.ndarray, num_examples: int) -> np.ndarray:
    """An array for `num_examples` of what `batch` holds some of."""
    if batch.dtype != np.uint8:
        return np.empty((num_examples, *batch.shape[1:]), batch.dtype)
    image_bytes = math.prod(batch.shape[1:])
    return aligned_empty(num_examples, image_bytes).reshape(-1, *batch.shape[1:])
