"""Shards to batches: the memory tier, the streaming tier, and evaluation.

Both training tiers yield, for ever, batches whose content is a pure function of (seed, step): the
order of an epoch is a stateless permutation, and no random state lives in a buffer. A dataset can be
opened at any step and goes on exactly there. Each epoch drops the examples that fill no whole batch,
other ones every time.

memory     the split is decoded once into host memory; a batch is a gather by permuted index
streaming  images stay in the shards. Raw ones are read by permuted index, so that the batches are those
           of the memory tier; of encoded ones, shards come in a permuted order, interleaved, and
           records permuted within windows of whole batches. Opening this inside an epoch reads over,
           but does not parse, what went before
service    the batches of the memory tier, read by the workers of tf.data service (`service_input`)
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from engine import augmentation, batch_order, counter_random, service_input, tfrecords
from engine.config import UserError
from engine.dataset_options import untuned
from engine.machine import available_memory_bytes
from engine.record_index import RecordIndex, aligned_empty, find_records
from engine.runtime import WHOLE, Share
from engine.tfrecords import Manifest

PREFETCHED_BATCHES = 4  # bounded: AUTOTUNE may take memory without limit
READ_CYCLE = 16  # shards read in turn by the streaming tier
READ_BLOCK = 16  # consecutive records taken from each
FEW_OF_A_CLASS = 50  # validation images, below which a share is known to 10 points at best
_LOAD_BATCH = 256

_Images = Callable[
    [tf.Tensor], tf.Tensor
]  # int64[B] -> the images at those places, uint8[B, H, W, C]


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
        sampling: `natural`, or `balanced` (every class equally often; memory tier only).
        start_step: the number of batches to pass over, as after a resume.

    Returns:
        Without augmentation `(uint8[B, H, W, C], int64[B])`, ready for `Model.fit` with
        `steps_per_epoch=steps_per_epoch(...)`; with it dictionaries of `image`, `label`, `key` (of
        each place in the epoch, uint32[B], for further random numbers) and the
        draws that `augmentation.apply` takes (see `augmentation.draw`).

    Raises:
        UserError: there is no such split, or it holds less than one batch.
    """
    manifest = tfrecords.read_manifest(shards)
    dataset = make_draws_dataset(
        Path(shards),
        manifest,
        split=split,
        global_batch_size=global_batch_size,
        seed=seed,
        strengths=strengths or augmentation.Strengths(),
        tier=choose_tier(manifest, split, cache=cache, memory_fraction=cache_memory_fraction),
        shuffle_window=shuffle_window,
        sampling=sampling,
        start_step=start_step,
    )
    if strengths:
        return dataset
    return dataset.map(lambda batch: (batch["image"], batch["label"]))


