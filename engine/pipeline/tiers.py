"""Where a training split is read from: one class per tier, behind one protocol.

Every tier yields, without end, batches whose content is a pure function of (seed, step): the order
of an epoch is a stateless permutation, and no random state lives in a buffer. So a tier can be
opened at any step and continues exactly there. Each epoch drops as many examples as fill no whole
batch, all of them equally likely to be dropped.

MemoryTier    the split is decoded once into host memory; a batch is a gather by permuted index
IndexedTier   raw images stay in the shards, read by permuted index: the batches of MemoryTier
WindowedTier  PNG or JPEG images stay in the shards, permuted within windows (`windowed_streaming`)
ServiceTier   the batches of MemoryTier, read by workers of tf.data service (`service_input`)
"""

import abc
import functools
from collections.abc import Callable
from typing import Protocol

import numpy as np
import tensorflow as tf

from engine.base.config import UserError
from engine.base.machine import available_memory_bytes
from engine.pipeline import batch_order, service_input, windowed_streaming
from engine.pipeline.dataset_options import unconverted, untuned
from engine.pipeline.plan import InputPlan
from engine.pipeline.reading import StoredSplit
from engine.pipeline.share import WHOLE, Share
from engine.shards import tfrecords

# (step, places int64[B] in its global batch) -> the numbers of the examples there, int64[B], in the
# order of the records
Examples = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
# int64[B] -> the images of those examples, uint8[B, H, W, C]
_Images = Callable[[tf.Tensor], tf.Tensor]


class Tier(Protocol):
    """A way to read a training split.

    Attributes:
        name: what users call it.
        reason: why it was chosen, for the user.
        order: what the order of the examples is a permutation of, `whole split` or `windows` of it;
            a run can only be resumed in the same order.
        loads_split: whether opening it decodes the whole split into memory.
        may_rewrite: whether TensorFlow may rewrite the graph of a dataset made from it.
    """

    name: str
    reason: str
    order: str
    loads_split: bool
    may_rewrite: bool

    def batches(self, start_step: int, share: Share = WHOLE) -> tf.data.Dataset:
        """An endless dataset of `image` uint8[B, H, W, C] and `label` int64[B], from a step on.

        Args:
            share: of each global batch; what comes is the batch of each replica of the share in
                turn.

        Raises:
            UserError: the shards cannot be read.
        """

    @property
    def examples(self) -> Examples | None:
        """Which examples are where; None where the records are streamed without their numbers."""

    def paths(self, step: int) -> list[str]:
        """The source files of the images in the batch of `step`, counted from 0."""


def choose_tier(split: StoredSplit, plan: InputPlan) -> Tier:
    """The tier that serves a split: by `data_service` or `cache`, or for `auto` the one that fits.

    `auto` takes memory where the decoded split is no larger than the plan's share of the memory
    that is free to this process (the machine's, or what its control groups leave if that is less).

    Raises:
        UserError: the split is streamed in an order that cannot be balanced.
    """
    if plan.data_service is not None:
        return ServiceTier(split, plan)
    if plan.cache != "auto":
        chosen, reason = plan.cache, f"as --cache {plan.cache} asks"
    else:
        chosen, reason = _by_memory(split, plan)
    if chosen == "memory":
        return MemoryTier(split, plan, reason)
    if split.manifest.encoding == "raw":
        return IndexedTier(split, plan, reason)
    return WindowedTier(split, plan, reason)


def _by_memory(split: StoredSplit, plan: InputPlan) -> tuple[str, str]:
    """`memory` or `streaming`, and the figures behind the choice."""
    held = [StoredSplit(split.shards, name, split.manifest) for name in plan.held_splits]
    needed = sum(stored.decoded_bytes for stored in (split, *held))
    free = available_memory_bytes()
    fraction = plan.cache_memory_fraction
    budget = fraction * free
    with_held = f" with {' and '.join(plan.held_splits)}" if held else ""
    sizes = (
        f"{needed / 2**30:.2f} GiB decoded{with_held}, {fraction:.0%} of "
        f"{free / 2**30:.1f} GiB free is {budget / 2**30:.1f} GiB"
    )
    if needed <= budget:
        return "memory", f"it fits: {sizes}"
    return "streaming", f"it does not fit in memory: {sizes}"


class _PermutedTier:
    """The order over the whole split, for the tiers that can read any example at any time."""

    order = "whole split"

    def __init__(self, split: StoredSplit, plan: InputPlan, reason: str) -> None:
        self.reason = reason
        self._split, self._plan = split, plan

    def paths(self, step: int) -> list[str]:
        places = tf.range(self._plan.global_batch_size, dtype=tf.int64)
        return self._split.paths(self._order_at(tf.constant(step, tf.int64), places).numpy())

    @property
    def examples(self) -> Examples:
        return self._order_at

    @functools.cached_property
    def _order_at(self) -> batch_order.Order:
        return batch_order.make_order(
            self._split.labels,
            global_batch_size=self._plan.global_batch_size,
            steps=self._split.num_examples // self._plan.global_batch_size,
            seed=self._plan.seed,
            sampling=self._plan.sampling,
            num_classes=len(self._split.manifest.class_names),
        )


