"""Shards to batches: the memory tier, the streaming tier, and evaluation.

Both training tiers yield, for ever, batches whose content is a pure function of (seed, step): the
order of an epoch is a stateless permutation, and no random state lives in a buffer. A dataset can be
opened at any step and goes on exactly there. Each epoch drops as many examples as fill no whole batch,
all being equally likely to be dropped.

memory     the split is decoded once into host memory; a batch is a gather by permuted index
streaming  images stay in the shards. Raw ones are read by permuted index, so that the batches are those
           of the memory tier; encoded ones are permuted within windows (`windowed_streaming`)
service    the batches of the memory tier, read by the workers of tf.data service (`service_input`)
"""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from engine.base import counter_random
from engine.base.config import UserError
from engine.base.machine import available_memory_bytes
from engine.pipeline import augmentation, batch_order, service_input, windowed_streaming
from engine.pipeline.dataset_options import unconverted, untuned
from engine.pipeline.share import WHOLE, Share
from engine.shards import tfrecords
from engine.shards.dataset_checks import split_info, steps_per_epoch
from engine.shards.record_index import RecordIndex, aligned_empty, find_records
from engine.shards.record_scan import REPAIR, find_damage, scan_split
from engine.shards.tfrecords import DamagedShardError, Manifest

PREFETCHED_BATCHES = 4  # bounded: AUTOTUNE may take memory without limit
_LOAD_BATCH = 256

_Images = Callable[
    [tf.Tensor], tf.Tensor
]  # int64[B] -> the images at those places, uint8[B, H, W, C]
_Order = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # see `batch_order.make_order`
_Open = Callable[[int, Share], tf.data.Dataset]  # from a step on: `image` and `label`


@dataclasses.dataclass(frozen=True)
class Tier:
    """Where a training split is read from, and why: a line for the user.

    Attributes:
        service: `host:port` of a dispatcher of tf.data service; of the tier `service` alone.
    """

    name: str
    reason: str
    service: str | None = None


def make_train_dataset(
    shards: Path | str,
    *,
    split: str = "train",
    global_batch_size: int = 64,
    seed: int = 0,
    strengths: augmentation.Strengths | None = None,
    cache: str = "auto",
    cache_memory_fraction: float = 0.5,
    shuffle_window: int = 4096,
    sampling: str = "natural",
    start_step: int = 0,
) -> tf.data.Dataset:
    """An endless dataset of shuffled training batches.

    Args:
        strengths: what augmentation to draw; None or all zero draws nothing.
        cache: `memory`, `streaming`, or `auto` (see `choose_tier`).
        shuffle_window: examples permuted together when streaming.
        sampling: `natural`, or `balanced` (every class equally often; not from PNG or JPEG
            shards that are streamed).
        start_step: the number of batches to pass over, as after a resume.

    Returns:
        Without augmentation `(uint8[B, H, W, C], int64[B])`, ready for `Model.fit` with
        `steps_per_epoch=steps_per_epoch(...)`; with it dictionaries of `image`, `label`, `key` (of
        each place in the epoch, uint64[B], for further random numbers) and the
        draws that `augmentation.apply` takes (see `augmentation.draw`).

    Raises:
        UserError: there is no such split, or it holds less than one batch.
    """
    manifest = tfrecords.read_manifest(shards)
    dataset = TrainingInput(
        Path(shards),
        manifest,
        split=split,
        global_batch_size=global_batch_size,
        seed=seed,
        strengths=strengths or augmentation.Strengths(),
        tier=choose_tier(manifest, split, cache=cache, memory_fraction=cache_memory_fraction),
        shuffle_window=shuffle_window,
        sampling=sampling,
    ).dataset(start_step)
    if strengths:
        return dataset
    return dataset.map(unconverted(lambda batch: (batch["image"], batch["label"])))


