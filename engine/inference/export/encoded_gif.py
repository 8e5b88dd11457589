"""The first frame of GIF files to pixels by TensorFlow operations."""

from typing import Any

import tensorflow as tf

from engine.images.format import ImageFormat
from engine.inference.export import byte_fields
from engine.inference.export.pixel_values import require_pixels, with_channels

_WIDTH, _HEIGHT = 6, 8  # places


def decode(contents: Any, data: Any, image_format: ImageFormat, max_pixels: int) -> Any:
    """A whole file, as a string and as uint8[N], to uint8[h, w, C]."""
    height = byte_fields.unsigned(data, _HEIGHT, 2, little=True)
    require_pixels(height, byte_fields.unsigned(data, _WIDTH, 2, little=True), max_pixels)
    image = tf.io.decode_image(contents, channels=3, expand_animations=False)
    return with_channels(tf.ensure_shape(image, (None, None, 3)), image_format.channels)
