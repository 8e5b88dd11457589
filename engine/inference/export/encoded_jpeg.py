"""JPEG files to upright pixels by TensorFlow operations, as `engine.images.jpeg` decodes them.

Both use libjpeg-turbo with the accurate inverse DCT and smooth upsampling, and scale large images by 1/2,
1/4 or 1/8 while they are decoded. That one is strict; TensorFlow's operation fails on files that are cut off,
and on damage to their structure, but not on damage inside of the coded data.
"""

import functools
from typing import Any

import tensorflow as tf

from engine.images import jpeg
from engine.images.format import ImageFormat
from engine.inference.export import exif_orientation, fitting
from engine.inference.export.pixel_values import require_pixels, with_channels

_FACTORS = (8, 4, 2, 1)


def decode(contents: Any, data: Any, image_format: ImageFormat, max_pixels: int) -> Any:
    """A whole file, as a string and as uint8[N], to uint8[h, w, C], upright, perhaps scaled down."""
    stored = tf.io.extract_jpeg_shape(contents)
    height, width, components = stored[0], stored[1], stored[2]
    require_pixels(height, width, max_pixels)
    orientation = exif_orientation.of_jpeg(data)
    factor = _factor(height, width, orientation >= 5, image_format)
    image = tf.cond(
        components == 4,
        lambda: with_channels(_decoded(contents, channels=3), image_format.channels),
        lambda: _scaled(contents, factor, image_format.channels),
    )
    return exif_orientation.upright(image, orientation)


def _factor(height: Any, width: Any, sideways: Any, image_format: ImageFormat) -> Any:
    """The place in `_FACTORS` of what the sides are divided by; see `images.jpeg`."""
    rows, columns = tf.where(sideways, width, height), tf.where(sideways, height, width)
    inner_rows, inner_columns = fitting.inner_size(rows, columns, image_format)
    fits = [
        (tf.cast(rows, tf.float64) >= jpeg.DCT_MARGIN * factor * tf.cast(inner_rows, tf.float64))
        & (
            tf.cast(columns, tf.float64)
            >= jpeg.DCT_MARGIN * factor * tf.cast(inner_columns, tf.float64)
        )
        for factor in _FACTORS[:-1]
    ]
    return tf.argmax([*fits, True], output_type=tf.int32)


def _scaled(contents: Any, factor: Any, channels: int) -> Any:
    branches = [
        functools.partial(_decoded, contents, channels=channels, ratio=ratio) for ratio in _FACTORS
    ]
    return tf.switch_case(factor, branches)


def _decoded(contents: Any, *, channels: int, ratio: int = 1) -> Any:
    return tf.io.decode_jpeg(
        contents, channels=channels, ratio=ratio, dct_method="INTEGER_ACCURATE"
    )
