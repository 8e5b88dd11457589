"""Dropout that is a function of each example's key, in any Keras model.

Keras draws one mask per replica, the same on every one, from a state that has to be saved. Masks drawn
from keys stay with their examples however a batch is divided, and after any resume.
"""

import contextlib
import contextvars
import dataclasses
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from engine.base import counter_random


@dataclasses.dataclass
class _Pass:
    """A forward pass: its examples' keys, and how often each layer has dropped something in it."""

    keys: tf.Tensor
    calls: Counter[int] = dataclasses.field(default_factory=Counter)


_pass: contextvars.ContextVar[_Pass | None] = contextvars.ContextVar("pass", default=None)
_TRACED_BATCH = 8
# Operations of `keras.ops` that keep the batch axis, unless they reduce it.
_ROWWISE = frozenset(
    {
        "Add",
        "AveragePool",
        "Cast",
        "Divide",
        "Einsum",
        "Mean",
        "Moments",
        "Multiply",
        "Sqrt",
        "Std",
        "Subtract",
        "TrueDivide",
    }
)
_SPATIAL = (
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
)


@contextlib.contextmanager
def keyed(keys: tf.Tensor | None) -> Iterator[None]:
    """Within the block, dropout that `draw_by_keys` prepared goes by these keys, uint64[B], one per example.

    A block is for one forward pass: a layer that is called several times within it draws other numbers
    each time. None leaves it to draw as Keras does.
    """
    token = _pass.set(None if keys is None else _Pass(keys))
    try:
        yield
    finally:
        _pass.reset(token)


def draw_by_keys(model: keras.Model) -> tuple[list[str], list[str]]:
    """Makes the model's stock dropout layers, nested ones included, draw by keys within `keyed`.

    Outside of `keyed` they work as before; they are saved as what they are. Each layer has numbers of its
    own, by its name without Keras' running number and its place among those of that name: so they do
    not depend on what the process built before.

    A layer behind a reshape that folds other axes into the batch has no key per row, and keeps Keras'
    draw. It is recognized where shapes tell the sizes; elsewhere it is an error when the step runs.

    Returns:
        The names of the layers that drop something by keys, and of the others that draw random numbers,
        from a state of their own.
    """
    seen: Counter[str] = Counter()
    keyed_calls: dict[int, _KeyedCall] = {}
    layers = model._flatten_layers()
    for layer in layers:
        if _can_be_keyed(layer):
            base = re.sub(r"_\d+$", "", layer.name)
            name = f"{base}_{seen[base]}" if seen[base] else base
            seen[base] += 1
            layer.call = keyed_calls[id(layer)] = _KeyedCall(layer, zlib.crc32(name.encode()))
    _find_folded_batches(model, [call for call in keyed_calls.values() if call.rate])
    by_keys, others = [], []
    for layer in layers:
        call = keyed_calls.get(id(layer))
        if call is not None and call.fits is not False:
            if call.rate:
                by_keys.append(layer.name)
        elif layer._seed_generators:
            others.append(layer.name)
    return by_keys, others


def _find_folded_batches(model: Any, calls: list["_KeyedCall"]) -> None:
    """Sets `fits` of every call whose input's first size can be told apart from the batch's.

    Stock layers keep the batch axis. Other code is traced, which computes nothing, with a batch of a
    known size; that takes a quarter of a second of every start.
    """
    if not calls:
        return
    if all(_keeps_batch(operation) for operation in _operations(model)):
        for call in calls:
            call.fits = True
        return
    if getattr(model, "inputs", None) is None:
        return
    images = tf.TensorSpec((_TRACED_BATCH, *model.inputs[0].shape[1:]), model.inputs[0].dtype)

    def run(inputs: tf.Tensor) -> tf.Tensor:
        with keyed(tf.zeros(_TRACED_BATCH, tf.uint64)):
            return model(inputs, training=True)

    for call in calls:
        call.traced_sizes = []
    try:
        tf.function(run, autograph=False).get_concrete_function(images)
    except Exception:
        # Such as of a model that asks for a batch of another size: the step decides.
        return
    finally:
        for call in calls:
            sizes, call.traced_sizes = call.traced_sizes, None
            call.fits = _fits(sizes or [])


