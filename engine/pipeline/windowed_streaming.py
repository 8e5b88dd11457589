"""Encoded images streamed from shards: read in the order of the files, permuted within windows.

Each epoch reads the shards in a different order, several interleaved, and drops as many records as
fill no whole batch, drawn from the whole epoch. The rest is divided into windows of whole batches,
and each window is permuted. All of this is a pure function of (seed, epoch), so the batches can be
opened at any step; the earlier records of that epoch are then read, but not parsed.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from engine.base import counter_random
from engine.pipeline import batch_order
from engine.pipeline.dataset_options import unconverted
from engine.pipeline.share import WHOLE, Share
from engine.shards import tfrecords
from engine.shards.tfrecords import Manifest

READ_CYCLE = 16  # shards that are interleaved
READ_BLOCK = 16  # consecutive records taken from each


def make_batches(
    paths: Sequence[str],
    manifest: Manifest,
    *,
    num_examples: int,
    global_batch_size: int,
    seed: int,
    shuffle_window: int,
    start_step: int,
    features: Sequence[str] = ("image", "label"),
    share: Share = WHOLE,
) -> tf.data.Dataset:
    """An endless dataset of parsed batches (see `tfrecords.parse_batch`).

    Args:
        paths: a split's shards.
        num_examples: in all of them; at least one batch.
        shuffle_window: examples permuted together, rounded down to whole batches.
        share: of each global batch; the dataset then yields the batch of each of its replicas in
            turn.
    """
    steps = num_examples // global_batch_size
    steps_a_window = min(steps, max(1, shuffle_window // global_batch_size))
    window_size = steps_a_window * global_batch_size

    def batches_of(
        window: tf.data.Dataset, epoch: tf.Tensor, number: tf.Tensor, skipped: tf.Tensor
    ) -> tf.data.Dataset:
        whole = (
            _shuffled(window, window_size, seed=seed, epoch=epoch, number=number)
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

    @unconverted
    def epoch_from(epoch: tf.Tensor) -> tf.data.Dataset:
        first = tf.where(epoch == start_step // steps, start_step % steps, 0)
        first = tf.cast(first, tf.int64)
        first_window = first // steps_a_window
        records = _without_some(
            _records(paths, seed, epoch),
            num_examples - steps * global_batch_size,
            num_examples=num_examples,
            seed=seed,
            epoch=epoch,
        )
        windows = (
            records.skip(first_window * window_size)
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


def _records(paths: Sequence[str], seed: int, epoch: tf.Tensor) -> tf.data.Dataset:
    """The serialized records of an epoch; shards are permuted, and several are interleaved."""
    order = batch_order.shuffled(
        tf.range(len(paths), dtype=tf.int64), seed, epoch, len(paths), purpose="shards"
    )
    return tf.data.Dataset.from_tensor_slices(tf.gather(tf.constant(paths), order)).interleave(
        lambda path: tf.data.TFRecordDataset(path, buffer_size=8 << 20),
        cycle_length=min(READ_CYCLE, len(paths)),
        block_length=READ_BLOCK,
        num_parallel_calls=min(2, len(paths)),
        deterministic=True,
    )


def _without_some(
    records: tf.data.Dataset, count: int, *, num_examples: int, seed: int, epoch: tf.Tensor
) -> tf.data.Dataset:
    """All but `count` records; each record is equally likely to be dropped.

    If the last window were cut off instead, only the records at the ends of shards would ever be
    dropped.
    """
    if not count:
        return records
    left_out = batch_order.shuffled(
        tf.range(count, dtype=tf.int64), seed, epoch, num_examples, purpose="left out"
    )
    return (
        records.enumerate()
        .filter(lambda number, _: tf.reduce_all(number != left_out))
        .map(lambda _, record: record)
    )


def _shuffled(
    window: tf.data.Dataset, size: int, *, seed: int, epoch: tf.Tensor, number: tf.Tensor
) -> tf.data.Dataset:
    """A window in random order, every order equally likely; records are not copied."""
    # The order must depend on the seed given here alone. TensorFlow would also mix in the process's
    # own, from the graph of the function that this is called in.
    tf.random.set_seed(1)
    key = counter_random.row_keys(number, seed=seed, epoch=epoch, purpose="windows")
    # TensorFlow uses 31 bits of it.
    window_seed = tf.cast(tf.bitwise.right_shift(key, tf.constant(1, tf.uint64)), tf.int64)
    return window.shuffle(size, seed=window_seed, reshuffle_each_iteration=False)
