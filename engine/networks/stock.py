"""The form of a network that is saved: stock Keras layers in float32, which loads without this project.

    training form   float32 pixels [B, H, W, C] -> logits; any precision, standardized kernels
    stock form      uint8 images [B, H, W, C]   -> probabilities float32[B, units]

Both compute the same function. A standardized kernel is folded into a plain one, which changes logits by
float32's rounding, less than 1e-4 of the largest. Computing in float32 what was trained in bfloat16, whose
8 bits round every value by up to 0.4 %, changes them by up to about 3 % of the largest.

The last two layers are called `logits` and `probabilities`.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from engine.base import files, progress
from engine.networks import saved_models
from engine.networks.layers import StandardizedConv2D
from engine.networks.training_form import TrainingForm, WithoutActivation

LOGITS, PROBABILITIES = "logits", "probabilities"
_CHECKED_IMAGES = 4
_LARGEST_DIFFERENCE = {"float32": 1e-3, "mixed_bfloat16": 0.1, "mixed_float16": 0.02}


class StockModel:
    """A network's stock form, built once and brought up to date whenever it is saved.

    A model of which no copy can be made (a subclassed one, for example) is saved as it is.

    Args:
        model: what the network's builder returned.
        form: its training form, whose variables are saved.
        say: takes a line for the user where loading the file will need more than Keras.
    """

    def __init__(
        self, model: keras.Model, form: TrainingForm, *, say: Callable[[str], None] = progress.say
    ) -> None:
        self._model, self._form, self._say = model, form, say
        self._built: _Copy | None = None

    def save(self, path: Path) -> None:
        """Writes a `.keras` file with the network's weights as they are now, whole or not at all."""
        model = self.up_to_date()
        with files.written_aside(path) as aside:
            model.save(aside)
            assert self._built is not None
            saved_models.note_precision(aside, model, self._built.pairs)

    def up_to_date(self) -> keras.Model:
        """The model that is saved, uint8[B, H, W, C] -> float32[B, units], with the present weights."""
        if self._built is None:
            self._built = self._build()
        self._built.update()
        return self._built.model

    def _build(self) -> "_Copy":
        copy = _copied(self._form, name=self._model.name)
        if copy is None:
            copy = _Copy(_as_it_is(self._model, self._form), [])
        if custom := _custom_layers(copy.model):
            self._say(
                f"the model file holds layers that are not of Keras ({', '.join(custom)}); "
                "loading it needs their code"
            )
        if unstorable := _without_configuration(copy.model):
            self._say(
                f"{', '.join(unstorable)}: Keras cannot store how they are made, for want of a "
                "get_config method; the model file can be used through its run alone"
            )
        return copy


@dataclasses.dataclass(frozen=True)
class _Copy:
    """A model, and the layers that its weights come from: pairs of (trained, saved)."""

    model: keras.Model
    pairs: list[tuple[Any, Any]]

    def update(self) -> None:
        """Copies the weights of the trained layers."""
        for trained, saved in self.pairs:
            if isinstance(trained, StandardizedConv2D):
                saved.kernel.assign(np.asarray(trained.standardized_kernel()))
                saved.bias.assign(trained.bias.numpy())
                continue
            for source, target in zip(trained.variables, saved.variables, strict=True):
                target.assign(source.numpy())


def _copied(form: TrainingForm, *, name: str) -> _Copy | None:
    """A copy in float32; None where the network's layers cannot be copied faithfully."""
    try:
        copy = _copy_of(form, name=name)
        copy.update()
        faithful = _gives_the_same(form.network, copy.model)
    except Exception:  # whatever a user's `get_config`, `from_config` or `call` raises
        return None
    return copy if faithful else None


def _copy_of(form: TrainingForm, *, name: str) -> _Copy:
    network = form.network
    image = keras.Input(network.input_shape[1:], dtype="uint8", name="image")
    pixels = ops.cast(image, "float32")
    pairs: list[tuple[Any, Any]] = []
    last = network.outputs[0]._keras_history.operation

    def copied(layer: Any) -> Any:
        if not isinstance(layer, keras.Layer):
            return layer  # an operation of `keras.ops` has no weights and no precision of its own
        taken = layer.layer if isinstance(layer, WithoutActivation) else layer
        config = _float32_config(taken)
        if taken is not layer:
            config["activation"] = "linear"
        if taken.name == PROBABILITIES or (taken.name == LOGITS and layer is not last):
            config["name"] = f"{taken.name}_layer"  # the ends are called so
        copy = _stock_class(taken).from_config(config)
        pairs.append((taken, copy))
        return copy

    def called(operation: Any, *arguments: Any, **options: Any) -> Any:
        arguments, options = keras.tree.map_structure(
            lambda value: pixels if value is image else value, (arguments, options)
        )
        return operation(*arguments, **options)

    twin = keras.models.clone_model(
        network,
        input_tensors=image,
        clone_function=copied,
        call_function=called,
        recursive=True,
    )
    return _Copy(_with_probabilities(image, twin.outputs[0], form.activation, name), pairs)


