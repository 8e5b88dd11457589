"""BMP files to pixels by TensorFlow operations: with a palette, or 24- and 32-bit colour; not compressed.

TensorFlow's own operation knows no palettes and takes compressed pixels for plain ones.
"""

from typing import Any

import tensorflow as tf

from engine.images.format import ImageFormat
from engine.inference.export import byte_fields
from engine.inference.export.pixel_values import require, require_pixels, with_channels

# Places in the file. Those from _HEADER_SIZE on are of the header that Windows 3 introduced.
_PIXELS, _HEADER, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _COLOURS = 10, 14, 18, 22, 28, 30, 46
_LEAST_HEADER_BYTES = 40


def decode(contents: Any, data: Any, image_format: ImageFormat, max_pixels: int) -> Any:
    """A whole file, as a string and as uint8[N], to uint8[h, w, C]."""
    del contents
    header_bytes, bits = _unsigned(data, _HEADER, 4), _unsigned(data, _BITS, 2)
    require((header_bytes >= _LEAST_HEADER_BYTES) & (_unsigned(data, _COMPRESSION, 4) == 0))
    require(tf.reduce_any(bits == [1, 4, 8, 24, 32]))
    signed_height, width = byte_fields.signed(data, _HEIGHT), byte_fields.signed(data, _WIDTH)
    height = tf.abs(signed_height)  # negative where the first row is the top one
    require_pixels(height, width, max_pixels)
    row_bytes = (bits * width + 31) // 32 * 4
    start = _unsigned(data, _PIXELS, 4)
    end = tf.cast(start, tf.int64) + tf.cast(row_bytes, tf.int64) * tf.cast(height, tf.int64)
    require(end <= tf.size(data, out_type=tf.int64))
    rows = tf.reshape(data[start : tf.cast(end, tf.int32)], [height, row_bytes])
    rows = tf.cond(signed_height > 0, lambda: rows[::-1], lambda: rows)
    image = tf.cond(
        bits <= 8,
        lambda: _of_palette(data, rows, width, bits, 14 + header_bytes),
        lambda: _of_colour(rows, width, bits),
    )
    return with_channels(image, image_format.channels)


def _of_palette(data: Any, rows: Any, width: Any, bits: Any, start: Any) -> Any:
    """Rows of 1-, 4- or 8-bit places in a palette, uint8[h, N], to uint8[h, w, 3]."""
    count = _unsigned(data, _COLOURS, 4)
    count = tf.where(count == 0, tf.bitwise.left_shift(1, bits), tf.minimum(count, 256))
    require(start + 4 * count <= tf.size(data))
    palette = tf.reshape(data[start : start + 4 * count], [count, 4])[:, 2::-1]
    shifts = tf.range(8 - bits, -1, -bits)  # the first pixel is in the highest bits
    packed = tf.bitwise.right_shift(tf.cast(rows, tf.int32)[..., None], shifts)
    places = tf.bitwise.bitwise_and(packed, tf.bitwise.left_shift(1, bits) - 1)
    return tf.gather(palette, tf.reshape(places, [tf.shape(rows)[0], -1])[:, :width])


def _of_colour(rows: Any, width: Any, bits: Any) -> Any:
    """Rows of 3 or 4 bytes for a pixel, blue first, uint8[h, N], to uint8[h, w, 3]."""
    pixel_bytes = bits // 8
    pixels = rows[:, : width * pixel_bytes]
    return tf.reshape(pixels, [tf.shape(rows)[0], width, pixel_bytes])[..., 2::-1]


def _unsigned(data: Any, place: int, count: int) -> Any:
    return byte_fields.unsigned(data, place, count, little=True)
