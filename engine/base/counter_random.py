"""Random numbers that are a pure function of what they are for: (seed, purpose, epoch, position, column).

There is no state to save, to share between replicas or to lose, and an image's numbers do not change
with the batch it comes in. TensorFlow's stateless generators take one seed for a whole tensor; a
counter hash takes one for each row. Here it is SplitMix64 (Steele, Lea and Flood, "Fast splittable
pseudorandom number generators", 2014): number n of a stream is a 64-bit mix of the stream's start plus
n times an odd constant. Each number may start a stream in turn: a seed's and purpose's gives the
epochs, an epoch's the positions, a position's the columns. Of 64 bits, 5,000 epochs of a million images
have all keys distinct (0.7 pairs are expected to meet), and no two epochs share a run of them.

Only integer operations are used, which give the same everywhere: eagerly, in tf.data, and under XLA.
"""

import hashlib

import numpy as np
import tensorflow as tf

_PHILOX = 1  # `tf.random.Algorithm.PHILOX`
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def row_keys(
    positions: tf.Tensor | np.ndarray,
    *,
    seed: int,
    epoch: tf.Tensor | int,
    purpose: str = "examples",
) -> tf.Tensor:
    """A key for each of an epoch's positions, int[...] -> uint64[...].

    Args:
        seed: any integer.
        purpose: what the keys are for; those of different purposes have nothing to do with one another.
    """
    start = tf.constant(_stream_start(purpose, seed), tf.uint64)
    return _number(_number(start, tf.cast(epoch, tf.uint64)), tf.cast(positions, tf.uint64))


def uniform(keys: tf.Tensor, columns: int, *, salt: int = 0) -> tf.Tensor:
    """Uniform numbers in [0, 1), float32[B, columns], of keys uint64[B].

    Args:
        salt: other numbers of the same keys; 32 bits.
    """
    if salt:
        keys = _mix(tf.bitwise.bitwise_xor(keys, tf.constant(salt, tf.uint64)))
    bits = _number(keys[:, None], tf.constant(np.arange(columns, dtype=np.uint64)[None, :]))
    return tf.cast(_shifted(bits, 40), tf.float32) * (1.0 / 2**24)


def epoch_words(count: int, *, seed: int, epoch: tf.Tensor | int, purpose: str) -> tf.Tensor:
    """Random 32-bit numbers of an epoch as a whole, int64[count], by TensorFlow's Philox.

    One operation makes them. By `row_keys` it would take twenty, of 2 us each, for every batch.
    """
    words = tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=[count],
        key=tf.constant([_stream_start(purpose, seed)], tf.uint64),
        counter=tf.stack([tf.constant(0, tf.uint64), tf.cast(epoch, tf.uint64)]),
        alg=_PHILOX,
        dtype=tf.uint32,
    )
    return tf.cast(words, tf.int64)


def _stream_start(purpose: str, seed: int) -> int:
    """Hashed, so that neighbouring seeds, and one seed's purposes, start far apart."""
    digest = hashlib.blake2b(f"{purpose}\0{int(seed)}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _number(start: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Number `count` of the streams that begin at `start`, uint64, counted from 0."""
    return _mix(start + (count + tf.constant(1, tf.uint64)) * tf.constant(_GOLDEN))


def _mix(value: tf.Tensor) -> tf.Tensor:
    """SplitMix64's output function (Stafford's variant 13 of MurmurHash3's 64-bit finalizer)."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value = tf.bitwise.bitwise_xor(value, _shifted(value, shift))
        value = value * tf.constant(factor, tf.uint64)
    return tf.bitwise.bitwise_xor(value, _shifted(value, 31))


def _shifted(value: tf.Tensor, bits: int) -> tf.Tensor:
    return tf.bitwise.right_shift(value, tf.constant(bits, tf.uint64))