class _GatheredTier(_PermutedTier, abc.ABC):
    """Batches that are put together in this process, image by image."""

    @property
    @abc.abstractmethod
    def _images_at(self) -> _Images:
        """The images at any places of the split; kept, so that all datasets share what it reads."""

    def batches(self, start_step: int, share: Share = WHOLE) -> tf.data.Dataset:
        order_at, batch_size = self._order_at, self._plan.global_batch_size
        image_shape = self._split.manifest.image_shape
        images_at = self._images_at  # made here, outside of the dataset's graph
        labels = tf.constant(self._split.labels)

        @unconverted
        def batch_at(number: tf.Tensor) -> dict[str, tf.Tensor]:
            order = order_at(*batch_order.part_of_step(number, batch_size, share))
            batch = {"image": images_at(order), "label": tf.gather(labels, order)}
            batch["image"].set_shape([batch_size // share.of, *image_shape])
            return batch

        return tf.data.Dataset.range(start_step * share.count, np.iinfo(np.int64).max).map(
            batch_at, num_parallel_calls=2, deterministic=True
        )


class MemoryTier(_GatheredTier):
    """The split decoded in host memory, once for all datasets that are opened."""

    name = "memory"
    loads_split = True
    may_rewrite = False  # which copies the tensors in a graph: the split would lie there twice

    @functools.cached_property
    def _images_at(self) -> _Images:
        # `tf.constant` would copy, and keep both: three times the split's size while it does.
        images = tf.experimental.dlpack.from_dlpack(self._split.images.__dlpack__())
        return lambda order: tf.gather(images, order)


class IndexedTier(_GatheredTier):
    """Raw images, each read from the page cache by its place in its shard."""

    name = "streaming"
    loads_split = False
    may_rewrite = True

    @functools.cached_property
    def _images_at(self) -> _Images:
        index = self._split.index()
        # Reading is a pure function of the order, so `stateful=False` is the truth.
        return lambda order: tf.numpy_function(index.read, [order], tf.uint8, stateful=False)


class ServiceTier(_PermutedTier):
    """Batches read by the workers of tf.data service and put back in order here."""

    name = "service"
    loads_split = False
    may_rewrite = True

    def __init__(self, split: StoredSplit, plan: InputPlan) -> None:
        assert plan.data_service is not None
        self._address = plan.data_service.removeprefix("grpc://")
        super().__init__(split, plan, f"tf.data service at {self._address}, put back in order here")

    def batches(self, start_step: int, share: Share = WHOLE) -> tf.data.Dataset:
        order_at, batch_size = self._order_at, self._plan.global_batch_size
        read = service_input.make_reader(self._split.places, self._split.manifest)
        return service_input.make_batches(
            lambda number: read(order_at(*batch_order.part_of_step(number, batch_size, share))),
            address=self._address,
            start=start_step * share.count,
            batch_size=batch_size // share.of,
            image_shape=self._split.manifest.image_shape,
            damage_named=self._split.damage_named,
        )


class WindowedTier:
    """PNG or JPEG images, read in the order of the files and permuted within windows."""

    name = "streaming"
    order = "windows"
    examples = None
    loads_split = False
    may_rewrite = True

    def __init__(self, split: StoredSplit, plan: InputPlan, reason: str) -> None:
        if plan.sampling == "balanced":
            raise UserError(
                "--sampling balanced needs the memory tier or raw images, but this split of "
                f"{split.manifest.encoding} images is streamed ({reason}); use --class-weights "
                "balanced, or --cache memory"
            )
        self.reason = reason
        self._split, self._plan = split, plan

    def batches(self, start_step: int, share: Share = WHOLE) -> tf.data.Dataset:
        return self._read(start_step, share, ("image", "label"))

    def paths(self, step: int) -> list[str]:
        batch = next(iter(self._read(step, WHOLE, ("path",)).with_options(untuned())))
        return [tfrecords.decoded_text(path) for path in batch["path"].numpy()]

    def _read(self, start_step: int, share: Share, features: tuple[str, ...]) -> tf.data.Dataset:
        return windowed_streaming.make_batches(
            self._split.shard_paths,
            self._split.manifest,
            num_examples=self._split.num_examples,
            global_batch_size=self._plan.global_batch_size,
            seed=self._plan.seed,
            shuffle_window=self._plan.shuffle_window,
            start_step=start_step,
            features=features,
            share=share,
        )