def _fits(sizes: list[int | None]) -> bool | None:
    if any(size not in (None, _TRACED_BATCH) for size in sizes):
        return False
    return True if sizes and None not in sizes else None


def _operations(model: Any) -> list[Any]:
    """Layers and operations of a model and of all models inside it."""
    layers = model._flatten_layers()
    graphs = [getattr(layer, "_operations", []) for layer in layers]
    return [*layers, *(operation for graph in graphs for operation in graph)]


def _keeps_batch(operation: Any) -> bool:
    if not isinstance(operation, keras.Layer):
        nodes = operation._inbound_nodes
        return type(operation).__name__ in _ROWWISE and all(_gives_rows(node) for node in nodes)
    own_code = isinstance(operation, keras.layers.Lambda)
    return type(operation).__module__.startswith(("keras.", "engine.")) and not own_code


def _gives_rows(node: Any) -> bool:
    """Whether what an operation gives has a first size that only the batch's can be."""
    taken = [size for tensor in node.input_tensors for size in tensor.shape[1:]]
    return None not in taken and all(tensor.shape[:1] == (None,) for tensor in node.output_tensors)


def _can_be_keyed(layer: Any) -> bool:
    if isinstance(layer, _SPATIAL):
        return type(layer).__module__.startswith("keras.")
    if type(layer) is not keras.layers.Dropout:
        return False
    # A first size of its own means one mask for several examples.
    return layer.noise_shape is None or layer.noise_shape[0] is None


class _KeyedCall:
    """In the place of a dropout layer's `call`.

    Attributes:
        fits: whether the first size of the inputs is the batch's; None where that is not known.
        traced_sizes: while the model is traced, the first sizes that the layer is called with.
    """

    def __init__(self, layer: Any, salt: int) -> None:
        self._layer, self._salt = layer, salt
        self.fits: bool | None = None
        self.traced_sizes: list[int | None] | None = None

    @property
    def rate(self) -> float:
        return self._layer.rate

    def __call__(self, inputs: Any, training: bool = False) -> Any:
        forward, layer = _pass.get(), self._layer
        if not training or not layer.rate or forward is None:
            return type(layer).call(layer, inputs, training=training)
        if self.traced_sizes is not None:
            self.traced_sizes.append(inputs.shape[0])
            return inputs
        if not self._has_a_key_per_row(inputs, forward.keys):
            return type(layer).call(layer, inputs, training=training)
        if layer.rate >= 1:
            return tf.zeros_like(inputs)
        keys = forward.keys if self.fits else self._checked(forward.keys, inputs)
        salt = (self._salt + forward.calls[id(layer)]) % 2**32
        forward.calls[id(layer)] += 1
        shape = _mask_shape(layer, inputs.shape)
        drawn = counter_random.uniform(keys, math.prod(shape), salt=salt)
        if len(shape) > 1:
            drawn = tf.reshape(drawn, [-1, *shape])
        kept = tf.cast(drawn >= layer.rate, inputs.dtype)
        return inputs * kept / (1 - layer.rate)

    def _has_a_key_per_row(self, inputs: Any, keys: tf.Tensor) -> bool:
        """False where the sizes cannot agree."""
        if self.fits is not None:
            return self.fits
        return inputs.shape[:1].is_compatible_with(keys.shape)

    def _checked(self, keys: tf.Tensor, inputs: Any) -> tf.Tensor:
        """The keys, once it is sure that there is one per row."""
        if inputs.shape[:1].is_fully_defined() and keys.shape.is_fully_defined():
            return keys
        rows, examples = tf.shape(inputs)[0], tf.shape(keys)[0]
        same = tf.debugging.assert_equal(
            rows,
            examples,
            message=f"the dropout layer {self._layer.name} gets another number of rows than there are "
            "images: other axes are folded into the batch before it; keep the batch axis, or reshape "
            "to sizes that are known when the model is built",
        )
        with tf.control_dependencies([] if same is None else [same]):
            return tf.identity(keys)


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