class TrainingInput:
    """A split as training reads it, opened at any step and as often as wanted.

    What is needed to read it (in the memory tier the decoded images) is made once, at the first opening,
    and shared by all datasets.

    Args:
        tier: see `choose_tier`.
        shuffle_window, sampling, strengths: see `make_train_dataset`.

    Attributes:
        steps_per_epoch: whole batches in the split.

    Raises:
        UserError: there is no such split, it holds less than one batch, or it is streamed in an order
            that cannot be balanced.
    """

    def __init__(
        self,
        shards: Path,
        manifest: Manifest,
        *,
        split: str,
        global_batch_size: int,
        seed: int,
        strengths: augmentation.Strengths,
        tier: Tier,
        shuffle_window: int,
        sampling: str,
    ) -> None:
        self.steps_per_epoch = steps_per_epoch(manifest, split, global_batch_size)
        if sampling == "balanced" and not _by_index(manifest, tier):
            raise UserError(
                "--sampling balanced needs the memory tier or raw images, but this split of "
                f"{manifest.encoding} images is streamed ({tier.reason}); use --class-weights "
                "balanced, or --cache memory"
            )
        self._shards, self._manifest, self._split = shards, manifest, split
        self._batch_size, self._seed, self._strengths = global_batch_size, seed, strengths
        self._tier, self._window, self._sampling = tier, shuffle_window, sampling

    def dataset(self, start_step: int = 0, share: Share = WHOLE) -> tf.data.Dataset:
        """The endless dataset of dictionaries behind `make_train_dataset`.

        Args:
            share: of each global batch; what comes is then the batch of each replica of the share in
                turn.
        """
        steps, batch_size, seed = self.steps_per_epoch, self._batch_size, self._seed
        image_size, strengths = self._manifest.image_size, self._strengths

        @unconverted
        def with_draws(number: tf.Tensor, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            step, places = batch_order.part_of_step(number, batch_size, share)
            positions, epoch = step % steps * batch_size + places, step // steps
            draws = augmentation.draw(
                positions, seed=seed, epoch=epoch, image_size=image_size, strengths=strengths
            )
            keys = counter_random.row_keys(positions, seed=seed, epoch=epoch)
            return {**batch, **draws, "key": keys}

        return (
            self._open(start_step, share)
            .enumerate(start=start_step * share.count)
            .map(with_draws, num_parallel_calls=1, deterministic=True)
            .prefetch(PREFETCHED_BATCHES)
            .with_options(untuned(rewrite=self._tier.name != "memory"))
        )

    def paths(self, step: int) -> list[str]:
        """The source files of the images in the batch of `step`, counted from 0."""
        if _by_index(self._manifest, self._tier):
            stored = load_split(
                self._shards, self._manifest, self._split, features=("label", "path")
            )
            places = tf.range(self._batch_size, dtype=tf.int64)
            order = self._order(stored["label"])(tf.constant(step, tf.int64), places)
            paths = stored["path"][order.numpy()]
        else:
            batches = self._open_windows(step, features=("path",)).with_options(untuned())
            paths = next(iter(batches))["path"].numpy()
        return [path.decode("utf-8", "backslashreplace") for path in paths]

    @functools.cached_property
    def _open(self) -> _Open:
        shards, manifest, split = self._shards, self._manifest, self._split
        if self._tier.service is not None:
            places = find_records(shards, manifest, split)
            labels: np.ndarray = np.zeros(len(places.starts), np.int64)
            if self._sampling == "balanced":
                labels = load_split(shards, manifest, split, features=("label",))["label"]
            return functools.partial(
                _service_batches,
                service_input.make_record_reader(places, manifest),
                self._order(labels),
                address=self._tier.service,
                image_shape=manifest.image_shape,
                global_batch_size=self._batch_size,
                damage_named=functools.partial(damage_named, shards, manifest, split),
            )
        if not _by_index(manifest, self._tier):
            return self._open_windows
        images, labels = (
            _images_in_memory(load_split(shards, manifest, split))
            if self._tier.name == "memory"
            else _images_in_shards(RecordIndex(shards, manifest, split))
        )
        return functools.partial(
            _permuted_batches,
            images,
            labels,
            self._order(labels),
            image_shape=manifest.image_shape,
            global_batch_size=self._batch_size,
        )

    def _order(self, labels: np.ndarray) -> _Order:
        return batch_order.make_order(
            labels,
            global_batch_size=self._batch_size,
            steps=self.steps_per_epoch,
            seed=self._seed,
            sampling=self._sampling,
            num_classes=len(self._manifest.class_names),
        )

    def _open_windows(
        self,
        start_step: int,
        share: Share = WHOLE,
        *,
        features: Sequence[str] = ("image", "label"),
    ) -> tf.data.Dataset:
        return windowed_streaming.make_batches(
            shard_paths(self._shards, self._manifest, self._split),
            self._manifest,
            num_examples=split_info(self._manifest, self._split).num_examples,
            global_batch_size=self._batch_size,
            seed=self._seed,
            shuffle_window=self._window,
            start_step=start_step,
            features=features,
            share=share,
        )


def choose_tier(
    manifest: Manifest,
    split: str,
    *,
    cache: str,
    memory_fraction: float,
    data_service: str | None = None,
    held: Sequence[str] = (),
) -> Tier:
    """Which tier serves a split: `data_service`, `cache` itself, or under `auto` the one that fits.

    `auto` takes memory where the decoded split is no larger than `memory_fraction` of the memory
    that is free to this process (the machine's, or what its control groups leave if that is less).

    Args:
        held: splits that will lie decoded in memory besides, in any tier; they count.
    """
    if data_service is not None:
        address = data_service.removeprefix("grpc://")
        return Tier("service", f"tf.data service at {address}, put back in order here", address)
    if cache != "auto":
        return Tier(cache, f"as --cache {cache} asks")
    needed = sum(decoded_bytes(manifest, name) for name in (split, *held))
    free = available_memory_bytes()
    budget = memory_fraction * free
    sizes = (
        f"{needed / 2**30:.2f} GiB decoded{_with(held)}, {memory_fraction:.0%} of "
        f"{free / 2**30:.1f} GiB free is {budget / 2**30:.1f} GiB"
    )
    if needed <= budget:
        return Tier("memory", f"it fits: {sizes}")
    return Tier("streaming", f"it does not fit in memory: {sizes}")


def _with(held: Sequence[str]) -> str:
    return f" with {' and '.join(held)}" if held else ""


def order_of(manifest: Manifest, tier: Tier) -> str:
    """What a run's order depends on: `whole split`, or `windows` of it as PNG and JPEG are streamed."""
    return "whole split" if _by_index(manifest, tier) else "windows"


def decoded_bytes(manifest: Manifest, split: str) -> int:
    """The size of a split's pixels in memory."""
    height, width = manifest.image_size
    return split_info(manifest, split).num_examples * height * width * manifest.channels


def damage_behind(
    error: tf.errors.OpError, shards: Path, manifest: Manifest, split: str
) -> str | None:
    """What was wrong with a shard of `split`, if that is why a dataset failed: a line for the user."""
    _, found, message = str(error).partition("DamagedShardError: ")
    if found:
        return message.splitlines()[0]
    if isinstance(error, tf.errors.DataLossError):
        # TensorFlow names no file.
        return find_damage(shards, manifest, split) or f"{shards}, split {split!r}: {error.message}"
    return None


@contextlib.contextmanager
def damage_named(shards: Path, manifest: Manifest, split: str) -> Iterator[None]:
    """Raises `DamagedShardError`, which names the shard, where a record read in the block is damaged."""
    try:
        yield
    except tf.errors.DataLossError as error:
        raise DamagedShardError(damage_behind(error, shards, manifest, split)) from error


def load_split(
    shards: Path,
    manifest: Manifest,
    split: str,
    features: Sequence[str] = ("image", "label"),
) -> dict[str, np.ndarray]:
    """Decodes a whole split into memory, in the order of its records.

    Returns:
        An array a feature: `image` uint8[N, H, W, C], `label` int64[N], `path` and `patient`
        object[N] of bytes.

    Raises:
        UserError: the shards hold other records than the manifest says, or a record is damaged.
    """
    num_examples = split_info(manifest, split).num_examples
    arrays: dict[str, np.ndarray] = {}
    done = 0
    with damage_named(shards, manifest, split):
        for batch in _parsed_in_order(shards, manifest, split, _LOAD_BATCH, features):
            for name, value in batch.items():
                value = value.numpy()
                if name not in arrays:
                    arrays[name] = _empty_like(value, num_examples)
                arrays[name][done : done + len(value)] = value[: num_examples - done]
            done += len(value)
    if done != num_examples:
        raise UserError(
            f"{shards}: split {split!r} holds {done} records, the manifest says {num_examples}; "
            f"{REPAIR}"
        )
    return arrays


def _empty_like(batch: np.ndarray, num_examples: int) -> np.ndarray:
    """An array for `num_examples` of what `batch` holds some of."""
    if batch.dtype != np.uint8:
        return np.empty((num_examples, *batch.shape[1:]), batch.dtype)
    image_bytes = int(np.prod(batch.shape[1:]))
    return aligned_empty(num_examples, image_bytes).reshape(-1, *batch.shape[1:])


def first_images(shards: Path, manifest: Manifest, split: str, count: int) -> np.ndarray:
    """The first images of a split, uint8[<=count, H, W, C]."""
    with damage_named(shards, manifest, split):
        batches = _parsed_in_order(shards, manifest, split, count, ("image",))
        return next(iter(batches))["image"].numpy()


def make_evaluation_dataset(
    shards: Path | str,
    *,
    split: str,
    batch_size: int = 256,
    features: Sequence[str] | None = None,
) -> tf.data.Dataset:
    """Every example of a split once, in the order of the records, the remainder included.

    Args:
        features: which of `image`, `label`, `path`, `patient` to read; None for pairs of images and
            labels.

    Returns:
        A dataset of known cardinality: `(uint8[<=B, H, W, C], int64[<=B])`, ready for
        `Model.evaluate` and as `validation_data` of `Model.fit`; with `features` dictionaries of
        them, `path` and `patient` string[<=B].
    """
    manifest = tfrecords.read_manifest(shards)
    num_examples = split_info(manifest, split).num_examples
    dataset = _parsed_in_order(
        Path(shards), manifest, split, batch_size, features or ("image", "label")
    )
    if features is None:
        dataset = dataset.map(unconverted(lambda batch: (batch["image"], batch["label"])))
    cardinality = tf.data.experimental.assert_cardinality(math.ceil(num_examples / batch_size))
    return dataset.apply(cardinality).prefetch(PREFETCHED_BATCHES)


def shard_paths(shards: Path, manifest: Manifest, split: str) -> list[str]:
    """The paths of a split's shards that hold any record, in order, once compared with the manifest.

    Raises:
        UserError: there is no such split, or it is empty.
        DamagedShardError: a shard holds other records than the manifest says.
    """
    split_info(manifest, split)
    return [str(one.path) for one in scan_split(shards, manifest, split)]


def _parsed_in_order(
    shards: Path, manifest: Manifest, split: str, batch_size: int, features: Sequence[str]
) -> tf.data.Dataset:
    records = tf.data.TFRecordDataset(shard_paths(shards, manifest, split), buffer_size=8 << 20)
    batches = records.batch(batch_size).map(
        unconverted(
            lambda serialized: tfrecords.parse_batch(serialized, manifest, features=features)
        ),
        num_parallel_calls=2,
        deterministic=True,
    )
    return batches.with_options(untuned())


def _by_index(manifest: Manifest, tier: Tier) -> bool:
    """Whether any example can be read at any time, rather than records one after the other."""
    return tier.name in ("memory", "service") or manifest.encoding == "raw"


def _images_in_memory(arrays: dict[str, np.ndarray]) -> tuple[_Images, np.ndarray]:
    # `tf.constant` would copy, and keep both: three times the split's size while it does.
    images = tf.experimental.dlpack.from_dlpack(arrays["image"].__dlpack__())
    return lambda order: tf.gather(images, order), arrays["label"]


def _images_in_shards(index: RecordIndex) -> tuple[_Images, np.ndarray]:
    # Reading is a pure function of the order, so `stateful=False` is the truth.
    return (
        lambda order: tf.numpy_function(index.read, [order], tf.uint8, stateful=False),
        index.labels,
    )


def _permuted_batches(
    images: _Images,
    labels: np.ndarray,
    order_at: _Order,
    start_step: int,
    share: Share,
    *,
    image_shape: tuple[int, int, int],
    global_batch_size: int,
) -> tf.data.Dataset:
    all_labels = tf.constant(labels)

    @unconverted
    def batch_at(number: tf.Tensor) -> dict[str, tf.Tensor]:
        order = order_at(*batch_order.part_of_step(number, global_batch_size, share))
        batch = {"image": images(order), "label": tf.gather(all_labels, order)}
        batch["image"].set_shape([global_batch_size // share.of, *image_shape])
        return batch

    return tf.data.Dataset.range(start_step * share.count, np.iinfo(np.int64).max).map(
        batch_at, num_parallel_calls=2, deterministic=True
    )


def _service_batches(
    records_at: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    order_at: _Order,
    start_step: int,
    share: Share,
    *,
    address: str,
    image_shape: tuple[int, int, int],
    global_batch_size: int,
    damage_named: Callable[[], contextlib.AbstractContextManager[None]],
) -> tf.data.Dataset:
    return service_input.make_batches(
        lambda number: records_at(
            order_at(*batch_order.part_of_step(number, global_batch_size, share))
        ),
        address=address,
        start=start_step * share.count,
        batch_size=global_batch_size // share.of,
        image_shape=image_shape,
        damage_named=damage_named,
    )
