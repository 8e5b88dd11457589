"""Random numbers that are a pure function of what they are for: (seed, epoch, position, column).

There is no state to save, to share between replicas or to lose, and an image's numbers do not change
with the batch it comes in. TensorFlow's stateless generators take one seed for a whole tensor; a
counter hash takes one for each row. Here it is the MurmurHash3 finalizer (Appleby, 2011; full avalanche
on 32 bits).
"""

import numpy as np
import tensorflow as tf

_GOLDEN = np.uint32(0x9E3779B9)


def row_keys(positions: tf.Tensor, *, seed: int, epoch: tf.Tensor | int) -> tf.Tensor:
    """A key for each of an epoch's positions, int[B] -> uint32[B]."""
    key = _mix(_mix(tf.cast(seed, tf.uint32) + _GOLDEN) + tf.cast(epoch, tf.uint32))
    return _mix(tf.cast(positions, tf.uint32) * _GOLDEN + key)


def uniform(keys: tf.Tensor, columns: int, *, salt: int = 0) -> tf.Tensor:
    """Uniform numbers in [0, 1), float32[B, columns], of keys uint32[B].

    Args:
        salt: other numbers of the same keys.
    """
    if salt:
        keys = _mix(tf.bitwise.bitwise_xor(keys, tf.constant(salt & 0xFFFFFFFF, tf.uint32)))
    column = tf.cast(tf.range(1, columns + 1), tf.uint32)[None, :]
    bits = _mix(keys[:, None] + column * tf.constant(0x85EBCA6B, tf.uint32))
    mantissa = tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), tf.float32)
    return mantissa * (1.0 / 2**24)


def _mix(value: tf.Tensor) -> tf.Tensor:
    """MurmurHash3's 32-bit finalizer."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, None)):
        value = tf.bitwise.bitwise_xor(
            value, tf.bitwise.right_shift(value, tf.constant(shift, tf.uint32))
        )
        if factor is not None:
            value = value * tf.constant(factor, tf.uint32)
    return value
