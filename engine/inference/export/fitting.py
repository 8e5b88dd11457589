"""Images of any size to the size of a format by TensorFlow operations, as `engine.images.decoding` fits them."""

from typing import Any

import tensorflow as tf

from engine.images.format import ImageFormat
from engine.inference.export import pillow_resizing


def inner_size(height: Any, width: Any, image_format: ImageFormat) -> tuple[Any, Any]:
    """(height, width) that an image takes inside the format's size; see `images.geometry.inner_size`."""
    rows, columns = image_format.image_size
    if not image_format.keep_aspect_ratio:
        return tf.constant(rows), tf.constant(columns)
    old = tf.cast(tf.stack([height, width]), tf.float64)
    scale = tf.reduce_min(tf.constant([rows, columns], tf.float64) / old)
    inner = tf.maximum(1, tf.cast(tf.round(old * scale), tf.int32))
    return inner[0], inner[1]


def fit(image: Any, image_format: ImageFormat) -> Any:
    """uint8[h, w, C] resized, and padded with black, to uint8[H, W, C]."""
    shape = tf.shape(image)
    height, width = inner_size(shape[0], shape[1], image_format)
    image = tf.cond(
        (shape[0] == height) & (shape[1] == width),
        lambda: image,
        lambda: pillow_resizing.resize(image, height, width),
    )
    rows, columns = image_format.image_size
    above, left = (rows - height) // 2, (columns - width) // 2
    below, right = rows - height - above, columns - width - left
    image = tf.pad(image, [[above, below], [left, right], [0, 0]])
    return tf.ensure_shape(image, image_format.image_shape)
