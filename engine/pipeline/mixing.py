"""mixup and CutMix: an image and its neighbour in the batch become one, their labels by shares.

Position p of an epoch's permuted order is mixed with position p xor 1, its neighbour. As a batch
begins at an even position, and each device takes an even number of images, both are always on one
device: the same run sees the same images on any number of replicas, after a resume, and in any
thread order.

mixup   the weighted mean of both images (Zhang et al., 2018, https://arxiv.org/abs/1710.09412)
cutmix  a rectangle of the neighbour is pasted in (Yun et al., 2019,
        https://arxiv.org/abs/1905.04899)

The host draws, by stateless numbers, how an image is mixed, and the batch carries that as six
floats; pixels are mixed on the device, after augmentation. With both, each image takes one of them
by chance.
"""

import dataclasses
import functools

import numpy as np
import tensorflow as tf
from scipy import special

from engine.base import counter_random

MIX_SIZE = 6  # label share, weight outside the rectangle, its top, bottom, left and right
_NUM_DRAWS = 4  # which method, share, centre of the rectangle
_QUANTILES = 4096


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixing:
    """How strongly images are mixed; zero turns a method off.

    Attributes:
        mixup, cutmix: alpha of the distribution Beta(alpha, alpha) that shares are drawn from: 1
            draws them evenly, smaller values leave most images nearly as they are.
    """

    mixup: float = 0.0
    cutmix: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.mixup or self.cutmix)


NO_MIXING = Mixing()


def draw(
    positions: tf.Tensor,
    *,
    seed: int,
    epoch: tf.Tensor | int,
    image_size: tuple[int, int],
    mixing: Mixing,
) -> dict[str, tf.Tensor]:
    """Draws how the images at `positions` of an epoch are mixed.

    Args:
        positions: int64[B], places in the epoch's order.
        seed: the run's seed.
        epoch: scalar int.
        image_size: (height, width) in pixels.

    Returns:
        `mix` float32[B, 6], as `apply` takes it; nothing if `mixing` is off.
    """
    if not mixing:
        return {}
    keys = counter_random.row_keys(positions, seed=seed, epoch=epoch, purpose="mixing")
    method, share, *centre = tf.unstack(counter_random.uniform(keys, _NUM_DRAWS), axis=1)
    if not mixing.cutmix:
        return {"mix": _blended(_beta(share, mixing.mixup))}
    pasted = _pasted(_beta(share, mixing.cutmix), centre, image_size)
    if not mixing.mixup:
        return {"mix": pasted}
    blended = _blended(_beta(share, mixing.mixup))
    return {"mix": tf.where(method[:, None] < 0.5, blended, pasted)}


def _blended(share: tf.Tensor) -> tf.Tensor:
    zero = tf.zeros_like(share)
    return tf.stack([share, share, zero, zero, zero, zero], axis=1)


def _pasted(share: tf.Tensor, centre: list[tf.Tensor], image_size: tuple[int, int]) -> tf.Tensor:
    """A rectangle of 1 - share of the image, cut at its edges; the label follows its area."""
    side = tf.sqrt(1 - share)
    edges = []
    for middle, size in zip(centre, image_size, strict=True):
        for half in (-0.5, 0.5):
            edges.append(tf.clip_by_value(tf.floor((middle + half * side) * size), 0, size))
    top, bottom, left, right = edges
    area = (bottom - top) * (right - left) / (image_size[0] * image_size[1])
    return tf.stack([1 - area, tf.ones_like(share), *edges], axis=1)


def _beta(uniform: tf.Tensor, alpha: float) -> tf.Tensor:
    """Uniform numbers in [0, 1) to Beta(alpha, alpha), by its inverse distribution function."""
    table = tf.constant(_quantiles(alpha))
    place = uniform * _QUANTILES
    below = tf.cast(place, tf.int32)
    low, high = tf.gather(table, below), tf.gather(table, below + 1)
    return low + (place - tf.cast(below, tf.float32)) * (high - low)


@functools.cache
def _quantiles(alpha: float) -> np.ndarray:
    """float32[4097]: between two of them the function is taken as straight."""
    levels = np.linspace(0, 1, _QUANTILES + 1)
    return special.betaincinv(alpha, alpha, levels).astype(np.float32)


@tf.function(jit_compile=True, autograph=False)
def apply(images: tf.Tensor, mix: tf.Tensor) -> tf.Tensor:
    """Mixes each image with its neighbour.

    Args:
        images: float32[B, H, W, C], B even.
        mix: float32[B, 6], as `draw` returns it.

    Returns:
        float32[B, H, W, C].
    """
    height, width = images.shape[1:3]
    _, weight, top, bottom, left, right = (
        tf.reshape(column, [-1, 1, 1, 1]) for column in tf.unstack(mix, MIX_SIZE, axis=1)
    )
    row = tf.range(height, dtype=tf.float32)[None, :, None, None]
    column = tf.range(width, dtype=tf.float32)[None, None, :, None]
    inside = (row >= top) & (row < bottom) & (column >= left) & (column < right)
    weight = tf.where(inside, 0.0, weight)
    return weight * images + (1 - weight) * neighbours(images)


def label_share(mix: tf.Tensor) -> tf.Tensor:
    """What an image's own label counts, float32[B]; its neighbour's counts the rest."""
    return mix[:, 0]


def neighbours(values: tf.Tensor) -> tf.Tensor:
    """Each of a batch's values replaced by its neighbour's, [B, ...] -> [B, ...], B even."""
    rest = values.shape[1:]
    pairs = tf.reshape(values, [-1, 2, *rest])
    return tf.reshape(tf.reverse(pairs, axis=[1]), [-1, *rest])
