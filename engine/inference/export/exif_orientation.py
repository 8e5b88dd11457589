"""The EXIF orientation of an encoded image, read and applied by TensorFlow operations.

    JPEG   the first segment APP1 that begins with `Exif`
    PNG    the chunk `eXIf`
    other  none

Both hold a TIFF header and a directory of 12-byte entries, in the byte order that the header names. What is
damaged or cut off counts as absent, as the pixels are none the worse for it.
"""

from typing import Any

import tensorflow as tf

from engine.inference.export import byte_fields

_TAG = 0x0112
_BYTE, _LONG = 1, 4  # TIFF types; anything else is read as a SHORT
_APP1, _START_OF_SCAN = 0xE1, 0xDA  # JPEG markers
_EXIF = b"Exif\x00\x00"


def of_jpeg(data: Any) -> Any:
    """Args: data: uint8[N], a whole file. Returns: int32, 1 to 8."""

    def is_segment(start: Any) -> Any:
        marked = byte_fields.unsigned(data, start, 1) == 0xFF
        return marked & (byte_fields.unsigned(data, start + 1, 1) != _START_OF_SCAN)

    def is_exif(start: Any) -> Any:
        return (byte_fields.unsigned(data, start + 1, 1) == _APP1) & byte_fields.holds(
            data, start + 4, _EXIF
        )

    def following(start: Any) -> Any:
        is_padding = byte_fields.unsigned(data, start + 1, 1) == 0xFF
        length = byte_fields.unsigned(data, start + 2, 2)
        return tf.minimum(start + tf.where(is_padding, 1, 2 + length), tf.size(data))

    start = tf.while_loop(
        lambda start: is_segment(start) & ~is_exif(start),
        lambda start: (following(start),),
        (tf.constant(2),),
        parallel_iterations=1,
    )[0]
    found = is_segment(start) & is_exif(start)
    return tf.cond(found, lambda: _of_tiff(data, start + 10), lambda: tf.constant(1))


def of_png(data: Any, contents: Any) -> Any:
    """Args: data: uint8[N], a whole file; contents: the same as a string. Returns: int32, 1 to 8."""
    # Going through the chunks of a large image takes tens of milliseconds; searching its bytes takes one.
    shorter = tf.strings.regex_replace(contents, "eXIf", "", replace_global=False)
    mentioned = tf.strings.length(shorter) < tf.size(data)

    def search() -> Any:
        start = byte_fields.png_chunk(data, b"eXIf")
        return tf.cond(start > 0, lambda: _of_tiff(data, start), lambda: tf.constant(1))

    return tf.cond(mentioned, search, lambda: tf.constant(1))


def upright(image: Any, orientation: Any) -> Any:
    """uint8[h, w, C] turned and mirrored as its orientation, int32 of 1 to 8, says."""
    # As rows and columns are exchanged first: 5 to 8 exchange them, then each flips what stands here.
    image = tf.cond(orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    flips_rows = tf.reduce_any(orientation == [3, 4, 7, 8])
    flips_columns = tf.reduce_any(orientation == [2, 3, 6, 7])
    image = tf.cond(flips_rows, lambda: tf.reverse(image, [0]), lambda: image)
    return tf.cond(flips_columns, lambda: tf.reverse(image, [1]), lambda: image)


def _of_tiff(data: Any, start: Any) -> Any:
    """The orientation in a TIFF header that begins at `start`; 1 if there is none that is defined."""
    little = byte_fields.holds(data, start, b"II")

    def unsigned(place: Any, count: int) -> Any:
        return tf.where(
            little,
            byte_fields.unsigned(data, place, count, little=True),
            byte_fields.unsigned(data, place, count),
        )

    directory = tf.minimum(start + unsigned(start + 4, 4), tf.size(data))
    entries = directory + 2 + 12 * tf.range(unsigned(directory, 2))
    matching = tf.boolean_mask(entries, unsigned(entries, 2) == _TAG)

    def value() -> Any:
        entry = matching[-1]
        kind = unsigned(entry + 2, 2)
        long, byte = unsigned(entry + 8, 4), byte_fields.unsigned(data, entry + 8, 1)
        short = unsigned(entry + 8, 2)
        return tf.where(kind == _LONG, long, tf.where(kind == _BYTE, byte, short))

    found = tf.cond(tf.size(matching) > 0, value, lambda: tf.constant(1))
    return tf.where((found >= 1) & (found <= 8), found, 1)
