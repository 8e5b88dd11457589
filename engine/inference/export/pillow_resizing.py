"""Pillow's antialiased bilinear resize as TensorFlow operations, equal to the last bit.

Pillow resizes 8-bit images in whole numbers: weights are rounded to 22 bits, rows are resized first, and what
comes out is rounded to 8 bits before columns are. `tf.image.resize(antialias=True)` computes in float32 and
rounds nowhere; of 50,176 pixels it leaves up to 1,030 off by a level. A sparse matrix times a dense one, both
int32, is Pillow's own arithmetic (Pillow, src/libImaging/Resample.c).
"""

import functools
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

_PRECISION_BITS = 22
_MOST_VALUES = 1 << 22  # that are resized at a time; as int32 they take 16 MiB


def resize(image: Any, height: Any, width: Any, *, columns_first: bool | None = None) -> Any:
    """uint8[h, w, C] to uint8[height, width, C]; sizes are int32 scalars, of tensors or not.

    Args:
        columns_first: whether columns come before rows where the height shrinks by more than twice as many
            pixels as the width; None: as in the Pillow that is installed.
    """
    shape = tf.shape(image)

    def rows(image: Any) -> Any:
        return _rows_resized(image, width)

    def columns(image: Any) -> Any:
        return _columns_resized(image, height)

    if columns_first is None:
        columns_first = has_columns_first()
    lost_rows, lost_columns = shape[0] - height, shape[1] - width
    is_tall = columns_first & (lost_rows > 0) & (lost_rows > 2 * lost_columns)
    return tf.cond(is_tall, lambda: rows(columns(image)), lambda: columns(rows(image)))


@functools.cache
def has_columns_first() -> bool:
    """Whether the Pillow that is installed resizes columns first in tall images, as 13.0 does."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 16), np.uint8)
    by_pillow = np.asarray(Image.fromarray(pixels).resize((12, 8), Image.Resampling.BILINEAR))
    with tf.init_scope():
        rows_first = resize(tf.constant(pixels[..., None]), 8, 12, columns_first=False)
        return not np.array_equal(rows_first[..., 0], by_pillow)


def _columns_resized(image: Any, new: Any) -> Any:
    """uint8[h, w, C] to uint8[new, w, C]."""
    shape = tf.shape(image)
    values = tf.reshape(image, [shape[0], shape[1] * shape[2]])
    return tf.reshape(_applied(_weights(shape[0], new), values), [new, shape[1], shape[2]])


def _rows_resized(image: Any, new: Any) -> Any:
    """uint8[h, w, C] to uint8[h, new, C], a block of rows at a time."""
    shape = tf.shape(image)
    height, old, channels = shape[0], shape[1], shape[2]
    weights = _weights(old, new)
    block = tf.maximum(1, _MOST_VALUES // (old * channels))
    parts = tf.TensorArray(tf.uint8, size=0, dynamic_size=True, infer_shape=False)

    def resize_block(start: Any, parts: Any) -> tuple[Any, Any]:
        rows = tf.transpose(image[start : start + block], [1, 0, 2])
        count = tf.shape(rows)[1]
        resized = _applied(weights, tf.reshape(rows, [old, count * channels]))
        resized = tf.transpose(tf.reshape(resized, [new, count, channels]), [1, 0, 2])
        return start + block, parts.write(parts.size(), resized)

    _, parts = tf.while_loop(
        lambda start, _: start < height, resize_block, (0, parts), parallel_iterations=1
    )
    return parts.concat()


def _applied(weights: Any, values: Any) -> Any:
    """Weights int32[new, old] of 22 bits times uint8[old, N], rounded: uint8[new, N]."""
    sums = tf.sparse.sparse_dense_matmul(weights, tf.cast(values, tf.int32))
    half = 1 << (_PRECISION_BITS - 1)
    levels = tf.bitwise.right_shift(sums + half, _PRECISION_BITS)
    return tf.cast(tf.clip_by_value(levels, 0, 255), tf.uint8)


def _weights(old: Any, new: Any) -> Any:
    """Which part of each old pixel goes into each new one, int32[new, old] of 22 bits, sparse.

    The triangle filter is as wide as the reduction; where an image grows it is two pixels wide.
    """
    scale = tf.cast(old, tf.float64) / tf.cast(new, tf.float64)
    support = tf.maximum(scale, 1.0)
    center = (tf.cast(tf.range(new), tf.float64) + 0.5) * scale
    first = tf.maximum(tf.cast(center - support + 0.5, tf.int32), 0)
    end = tf.minimum(tf.cast(center + support + 0.5, tf.int32), old)
    pixel = first[:, None] + tf.range(tf.reduce_max(end - first))
    distance = tf.abs(tf.cast(pixel, tf.float64) - center[:, None] + 0.5)
    weights = tf.maximum(1 - distance / support, 0.0)
    weights = tf.where(pixel < end[:, None], weights, 0.0)
    weights /= tf.reduce_sum(weights, axis=1, keepdims=True)
    rounded = tf.cast(weights * (1 << _PRECISION_BITS) + 0.5, tf.int32)
    row = tf.broadcast_to(tf.range(new)[:, None], tf.shape(pixel))
    places = tf.stack([row, tf.minimum(pixel, old - 1)], axis=-1)
    return tf.SparseTensor(
        tf.cast(tf.reshape(places, [-1, 2]), tf.int64),
        tf.reshape(rounded, [-1]),
        tf.cast(tf.stack([new, old]), tf.int64),
    )
