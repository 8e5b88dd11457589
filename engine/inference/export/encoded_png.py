"""PNG files to upright pixels by TensorFlow operations, as `engine.images.pillow_formats` decodes them."""

from typing import Any

import tensorflow as tf

from engine.images.format import ImageFormat
from engine.inference.export import byte_fields, exif_orientation
from engine.inference.export.pixel_values import (
    over_black,
    require,
    require_pixels,
    to_eight_bits,
    with_channels,
)

_WIDTH, _HEIGHT, _DEPTH, _COLOUR = 16, 20, 24, 25  # places in the file, within its first chunk
_GREY, _GREY_ALPHA, _RGB_ALPHA = 0, 4, 6  # values of _COLOUR


def decode(contents: Any, data: Any, image_format: ImageFormat, max_pixels: int) -> Any:
    """A whole file, as a string and as uint8[N], to uint8[h, w, C], upright."""
    require_pixels(
        byte_fields.unsigned(data, _HEIGHT, 4), byte_fields.unsigned(data, _WIDTH, 4), max_pixels
    )
    colour, depth = byte_fields.unsigned(data, _COLOUR, 1), byte_fields.unsigned(data, _DEPTH, 1)
    channels, bits = image_format.channels, image_format.bits
    is_grey, is_deep = colour == _GREY, depth == 16
    # Of 16-bit colour the upper 8 bits alone are read.
    require(~is_deep | is_grey | (bits == 16))
    has_alpha = (
        (colour == _GREY_ALPHA)
        | (colour == _RGB_ALPHA)
        | (byte_fields.png_chunk(data, b"tRNS", before=b"IDAT") > 0)
    )

    def deep() -> Any:
        grey = to_eight_bits(tf.io.decode_png(contents, channels=1, dtype=tf.uint16), bits)
        return tf.repeat(grey, channels, axis=-1)

    def transparent() -> Any:
        return with_channels(over_black(tf.io.decode_png(contents, channels=4)), channels)

    def coloured() -> Any:
        return with_channels(tf.io.decode_png(contents, channels=3), channels)

    def grey() -> Any:
        return tf.io.decode_png(contents, channels=channels)

    kinds = [is_grey & is_deep, has_alpha, ~is_grey, True]
    image = tf.switch_case(
        tf.argmax(kinds, output_type=tf.int32), [deep, transparent, coloured, grey]
    )
    return exif_orientation.upright(image, exif_orientation.of_png(data, contents))
