"""Dropout that is a function of each example's key, in any Keras model.

Keras draws one mask per replica, the same on every one, from a state that has to be saved. Masks drawn
from keys stay with their examples however a batch is divided, and after any resume.
"""

import contextlib
import contextvars
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from engine.base import counter_random

_keys: contextvars.ContextVar[tf.Tensor | None] = contextvars.ContextVar("keys", default=None)
_SPATIAL = (
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
)


@contextlib.contextmanager
def keyed(keys: tf.Tensor | None) -> Iterator[None]:
    """Within the block, dropout that `draw_by_keys` prepared goes by these keys, uint64[B], one per example.

    None leaves it to draw as Keras does.
    """
    token = _keys.set(keys)
    try:
        yield
    finally:
        _keys.reset(token)


def draw_by_keys(model: keras.Model) -> tuple[list[str], list[str]]:
    """Makes the model's stock dropout layers, nested ones included, draw by keys within `keyed`.

    Outside of `keyed` they work as before; they are saved as what they are. Each layer has numbers of its
    own, by its name without Keras' running number and its place among those of that name: so they do
    not depend on what the process built before.

    Returns:
        The names of the layers that drop something by keys, and of the others that draw random numbers,
        from a state of their own.
    """
    seen: Counter[str] = Counter()
    by_keys, others = [], []
    for layer in model._flatten_layers():
        if _can_be_keyed(layer):
            base = re.sub(r"_\d+$", "", layer.name)
            name = f"{base}_{seen[base]}" if seen[base] else base
            seen[base] += 1
            layer.call = _KeyedCall(layer, zlib.crc32(name.encode()))
            if layer.rate:
                by_keys.append(layer.name)
        elif layer._seed_generators:
            others.append(layer.name)
    return by_keys, others


def _can_be_keyed(layer: Any) -> bool:
    if isinstance(layer, _SPATIAL):
        return type(layer).__module__.startswith("keras.")
    if type(layer) is not keras.layers.Dropout:
        return False
    # A first size of its own means one mask for several examples.
    return layer.noise_shape is None or layer.noise_shape[0] is None


class _KeyedCall:
    """In the place of a dropout layer's `call`."""

    def __init__(self, layer: Any, salt: int) -> None:
        self._layer, self._salt = layer, salt

    def __call__(self, inputs: Any, training: bool = False) -> Any:
        keys = _keys.get()
        layer = self._layer
        if not training or not layer.rate or keys is None:
            return type(layer).call(layer, inputs, training=training)
        if layer.rate >= 1:
            return tf.zeros_like(inputs)
        shape = _mask_shape(layer, inputs.shape)
        drawn = counter_random.uniform(keys, math.prod(shape), salt=self._salt)
        if len(shape) > 1:
            drawn = tf.reshape(drawn, [-1, *shape])
        kept = tf.cast(drawn >= layer.rate, inputs.dtype)
        return inputs * kept / (1 - layer.rate)


def _mask_shape(layer: Any, shape: Any) -> list[int]:
    """The sizes of one example's mask, 1 where it is the same along an axis."""
    sizes = list(shape[1:])
    if isinstance(layer, _SPATIAL):
        channels_first = getattr(layer, "data_format", "channels_last") == "channels_first"
        channel_axis = 0 if channels_first else len(sizes) - 1
        return [size if axis == channel_axis else 1 for axis, size in enumerate(sizes)]
    if layer.noise_shape is None:
        return sizes
    return [
        size if own is None else own for own, size in zip(layer.noise_shape[1:], sizes, strict=True)
    ]
