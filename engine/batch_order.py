"""Which example stands where in which batch: pure functions of (seed, epoch, place), without state.

An epoch's order is a stateless permutation, so a training can be opened at any step, and each of many
replicas can work out its own share of a batch.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from engine.runtime import Share


def part_of_step(
    number: tf.Tensor, global_batch_size: int, share: Share
) -> tuple[tf.Tensor, tf.Tensor]:
    """The step, int64, and the places in its global batch, int64[B / replicas], of a share's batch.

    Args:
        number: counts the batches of the share, `share.count` a step.
    """
    size = global_batch_size // share.of
    first = (share.first + number % share.count) * size
    return number // share.count, first + tf.range(size, dtype=tf.int64)


def make_order(
    labels: np.ndarray,
    *,
    global_batch_size: int,
    steps: int,
    seed: int,
    sampling: str,
    num_classes: int,
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """A function from a step, and places in its global batch, to the examples there, int64[B]."""
    num_examples = len(labels)
    members = [np.flatnonzero(labels == c) for c in range(num_classes)]

    def order_at(step: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
        positions = step % steps * global_batch_size + places
        order = shuffled(positions, seed, step // steps, num_examples)
        if sampling == "balanced":
            order = _balanced(order, seed, step // steps, members)
        return order

    return order_at


def shuffled(positions: tf.Tensor, seed: int, epoch: tf.Tensor, size: int) -> tf.Tensor:
    """Where a stateless permutation of `size` things, one per (seed, epoch), sends `positions`."""
    if size == 1:
        return tf.zeros_like(positions)
    return tf.random.experimental.index_shuffle(
        positions, seed=tf.stack([tf.cast(seed, tf.int64), epoch]), max_index=size - 1
    )


def _balanced(
    order: tf.Tensor, seed: int, epoch: tf.Tensor, members: list[np.ndarray]
) -> tf.Tensor:
    """Permuted positions to example indices such that every class comes equally often.

    Position p belongs to class p mod K and is that class's draw number p div K; a class's draws run
    through its own permutation, again and again where it has fewer members than draws.
    """
    present = [indices for indices in members if len(indices)]
    chosen = tf.zeros_like(order)
    for number, indices in enumerate(present):
        turn = order // len(present)
        within = shuffled(turn % len(indices), seed + 1 + number, epoch, len(indices))
        drawn = tf.gather(tf.constant(indices), within)
        chosen = tf.where(order % len(present) == number, drawn, chosen)
    return chosen