def make_draws_dataset(
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
    start_step: int,
    share: Share = WHOLE,
) -> tf.data.Dataset:
    """The endless dataset of dictionaries behind `make_train_dataset`.

    Args:
        share: of each global batch; what comes is then the batch of each replica of the share in turn.
    """
    steps = steps_per_epoch(manifest, split, global_batch_size)
    if tier.service is not None:
        batches = _service_batches(
            shards,
            manifest,
            split=split,
            address=tier.service,
            global_batch_size=global_batch_size,
            steps=steps,
            seed=seed,
            sampling=sampling,
            start_step=start_step,
            share=share,
        )
    elif _by_index(manifest, tier):
        images, labels = (
            _images_in_memory(load_split(shards, manifest, split))
            if tier.name == "memory"
            else _images_in_shards(RecordIndex(shards, manifest, split))
        )
        batches = _permuted_batches(
            images,
            labels,
            image_shape=manifest.image_shape,
            global_batch_size=global_batch_size,
            steps=steps,
            seed=seed,
            sampling=sampling,
            num_classes=len(manifest.class_names),
            start_step=start_step,
            share=share,
        )
    elif sampling == "balanced":
        raise UserError(
            f"--sampling balanced needs the memory tier or raw images, but this split of "
            f"{manifest.encoding} images is streamed ({tier.reason}); use --class-weights balanced, "
            "or --cache memory"
        )
    else:
        batches = _streamed_batches(
            shards,
            manifest,
            split=split,
            global_batch_size=global_batch_size,
            steps=steps,
            seed=seed,
            shuffle_window=shuffle_window,
            start_step=start_step,
            share=share,
        )

    def with_draws(number: tf.Tensor, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        step, places = batch_order.part_of_step(number, global_batch_size, share)
        positions = step % steps * global_batch_size + places
        draws = augmentation.draw(
            positions,
            seed=seed,
            epoch=step // steps,
            image_size=manifest.image_size,
            strengths=strengths,
        )
        keys = counter_random.row_keys(positions, seed=seed, epoch=step // steps)
        return {**batch, **draws, "key": keys}

    return (
        batches.enumerate(start=start_step * share.count)
        .map(with_draws, num_parallel_calls=1, deterministic=True)
        .prefetch(PREFETCHED_BATCHES)
        .with_options(untuned(rewrite=tier.name != "memory"))
    )


def steps_per_epoch(manifest: Manifest, split: str, global_batch_size: int) -> int:
    """How many whole batches a split holds.

    Raises:
        UserError: there is no such split, or it holds less than one batch.
    """
    num_examples = split_info(manifest, split).num_examples
    if num_examples < global_batch_size:
        raise UserError(
            f"--global-batch-size {global_batch_size} is more than the {num_examples} images of "
            f"split {split!r}; give at most {num_examples}"
        )
    return num_examples // global_batch_size


def split_info(manifest: Manifest, split: str) -> tfrecords.SplitInfo:
    """What the manifest says of a split.

    Raises:
        UserError: there is no such split, or it is empty.
    """
    info = manifest.splits.get(split)
    if info is None or info.num_examples == 0:
        present = ", ".join(name for name, one in manifest.splits.items() if one.num_examples)
        raise UserError(
            f"the shards hold no split {split!r}, only {present}; build them again with "
            f"--validation-fraction or --test-fraction to draw one"
        )
    return info


def check_validation(manifest: Manifest) -> None:
    """Raises `UserError` unless there is a validation split with something to tell apart."""
    validation = split_info(manifest, "validation")
    if sum(1 for count in validation.class_counts.values() if count) < 2:
        raise UserError(
            f"the validation split has one class only, {dict(validation.class_counts)}; expected two "
            "or more, to measure and to choose a threshold on; build with --validation-fraction 0.1"
        )


def validation_warning(manifest: Manifest) -> str | None:
    """A line for the user where validation is too small to choose by; None where it is not.

    It quotes Wilson's 95 % interval (1927) for 90 % right of the rarest class's images.
    """
    present = {
        name: count
        for name, count in split_info(manifest, "validation").class_counts.items()
        if count
    }
    rarest = min(present, key=present.__getitem__)
    count = present[rarest]
    if count >= FEW_OF_A_CLASS:
        return None
    z, share = 1.96, 0.9
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return (
        f"warning: validation has only {count} images of {rarest}: of a model right on 90% of them, all "
        f"that is known is {centre - half:.0%} to {centre + half:.0%} (95%), and epochs, thresholds and "
        "settings are chosen by it; build with a larger --validation-fraction"
    )


def choose_tier(
    manifest: Manifest,
    split: str,
    *,
    cache: str,
    memory_fraction: float,
    data_service: str | None = None,
) -> Tier:
    """Which tier serves a split: `data_service`, `cache` itself, or under `auto` the one that fits.

    `auto` takes memory where the decoded split is no larger than `memory_fraction` of the memory
    that is free to this process (the machine's, or what its control groups leave if that is less).
    """
    if data_service is not None:
        address = data_service.removeprefix("grpc://")
        return Tier("service", f"tf.data service at {address}, put back in order here", address)
    if cache != "auto":
        return Tier(cache, f"as --cache {cache} asks")
    needed = decoded_bytes(manifest, split)
    free = available_memory_bytes()
    budget = memory_fraction * free
    sizes = (
        f"{needed / 2**30:.2f} GiB decoded, {memory_fraction:.0%} of {free / 2**30:.1f} GiB free "
        f"is {budget / 2**30:.1f} GiB"
    )
    if needed <= budget:
        return Tier("memory", f"it fits: {sizes}")
    return Tier("streaming", f"it does not fit in memory: {sizes}")


def decoded_bytes(manifest: Manifest, split: str) -> int:
    """The size of a split's pixels in memory."""
    height, width = manifest.image_size
    return split_info(manifest, split).num_examples * height * width * manifest.channels


def batch_paths(
    shards: Path,
    manifest: Manifest,
    *,
    split: str,
    step: int,
    global_batch_size: int,
    seed: int,
    tier: Tier,
    shuffle_window: int,
    sampling: str,
) -> list[str]:
    """The source files of the images in the batch of `step`, counted from 0, as training sees it."""
    steps = steps_per_epoch(manifest, split, global_batch_size)
    if _by_index(manifest, tier):
        stored = load_split(shards, manifest, split, features=("label", "path"))
        order_at = batch_order.make_order(
            stored["label"],
            global_batch_size=global_batch_size,
            steps=steps,
            seed=seed,
            sampling=sampling,
            num_classes=len(manifest.class_names),
        )
        whole = batch_order.part_of_step(tf.constant(step, tf.int64), global_batch_size, WHOLE)
        paths = stored["path"][order_at(*whole).numpy()]
    else:
        batches = _streamed_batches(
            shards,
            manifest,
            split=split,
            global_batch_size=global_batch_size,
            steps=steps,
            seed=seed,
            shuffle_window=shuffle_window,
            start_step=step,
            features=("path",),
        )
        paths = next(iter(batches.with_options(untuned())))["path"].numpy()
    return [path.decode("utf-8", "backslashreplace") for path in paths]


def damage_behind(error: tf.errors.OpError) -> str | None:
    """What was wrong with a shard, if that is why a dataset failed: a line for the user."""
    _, found, message = str(error).partition("DamagedShardError: ")
    if found:
        return message.splitlines()[0]
    if isinstance(error, tf.errors.DataLossError):
        return f"{error.message}; mend the shards with engine.build_tfrecords --repair"
    return None


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
        UserError: the shards hold fewer or more records than the manifest says.
    """
    num_examples = split_info(manifest, split).num_examples
    arrays: dict[str, np.ndarray] = {}
    done = 0
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
            "check it with engine.build_tfrecords --verify"
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
    batches = _parsed_in_order(shards, manifest, split, count, ("image",))
    return next(iter(batches))["image"].numpy()


def make_evaluation_dataset(
    shards: Path | str,
    *,
    split: str,
    batch_size: int = 256,
    features: Sequence[str] = ("image", "label"),
) -> tf.data.Dataset:
    """Every example of a split once, in the order of the records, the remainder included.

    Args:
        features: which of `image`, `label`, `path`, `patient` to read.

    Returns:
        A dataset of dictionaries, `image` uint8[<=B, H, W, C], `label` int64[<=B], `path` and
        `patient` string[<=B]; its cardinality is known.
    """
    manifest = tfrecords.read_manifest(shards)
    num_examples = split_info(manifest, split).num_examples
    dataset = _parsed_in_order(Path(shards), manifest, split, batch_size, features)
    cardinality = tf.data.experimental.assert_cardinality(math.ceil(num_examples / batch_size))
    return dataset.apply(cardinality).prefetch(PREFETCHED_BATCHES)


def shard_paths(shards: Path, manifest: Manifest, split: str) -> list[str]:
    """The paths of a split's shards that hold any record, in order."""
    info = split_info(manifest, split)
    return [str(shards / shard.file) for shard in info.shards if shard.num_examples]


def _parsed_in_order(
    shards: Path, manifest: Manifest, split: str, batch_size: int, features: Sequence[str]
) -> tf.data.Dataset:
    records = tf.data.TFRecordDataset(shard_paths(shards, manifest, split), buffer_size=8 << 20)
    batches = records.batch(batch_size).map(
        lambda serialized: tfrecords.parse_batch(serialized, manifest, features=features),
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
    *,
    image_shape: tuple[int, int, int],
    global_batch_size: int,
    steps: int,
    seed: int,
    sampling: str,
    num_classes: int,
    start_step: int,
    share: Share,
) -> tf.data.Dataset:
    order_at = batch_order.make_order(
        labels,
        global_batch_size=global_batch_size,
        steps=steps,
        seed=seed,
        sampling=sampling,
        num_classes=num_classes,
    )
    all_labels = tf.constant(labels)

    def batch_at(number: tf.Tensor) -> dict[str, tf.Tensor]:
        order = order_at(*batch_order.part_of_step(number, global_batch_size, share))
        batch = {"image": images(order), "label": tf.gather(all_labels, order)}
        batch["image"].set_shape([global_batch_size // share.of, *image_shape])
        return batch

    return tf.data.Dataset.range(start_step * share.count, np.iinfo(np.int64).max).map(
        batch_at, num_parallel_calls=2, deterministic=True
    )


def _service_batches(
    shards: Path,
    manifest: Manifest,
    *,
    split: str,
    address: str,
    global_batch_size: int,
    steps: int,
    seed: int,
    sampling: str,
    start_step: int,
    share: Share,
) -> tf.data.Dataset:
    places = find_records(shards, manifest, split)
    labels: np.ndarray = np.zeros(len(places.starts), np.int64)
    if sampling == "balanced":
        labels = load_split(shards, manifest, split, features=("label",))["label"]
    order_at = batch_order.make_order(
        labels,
        global_batch_size=global_batch_size,
        steps=steps,
        seed=seed,
        sampling=sampling,
        num_classes=len(manifest.class_names),
    )
    records_at = service_input.make_record_reader(places, manifest)
    return service_input.make_batches(
        lambda number: records_at(
            order_at(*batch_order.part_of_step(number, global_batch_size, share))
        ),
        address=address,
        start=start_step * share.count,
        batch_size=global_batch_size // share.of,
        image_shape=manifest.image_shape,
    )


def _streamed_batches(
    shards: Path,
    manifest: Manifest,
    *,
    split: str,
    global_batch_size: int,
    steps: int,
    seed: int,
    shuffle_window: int,
    start_step: int,
    features: Sequence[str] = ("image", "label"),
    share: Share = WHOLE,
) -> tf.data.Dataset:
    paths = tf.constant(shard_paths(shards, manifest, split))
    num_shards = int(paths.shape[0])
    steps_a_window = min(steps, max(1, shuffle_window // global_batch_size))
    # The last window also holds the examples that fill no batch, so that chance leaves them out.
    one_window = steps_a_window == steps
    window_size = (
        split_info(manifest, split).num_examples
        if one_window
        else (steps_a_window * global_batch_size)
    )

    def records_of(epoch: tf.Tensor) -> tf.data.Dataset:
        order = batch_order.shuffled(tf.range(num_shards, dtype=tf.int64), seed, epoch, num_shards)
        return tf.data.Dataset.from_tensor_slices(tf.gather(paths, order)).interleave(
            lambda path: tf.data.TFRecordDataset(path, buffer_size=8 << 20),
            cycle_length=min(READ_CYCLE, num_shards),
            block_length=READ_BLOCK,
            num_parallel_calls=min(2, num_shards),
            deterministic=True,
        )

    def batches_of(
        window: tf.data.Dataset, epoch: tf.Tensor, number: tf.Tensor, skipped: tf.Tensor
    ):
        # A buffer as large as the window makes any order as likely as any other, and hands records on
        # without copying them. Its order is to depend on the seed given here alone, not on the
        # process's own, which TensorFlow would mix in from this function's graph.
        tf.random.set_seed(1)
        window_seed = tf.random.stateless_uniform(
            [],
            seed=tf.stack([tf.cast(seed, tf.int64), epoch * (steps + 1) + number + 1]),
            minval=1,
            maxval=np.iinfo(np.int32).max,
            dtype=tf.int64,
        )
        whole = (
            window.shuffle(window_size, seed=window_seed, reshuffle_each_iteration=False)
            .skip(skipped * global_batch_size)
            .batch(global_batch_size, drop_remainder=True)
        )
        own = whole if share == WHOLE else whole.flat_map(of_share)
        return own.map(
            lambda serialized: tfrecords.parse_batch(serialized, manifest, features=features),
            num_parallel_calls=2,
            deterministic=True,
        )

    def of_share(serialized: tf.Tensor) -> tf.data.Dataset:
        size = global_batch_size // share.of
        own = serialized[share.first * size : (share.first + share.count) * size]
        return tf.data.Dataset.from_tensor_slices(tf.reshape(own, [share.count, size]))

    def epoch_from(epoch: tf.Tensor) -> tf.data.Dataset:
        first = tf.where(epoch == start_step // steps, start_step % steps, 0)
        first = tf.cast(first, tf.int64)
        first_window = first // steps_a_window
        windows = (
            records_of(epoch)
            .skip(first_window * window_size)
            .window(window_size)
            .enumerate(start=first_window)
            .prefetch(1)
        )
        return windows.flat_map(
            lambda number, window: batches_of(
                window,
                epoch,
                number,
                tf.where(number == first_window, first % steps_a_window, 0),
            )
        )

    epochs = tf.data.Dataset.range(start_step // steps, np.iinfo(np.int64).max)
    return epochs.flat_map(epoch_from)
