"""Held-out images as another scanner, another technician or another export would have made them.

A figure on held-out patients of one hospital says little about another hospital. These changes of
exposure, contrast, framing and sharpness stand in for it: a model that passes them may still fail
elsewhere, but a model that fails them will.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

_BATCH = 256
_CROP = 0.85  # of each side


def shift_names() -> tuple[str, ...]:
    """The names that `apply` takes; `none` leaves images unchanged."""
    return tuple(_SHIFTS)


def apply(name: str, images: np.ndarray) -> np.ndarray:
    """Images under a shift; uint8[N, H, W, C] to the same.

    Raises:
        KeyError: there is no such shift.
    """
    shift = _SHIFTS[name]
    parts = []
    for start in range(0, len(images), _BATCH):
        scaled = tf.cast(images[start : start + _BATCH], tf.float32) / 255
        shifted = tf.clip_by_value(shift(scaled), 0, 1)
        parts.append(tf.cast(tf.round(shifted * 255), tf.uint8).numpy())
    return np.concatenate(parts)


def _gamma(exponent: float) -> Callable[[tf.Tensor], tf.Tensor]:
    return lambda images: images**exponent


def _contrast(factor: float) -> Callable[[tf.Tensor], tf.Tensor]:
    def change(images: tf.Tensor) -> tf.Tensor:
        mean = tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)
        return mean + (images - mean) * factor

    return change


def _brightness(offset: float) -> Callable[[tf.Tensor], tf.Tensor]:
    return lambda images: images + offset


def _crop(images: tf.Tensor) -> tf.Tensor:
    """The middle of the image, enlarged to fill it."""
    return tf.image.resize(tf.image.central_crop(images, _CROP), images.shape[1:3])


def _pad(images: tf.Tensor) -> tf.Tensor:
    """The image reduced, with a black border."""
    height, width = images.shape[1:3]
    size = round(height * _CROP), round(width * _CROP)
    smaller = tf.image.resize(images, size, antialias=True)
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    return tf.image.pad_to_bounding_box(smaller, top, left, height, width)


def _stretch(images: tf.Tensor) -> tf.Tensor:
    """Wider by a quarter: the aspect ratio that squeezing a photograph to a square changes."""
    height, width = images.shape[1:3]
    cut = round(width * 0.1)
    return tf.image.resize(images[:, :, cut : width - cut], (height, width))


def _blur(images: tf.Tensor) -> tf.Tensor:
    """Reduced to two fifths of its size and enlarged again."""
    height, width = images.shape[1:3]
    small = tf.image.resize(images, (round(height * 0.4), round(width * 0.4)), antialias=True)
    return tf.image.resize(small, (height, width))


def _noise(images: tf.Tensor) -> tf.Tensor:
    """Quantum noise of a lower dose: standard deviation 0.05, the same at each place of a batch."""
    return images + 0.05 * tf.random.stateless_normal(tf.shape(images), seed=[0, 0])


_SHIFTS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "none": lambda images: images,
    "over-exposed": _gamma(0.6),
    "under-exposed": _gamma(1.6),
    "low contrast": _contrast(0.6),
    "high contrast": _contrast(1.5),
    "brighter": _brightness(0.15),
    "darker": _brightness(-0.15),
    "cropped": _crop,
    "bordered": _pad,
    "stretched": _stretch,
    "blurred": _blur,
    "noisy": _noise,
}