def _stock_class(layer: Any) -> Any:
    return keras.layers.Conv2D if isinstance(layer, StandardizedConv2D) else type(layer)


def _float32_config(layer: Any) -> dict[str, Any]:
    """The configuration of a stock layer that computes what `layer` does."""
    if isinstance(layer, StandardizedConv2D):
        return {
            "name": layer.name,
            "filters": layer.filters,
            "kernel_size": layer.kernel_size,
            "strides": layer.strides,
            "padding": "same",
            "dtype": "float32",
        }
    config = saved_models.in_precision(layer.get_config(), "float32")
    if isinstance(layer, keras.layers.Dropout) and config.get("seed") is None:
        config["seed"] = 0  # otherwise each process would draw, and save, another one
    return config


def _with_probabilities(image: Any, logits: Any, activation: str, name: str) -> keras.Model:
    """The model from `image` to probabilities, its last two layers under their names."""
    if logits._keras_history.operation.name != LOGITS:
        logits = keras.layers.Activation("linear", dtype="float32", name=LOGITS)(logits)
    outputs = keras.layers.Activation(activation, dtype="float32", name=PROBABILITIES)(logits)
    return keras.Model(image, outputs, name=name)


def _gives_the_same(network: keras.Model, copy: keras.Model) -> bool:
    """Whether two models agree on a few images, within what precision explains."""
    shape = (_CHECKED_IMAGES, *network.input_shape[1:])
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    expected = np.asarray(network(tf.cast(images, tf.float32), training=False), np.float32)
    logits = keras.Model(copy.input, copy.get_layer(LOGITS).output)
    found = np.asarray(logits(images, training=False), np.float32)
    precision = _precision_of(network)
    allowed = _LARGEST_DIFFERENCE.get(precision, 0.1) * max(1.0, float(np.abs(expected).max()))
    return bool(np.abs(found - expected).max() <= allowed)


def _precision_of(network: keras.Model) -> str:
    """The policy of the layers that compute in the lowest precision."""
    names = {layer.dtype_policy.name for layer in network._flatten_layers()}
    lower = [name for name in names if name.startswith("mixed")]
    return lower[0] if lower else "float32"


# ---------------------------------------------------------------------------- as it is


def _as_it_is(model: keras.Model, form: TrainingForm) -> keras.Model:
    """The user's own layers between an input of uint8 and probabilities."""
    image = keras.Input(form.network.input_shape[1:], dtype="uint8", name="image")
    takes: Any = getattr(model, "inputs", None)
    whole_numbers = bool(takes) and "int" in takes[0].dtype
    outputs = model(image if whole_numbers else ops.cast(image, "float32"))
    if form.outputs == "probabilities":
        return keras.Model(image, outputs, name=f"{model.name}_on_images")
    return _with_probabilities(image, outputs, form.activation, f"{model.name}_on_images")


def _without_configuration(model: keras.Model) -> list[str]:
    """The names of the classes whose `get_config` fails; gives these layers one that does not.

    So the file can be written; `engine.inference.predictor` builds such layers by the user's function.
    """
    failing = set()
    for layer in model._flatten_layers(include_self=False):
        try:
            layer.get_config()
        except Exception:  # whatever the user's code raises, NotImplementedError most of all
            failing.add(type(layer).__name__)
            layer.get_config = functools.partial(dict, name=layer.name)
    return sorted(failing)


def _custom_layers(model: keras.Model) -> list[str]:
    """The names of the classes, among the model's layers, that Keras does not have."""
    classes = {type(layer) for layer in model._flatten_layers()}
    own = {c.__name__ for c in classes if c.__module__.partition(".")[0] != "keras"}
    lambdas = {c.__name__ for c in classes if issubclass(c, keras.layers.Lambda)}
    return sorted(own | lambdas)
