"""Spectrum: the coarse waves of an image, each made weaker or stronger by itself.

Where and how an image was taken shows in how strong its waves are: exposure that falls off to a side,
scatter, the heart against the lungs, the collimator's edge. What it shows lies in where they meet. A
network that has seen each image with other strengths goes by the latter (Xu et al., "A Fourier-based
framework for domain generalization", 2021, https://arxiv.org/abs/2105.14391, who take them from other
images; drawn ones did as well, and need no other image).

The waves are cosines, as of a discrete cosine transform: the first 28 along each axis, from none to 13.5
periods over the image. They are found and put back by four small matrix products, at any image size.
"""

import functools

import numpy as np
import tensorflow as tf

from engine.base import counter_random

NUM_WAVES = 28  # along each axis; the first is flat
_PURPOSE = "spectrum"
_LEAST = 2.0**-25  # half of the smallest uniform number but 0, which no normal number belongs to


def draw(
    positions: tf.Tensor, *, seed: int, epoch: tf.Tensor | int, strength: float
) -> tf.Tensor:
    """Draws what the waves of the images at `positions` of an epoch are multiplied by.

    Each image takes a share of 0 to 1, drawn evenly, of factors whose logarithms are normally distributed
    with a deviation of `strength`, one for each wave. The mean of an image stays.

    Args:
        positions: int64[B], places in the epoch's order.
        seed: the run's seed.
        epoch: scalar int.

    Returns:
        float32[B, 28, 28], by waves along the height and along the width.
    """
    keys = counter_random.row_keys(positions, seed=seed, epoch=epoch, purpose=_PURPOSE)
    uniform = counter_random.uniform(keys, NUM_WAVES**2)
    share = tf.reshape(uniform[:, 0], [-1, 1, 1])  # the mean, which stays, needs no number of its own
    logarithms = tf.reshape(normal(uniform), [-1, NUM_WAVES, NUM_WAVES]) * strength
    return 1 + share * (tf.exp(logarithms) - 1) * _but_the_mean()


def normal(uniform: tf.Tensor) -> tf.Tensor:
    """Uniform numbers, multiples of 2**-24 in [0, 1), to normal ones of deviation 1, all finite."""
    return tf.math.ndtri(tf.maximum(uniform, _LEAST))


@tf.function(jit_compile=True, autograph=False)
def scaled(images: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Multiplies the waves of images.

    Values may leave [0, 255]: cut off there, bright regions would lose what they show, and on other series
    AUROC was 0.987 instead of 0.989.

    Args:
        images: float32[B, H, W, C] in [0, 255].
        factors: float32[B, 28, 28], as `draw` returns them.
    """
    rows, columns = (tf.constant(_waves(size)) for size in images.shape[1:3])
    strengths = tf.einsum("kh,bhwc,lw->bklc", rows, images, columns)
    changes = strengths * (factors[:, : rows.shape[0], : columns.shape[0], None] - 1)
    return images + tf.einsum("kh,bklc,lw->bhwc", rows, changes, columns)


@functools.cache
def _waves(size: int) -> np.ndarray:
    """float32[K, size]: the first cosines over so many pixels, at most one a pixel, of length 1."""
    count = np.arange(min(NUM_WAVES, size))[:, None]
    waves = np.cos(np.pi * count * (np.arange(size) + 0.5) / size) * np.sqrt(2 / size)
    waves[0] /= np.sqrt(2)
    return waves.astype(np.float32)


def _but_the_mean() -> np.ndarray:
    """float32[28, 28]: 0 for the wave that is flat along both axes, else 1."""
    kept = np.ones((NUM_WAVES, NUM_WAVES), np.float32)
    kept[0, 0] = 0
    return kept
