"""Normalization layers that compute with the mean and variance that their variables hold.

Keras copies both into constants when a layer is built, adapted or loaded from a file. Compiled functions
then keep these constants whatever is assigned to the variables: by a checkpoint, by weights to start from,
or where the head is solved (`engine.training.solved_head`).
"""

from typing import Any

import keras


def follow_variables(model: keras.Model) -> None:
    """Makes the model's Normalization layers read their variables at every call.

    Layers that were given a mean and a variance have no variables, and stay as they are. All are
    saved as what they are.
    """
    for layer in _adaptable(model):
        if not isinstance(layer.call, _LiveCall):
            layer.call = _LiveCall(layer)


def refresh(model: keras.Model) -> None:
    """Updates the constants of the model's Normalization layers to what their variables hold."""
    for layer in _adaptable(model):
        layer.finalize_state()


def is_adaptable(layer: Any) -> bool:
    """Whether a layer is a Normalization with variables for its mean and variance."""
    return (
        isinstance(layer, keras.layers.Normalization) and layer.built and layer.input_mean is None
    )


def _adaptable(model: keras.Model) -> list[Any]:
    return [layer for layer in model._flatten_layers() if is_adaptable(layer)]


class _LiveCall:
    """In the place of a layer's `call`."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer

    def __call__(self, inputs: Any) -> Any:
        layer = self._layer
        constants = layer.mean, layer.variance
        layer.finalize_state()  # within a compiled function this reads the variables in it
        try:
            return type(layer).call(layer, inputs)
        finally:
            layer.mean, layer.variance = constants
