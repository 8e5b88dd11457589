"""How timed datasets are read: inside a graph, as a training step reads them.

Passing a batch to Python costs 0.1-0.3 ms, which a training loop does not pay and which would hide
differences between fast inputs. So the same loop in a graph reads every `tf.data` side.
"""

from collections.abc import Callable

import tensorflow as tf


def endless(dataset: tf.data.Dataset, *, steps: int) -> Callable[[int], int]:
    """A function that reads an endless dataset, which stays open: passes -> images.

    Args:
        steps: batches per pass.
    """
    iterator = iter(dataset)

    @tf.function(reduce_retracing=True)
    def read(count: tf.Tensor) -> tf.Tensor:
        images = tf.constant(0)
        for _ in tf.range(count):
            images += batch_length(next(iterator))
        return images

    def run(passes: int) -> int:
        # Batches prepared ahead between runs would be counted but not timed.
        read(tf.constant(4 + 2))
        return int(read(tf.constant(passes * steps)))

    return run


def finite(dataset: tf.data.Dataset) -> Callable[[int], int]:
    """A function that reads a finite dataset, reopened for every pass as `Model.fit` does each epoch."""

    @tf.function(reduce_retracing=True)
    def read() -> tf.Tensor:
        images = tf.constant(0)
        for batch in dataset:
            images += batch_length(batch)
        return images

    return lambda passes: sum(int(read()) for _ in range(passes))


def batch_length(batch: object) -> tf.Tensor:
    """The number of examples in a batch of tensors, however nested."""
    return tf.shape(tf.nest.flatten(batch)[0])[0]
