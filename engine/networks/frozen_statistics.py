"""Batch normalization that keeps its mean and variance in training; gamma and beta are trained.

In small batches of images of another kind, statistics that pretraining took from a million images are
worth more than those of a batch (as in https://keras.io/guides/transfer_learning, where the body is called
with `training=False`).
"""

from collections.abc import Iterable
from typing import Any

import keras


def freeze(layers: Iterable[Any]) -> list[str]:
    """Makes the batch normalization among `layers` work in training as in inference.

    The layers are saved as what they are.

    Returns:
        Their names.
    """
    found = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in found:
        if not is_frozen(layer):
            layer.call = _InferenceCall(layer)
    return [layer.name for layer in found]


def is_frozen(layer: Any) -> bool:
    """Whether `freeze` was called for a layer."""
    return isinstance(layer.call, _InferenceCall)


class _InferenceCall:
    """In the place of a layer's `call`."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer

    def __call__(self, inputs: Any, training: Any = None, **options: Any) -> Any:
        del training
        return type(self._layer).call(self._layer, inputs, training=False, **options)
