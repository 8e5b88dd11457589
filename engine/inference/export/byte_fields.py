"""Numbers and marks in the bytes of a file, read by TensorFlow operations.

What lies beyond the end of the data reads as zeros, so that no damaged header can make an operation fail.
"""

from typing import Any

import tensorflow as tf

_PNG_SIGNATURE_BYTES = 8
_LARGEST = 2**30  # more than any file has bytes; two of them can be added


def unsigned(data: Any, place: Any, count: int, *, little: bool = False) -> Any:
    """The unsigned number in `count` bytes of uint8[N] at `place`, big-endian unless `little`.

    Args:
        place: int32 of any shape.

    Returns:
        int32 of the same shape, at most 2**30.
    """
    digits = tf.cast(_bytes(data, place, count), tf.int64)
    exponents = range(count) if little else range(count - 1, -1, -1)
    factors = tf.constant([256**power for power in exponents], tf.int64)
    value = tf.reduce_sum(digits * factors, axis=-1)
    return tf.cast(tf.minimum(value, _LARGEST), tf.int32)


def signed(data: Any, place: Any) -> Any:
    """The signed little-endian number in the 4 bytes at `place`, int32."""
    return tf.bitcast(_bytes(data, place, 4), tf.int32)


def holds(data: Any, place: Any, expected: bytes) -> Any:
    """Whether uint8[N] has these bytes at `place`."""
    return tf.reduce_all(
        _bytes(data, place, len(expected)) == tf.constant(list(expected), tf.uint8)
    )


def png_chunk(data: Any, name: bytes, *, before: bytes = b"IEND") -> Any:
    """Where the contents of the first chunk of a PNG file with this name begin, int32; 0 if there is none.

    Args:
        before: the chunk that ends the search.
    """

    def goes_on(start: Any) -> Any:
        inside = start + 12 <= tf.size(data)
        return inside & ~holds(data, start + 4, name) & ~holds(data, start + 4, before)

    def following(start: Any) -> tuple[Any]:
        left = tf.size(data) - start
        return (start + tf.minimum(12 + tf.minimum(unsigned(data, start, 4), left), left),)

    start = tf.while_loop(
        goes_on, following, (tf.constant(_PNG_SIGNATURE_BYTES),), parallel_iterations=1
    )[0]
    return tf.where(holds(data, start + 4, name), start + 8, 0)


def _bytes(data: Any, place: Any, count: int) -> Any:
    """uint8[..., count] from `place`, int32[...], on; zeros beyond the end of the data."""
    size = tf.size(data)
    places = tf.clip_by_value(place, 0, size)[..., None] + tf.range(count)
    padded = tf.gather(data, tf.minimum(places, tf.maximum(size - 1, 0)))
    return tf.where(places < size, padded, tf.zeros_like(padded))
