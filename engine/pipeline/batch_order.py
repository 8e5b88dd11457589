"""Which example is at which place of which batch: stateless functions of (seed, epoch, place).

The order of an epoch is a stateless permutation, so training can start at any step, and each of
many replicas can compute its own share of a batch.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from engine.base import counter_random
from engine.pipeline.share import Share

Order = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # see `make_order`

_CIPHER_ROUNDS = 16
# For these last positions, TensorFlow 2.21 uses a block that is one bit too short: of 65,537
# positions, two are sent to the same place.
_BROKEN_LAST = frozenset(4**half_bits for half_bits in range(8, 32))


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
) -> Order:
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


def shuffled(
    positions: tf.Tensor, seed: int, epoch: tf.Tensor, size: int, *, purpose: str = "examples"
) -> tf.Tensor:
    """Where a stateless permutation of `size` items sends `positions`, int64[B] -> int64[B].

    Of each of its three seed words, TensorFlow's block cipher uses as many bits as half a position
    has, and at least 8: 2**24 keys for up to 65,536 items. Rotating the result by a random distance
    makes that `size` times as many. With the default of 4 rounds, and with 8 for a million items,
    neighbours keep preferred distances; from 12 rounds on, no such effect was measurable.

    Args:
        purpose: what is permuted; together with the seed (any integer) and the epoch it decides the
            order.
    """
    if size == 1:
        return tf.zeros_like(positions)
    words = counter_random.epoch_words(4, seed=seed, epoch=epoch, purpose=f"order of {purpose}")
    key, distance = tf.split(words, [3, 1])
    return (_enciphered(positions, key, size) + distance) % size


def _enciphered(positions: tf.Tensor, key: tf.Tensor, size: int) -> tf.Tensor:
    """`RandomIndexShuffle` of positions int64[B] under a key int64[3]."""
    if size - 1 not in _BROKEN_LAST:
        return _random_index_shuffle(positions, key, size - 1)
    others = _random_index_shuffle(tf.minimum(positions, size - 2), key, size - 2)
    return tf.where(positions == size - 1, positions, others)


def _random_index_shuffle(positions: tf.Tensor, key: tf.Tensor, last: int) -> tf.Tensor:
    return tf.raw_ops.RandomIndexShuffle(
        index=positions, seed=key, max_index=tf.constant(last, tf.int64), rounds=_CIPHER_ROUNDS
    )


def _balanced(
    order: tf.Tensor, seed: int, epoch: tf.Tensor, members: list[np.ndarray]
) -> tf.Tensor:
    """Maps permuted positions to examples such that every class is drawn equally often.

    Position p belongs to class p mod K and is draw number p div K of that class. The draws of a
    class run through a permutation of its members, repeatedly if it has fewer members than draws.
    """
    present = [indices for indices in members if len(indices)]
    chosen = tf.zeros_like(order)
    for number, indices in enumerate(present):
        turn = order // len(present)
        within = shuffled(turn % len(indices), seed, epoch, len(indices), purpose=f"class {number}")
        drawn = tf.gather(tf.constant(indices), within)
        chosen = tf.where(order % len(present) == number, drawn, chosen)
    return chosen
