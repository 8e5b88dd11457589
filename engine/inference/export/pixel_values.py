"""Pixels in TensorFlow operations as Pillow computes them: grey from colour, alpha over black, 16 bits to 8.

All in whole numbers, so that the results are equal to Pillow's to the last bit.
"""

from typing import Any

import tensorflow as tf


def require(condition: Any) -> Any:
    """Fails unless a bool scalar is true: the image that is decoded is then not valid."""
    return tf.debugging.Assert(condition, ["not valid"])


def require_pixels(height: Any, width: Any, max_pixels: int) -> Any:
    """Fails unless an image of this size, int32 scalars, has pixels, and at most `max_pixels`."""
    count = tf.cast(height, tf.int64) * tf.cast(width, tf.int64)
    return require((height > 0) & (width > 0) & (count <= max_pixels))


def with_channels(image: Any, channels: int) -> Any:
    """uint8[h, w, 3] as it is, or as grey, uint8[h, w, 1]: ITU-R 601 weights of 16 bits."""
    if channels == 3:
        return image
    weights = tf.constant([19595, 38470, 7471])
    total = tf.reduce_sum(tf.cast(image, tf.int32) * weights, axis=-1, keepdims=True)
    return tf.cast(tf.bitwise.right_shift(total + (1 << 15), 16), tf.uint8)


def over_black(image: Any) -> Any:
    """uint8[h, w, 4] of colour and alpha laid over black, uint8[h, w, 3]."""
    values = tf.cast(image, tf.int32)
    product = values[..., :3] * values[..., 3:] + 128
    divided = tf.bitwise.right_shift(tf.bitwise.right_shift(product, 8) + product, 8)  # by 255
    return tf.cast(divided, tf.uint8)


def to_eight_bits(image: Any, bits: int) -> Any:
    """uint16[h, w, 1] whose values run from 0 to 2**bits - 1, scaled and rounded to uint8."""
    top = 2**bits - 1
    values = tf.minimum(tf.cast(image, tf.int32), top)
    return tf.cast((255 * values + top // 2) // top, tf.uint8)
