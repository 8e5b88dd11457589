"""Spectrum: the low spatial frequencies of an image, each made weaker or stronger by itself.

How an image was taken shows in the amplitudes of its frequencies: exposure that falls off to a side, scatter,
the heart against the lungs, the collimator's edge. What it shows lies in where they meet. A network that has
seen each image with other amplitudes goes by the latter (Xu et al., "A Fourier-based framework for domain
generalization", 2021, https://arxiv.org/abs/2105.14391, who take amplitudes from other images; drawn factors
did as well on other series, and need no other image).

The frequencies are those of a discrete cosine transform: the first 28 along each axis, from none to 13.5
periods over the image. They are found and put back by four small matrix products, at any image size.

The host draws two numbers for each image, a strength and a key; the factors are made of them on the device.
"""

import functools

import numpy as np
import tensorflow as tf

from engine.base import counter_random

NUM_FREQUENCIES = 28  # along each axis; the first is constant
_PURPOSE = "spectrum"
_SMALLEST = 2.0**-25  # what stands for a uniform number of 0, whose normal number is infinite
_RANGE = 255.0


def draw(positions: tf.Tensor, *, seed: int, epoch: tf.Tensor | int) -> tf.Tensor:
    """The keys of the images at `positions` of an epoch, of which `factors` are made.

    Args:
        positions: int64[B], places in the epoch's order.
        seed: the run's seed.
        epoch: scalar int.

    Returns:
        uint64[B].
    """
    return counter_random.row_keys(positions, seed=seed, epoch=epoch, purpose=_PURPOSE)


def factors(keys: tf.Tensor, strengths: tf.Tensor) -> tf.Tensor:
    """What the frequencies of each image are multiplied by.

    Each image takes a share of 0 to 1, drawn evenly, of factors whose logarithms are normally distributed
    with a deviation of `strengths`, one for each frequency. The mean of an image stays.

    Args:
        keys: uint64[B], as `draw` returns them.
        strengths: float32[B, 1]; 0 leaves an image as it is.

    Returns:
        float32[B, 28, 28], by frequencies along the height and along the width.
    """
    uniform = counter_random.uniform(keys, NUM_FREQUENCIES**2)
    share = uniform[:, :1]  # the mean, which stays, needs no number of its own
    drawn = 1 + share * (tf.exp(normal(uniform) * strengths) - 1) * _all_but_the_mean()
    return tf.reshape(drawn, [-1, NUM_FREQUENCIES, NUM_FREQUENCIES])


def normal(uniform: tf.Tensor) -> tf.Tensor:
    """Uniform numbers, multiples of 2**-24 in [0, 1), to normal ones of deviation 1, all finite."""
    return tf.math.ndtri(tf.maximum(uniform, _SMALLEST))


@tf.function(jit_compile=True, autograph=False)
def vary(images: tf.Tensor, keys: tf.Tensor, strengths: tf.Tensor) -> tf.Tensor:
    """Multiplies the frequencies of images by what their keys give.

    Args:
        images: float32[B, H, W, C] in [0, 255].
        keys, strengths: see `factors`.

    Returns:
        float32[B, H, W, C] in [0, 255].
    """
    return scaled(images, factors(keys, strengths))


def scaled(images: tf.Tensor, multipliers: tf.Tensor) -> tf.Tensor:
    """Multiplies the frequencies of images by given factors.

    An image that would leave [0, 255] is compressed until it fits. Cut off instead, bright regions would
    lose what they show: on another series AUROC was 0.987 then instead of 0.989.

    Args:
        images: float32[B, H, W, C] in [0, 255].
        multipliers: float32[B, 28, 28].
    """
    rows, columns = (tf.constant(_cosines(size)) for size in images.shape[1:3])
    amplitudes = tf.einsum("kh,bhwc,lw->bklc", rows, images, columns)
    changes = amplitudes * (multipliers[:, : rows.shape[0], : columns.shape[0], None] - 1)
    changed = images + tf.einsum("kh,bklc,lw->bhwc", rows, changes, columns)
    low = tf.minimum(tf.reduce_min(changed, axis=[1, 2, 3], keepdims=True), 0.0)
    high = tf.maximum(tf.reduce_max(changed, axis=[1, 2, 3], keepdims=True), _RANGE)
    return (changed - low) * (_RANGE / (high - low))


@functools.cache
def _cosines(size: int) -> np.ndarray:
    """float32[K, size]: the first cosines over so many pixels, at most one a pixel, of length 1."""
    count = np.arange(min(NUM_FREQUENCIES, size))[:, None]
    cosines = np.cos(np.pi * count * (np.arange(size) + 0.5) / size) * np.sqrt(2 / size)
    cosines[0] /= np.sqrt(2)
    return cosines.astype(np.float32)


def _all_but_the_mean() -> np.ndarray:
    """float32[784]: 0 for the frequency that is constant along both axes, else 1."""
    kept: np.ndarray = np.ones(NUM_FREQUENCIES**2, np.float32)
    kept[0] = 0
    return kept
