"""Encoded images to pixels by TensorFlow operations alone: what `engine.images.decoding` does, in a graph.

    JPEG    grey, colour, CMYK; large ones scaled while they are decoded, as there
    PNG     any depth and colour, 16-bit grey scaled by the format's bits, alpha laid over black
    BMP     8-bit with a palette, 24- and 32-bit, not compressed
    GIF     the first frame
    others  are not valid

Each image is decoded by itself, in a `tf.data` pipeline inside the graph, which drops those that any
operation fails on: so one that is damaged leaves the rest of its batch as it is. Its place is filled with
black and marked as not valid.
"""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from engine.images.decoding import DEFAULT_MAX_PIXELS
from engine.images.format import ImageFormat
from engine.inference.export import (
    byte_fields,
    encoded_bmp,
    encoded_gif,
    encoded_jpeg,
    encoded_png,
    fitting,
)
from engine.inference.export.pixel_values import require

_IN_FLIGHT = 8  # images decoded at a time; a bound on memory
_KINDS = (
    (b"\xff\xd8\xff", encoded_jpeg),
    (b"\x89PNG\r\n\x1a\n", encoded_png),
    (b"BM", encoded_bmp),
    (b"GIF8", encoded_gif),
)


def decode_batch(
    contents: Any, image_format: ImageFormat, *, max_pixels: int = DEFAULT_MAX_PIXELS
) -> tuple[Any, Any]:
    """Decodes whole files, for use inside `tf.function`.

    Args:
        contents: string[B], each a file.
        image_format: what comes out.
        max_pixels: larger images are not valid.

    Returns:
        uint8[B, H, W, C], and bool[B], which of them are valid; the others are black.
    """
    count = tf.size(contents, out_type=tf.int64)
    decode = decoder(image_format, max_pixels=max_pixels)
    black = tf.zeros(image_format.image_shape, tf.uint8)
    files = tf.data.Dataset.from_tensor_slices((tf.range(count), contents))
    decoded = files.map(
        lambda place, file: (place, decode(file)),
        num_parallel_calls=_IN_FLIGHT,
        deterministic=False,
    ).ignore_errors()
    # A batch of none would be an error: one more image, whose place is behind the last.
    decoded = decoded.concatenate(tf.data.Dataset.from_tensors((count, black)))
    options = tf.data.Options()
    options.autotune.enabled = False  # its thread would be started and awaited at every call
    places, images = decoded.batch(count + 1).with_options(options).get_single_element()
    shape = tf.concat([[count + 1], tf.constant(image_format.image_shape, tf.int64)], axis=0)
    images = tf.scatter_nd(places[:, None], images, shape)[:-1]
    valid = tf.scatter_nd(places[:, None], tf.ones_like(places), [count + 1])[:-1] > 0
    return tf.ensure_shape(images, (None, *image_format.image_shape)), valid


def decoder(
    image_format: ImageFormat, *, max_pixels: int = DEFAULT_MAX_PIXELS
) -> Callable[[Any], Any]:
    """A function from one file, a string, to uint8[H, W, C], whose operations fail on a damaged one."""

    def decode(contents: Any) -> Any:
        data = tf.io.decode_raw(contents, tf.uint8)
        kinds = [byte_fields.holds(data, 0, mark) for mark, _ in _KINDS]
        require(tf.reduce_any(kinds))
        branches = [
            functools.partial(module.decode, contents, data, image_format, max_pixels)
            for _, module in _KINDS
        ]
        image = tf.switch_case(tf.argmax(kinds, output_type=tf.int32), branches)
        return fitting.fit(image, image_format)

    return decode
