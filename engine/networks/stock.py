"""The form of a network that is saved: stock Keras layers in float32, which loads without this project.

    training form   float32 pixels [B, H, W, C] -> logits; any precision, standardized kernels
    stock form      uint8 images [B, H, W, C]   -> probabilities float32[B, units]

Both compute the same function. A standardized kernel is folded into a plain one, which changes logits by
float32's rounding, less than 1e-4 of the largest. Computing in float32 what was trained in bfloat16, whose
8 bits round every value by up to 0.4 %, changes them by about 0.5 % of the largest; on images that look like
none in training, by more.

The last two layers are called `logits` and `probabilities`. A network of which no stock copy can be made is
saved as it is, built again in float32 where that is possible.
"""

import dataclasses
import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from engine.base import files, progress, user_code
from engine.networks import live_normalization, saved_models
from engine.networks.ends import LOGITS, PROBABILITIES
from engine.networks.layers import StandardizedConv2D
from engine.networks.training_form import TrainingForm, WithoutActivation, is_graph

_CHECKED_IMAGES = 4
_LARGEST_DIFFERENCE = {"float32": 1e-3, "mixed_bfloat16": 0.1, "mixed_float16": 0.02}


class StockModel:
    """A network's stock form, built once and brought up to date whenever it is saved.

    A model of which no copy can be made (a subclassed one, for example) is saved as it is: in float32 if
    it was trained in it or `build` makes it again; else in the training's precision with outputs in
    float32.

    Args:
        model: what the network's builder returned.
        form: its training form, whose variables are saved.
        build: builds a model like `model`, with other weights; None where nothing can.
        say: takes a line for the user where the file is not a stock copy or needs more than Keras.
    """

    def __init__(
        self,
        model: keras.Model,
        form: TrainingForm,
        *,
        build: Callable[[], keras.Model] | None = None,
        say: Callable[[str], None] = progress.say,
    ) -> None:
        self._model, self._form, self._build_again, self._say = model, form, build, say
        self._built: _Copy | None = None

    def save(self, path: Path) -> None:
        """Writes a `.keras` file with the network's weights as they are now, whole or not at all."""
        model = self.up_to_date()
        with files.written_aside(path) as aside:
            model.save(aside)
            assert self._built is not None
            if self._built.of_layers:
                saved_models.note_precision(aside, model, self._built.pairs)

    def up_to_date(self) -> keras.Model:
        """The model that is saved, uint8[B, H, W, C] -> float32[B, units], with the present weights."""
        if self._built is None:
            self._built = self._build()
        self._built.update()
        return self._built.model

    def _build(self) -> "_Copy":
        copy = _copied(self._form, name=self._model.name)
        if isinstance(copy, _Copy):
            content = "the model file is a copy of the network in float32"
        else:
            reason = copy
            if not is_graph(self._model):
                reason = f"{type(self._model).__name__} computes its outputs in code"
            copy = _as_it_is(self._model, self._form, self._build_again)
            content = (
                f"the model file holds the network as it is, in {_described_precision(copy.model)}, "
                f"because no copy in stock layers could be made ({reason})"
            )
        needs = _needed_to_load(copy.model)
        if needs or not copy.of_layers:
            self._say("; ".join([content, *needs]))
        return copy


@dataclasses.dataclass(frozen=True)
class _Copy:
    """A model, and where its weights come from: pairs of (trained, saved).

    Attributes:
        of_layers: whether the pairs are single layers, whose precision in training the file can name.
    """

    model: keras.Model
    pairs: list[tuple[Any, Any]]
    of_layers: bool = True

    def update(self) -> None:
        """Copies the trained weights."""
        for trained, saved in self.pairs:
            if isinstance(trained, StandardizedConv2D):
                saved.kernel.assign(np.asarray(trained.standardized_kernel()))
                saved.bias.assign(trained.bias.numpy())
                continue
            for source, target in zip(trained.variables, saved.variables, strict=True):
                target.assign(source.numpy())
        live_normalization.refresh(self.model)


def _copied(form: TrainingForm, *, name: str) -> _Copy | str:
    """A copy in float32; the reason where the network's layers cannot be copied faithfully."""
    try:
        copy = _copy_of(form, name=name)
        copy.update()
        faithful = _gives_the_same(form.network, _compared(form, copy, name=name))
    except Exception as error:  # whatever a user's `get_config`, `from_config` or `call` raises
        return user_code.first_line(error)
    return copy if faithful else "a copy by the layers' configurations computes something else"


def _compared(form: TrainingForm, copy: _Copy, *, name: str) -> keras.Model:
    """The logits of a copy that rounds as the training does, so that nothing but its layers can differ.

    On images unlike those trained on, bfloat16 alone can move logits by more than any tolerance that would
    still notice another network.
    """
    if _precision_of(form.network) != "float32":
        copy = _copy_of(form, name=name, in_float32=False)
        copy.update()
    return _logits_model(copy.model)


def _copy_of(form: TrainingForm, *, name: str, in_float32: bool = True) -> _Copy:
    network = form.network
    image = keras.Input(network.input_shape[1:], dtype="uint8", name="image")
    pixels = ops.cast(image, "float32")
    pairs: list[tuple[Any, Any]] = []
    last = network.outputs[0]._keras_history.operation

    def copied(layer: Any) -> Any:
        if not isinstance(layer, keras.Layer):
            return layer  # an operation of `keras.ops` has no weights and no precision of its own
        taken = layer.layer if isinstance(layer, WithoutActivation) else layer
        config = _stock_config(taken)
        if in_float32:
            config = saved_models.in_precision(config, "float32")
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


def _stock_config(layer: Any) -> dict[str, Any]:
    """The configuration of a stock layer that computes what `layer` does, in its precision."""
    if isinstance(layer, StandardizedConv2D):
        return {
            "name": layer.name,
            "filters": layer.filters,
            "kernel_size": layer.kernel_size,
            "strides": layer.strides,
            "padding": "same",
            "dtype": keras.dtype_policies.serialize(layer.dtype_policy),
        }
    config = layer.get_config()
    if isinstance(layer, keras.layers.Dropout) and config.get("seed") is None:
        config["seed"] = 0  # otherwise each process would draw, and save, another one
    return config


def _with_probabilities(image: Any, logits: Any, activation: str, name: str) -> keras.Model:
    """The model from `image` to probabilities, its last two layers under their names."""
    if logits._keras_history.operation.name != LOGITS:
        logits = keras.layers.Activation("linear", dtype="float32", name=LOGITS)(logits)
    outputs = keras.layers.Activation(activation, dtype="float32", name=PROBABILITIES)(logits)
    return keras.Model(image, outputs, name=name)


def _logits_model(model: keras.Model) -> keras.Model:
    return keras.Model(model.input, model.get_layer(LOGITS).output)


def _gives_the_same(trained: Any, saved: keras.Model, precision: str = "float32") -> bool:
    """Whether two functions of images agree on a few, within what a difference in precision explains.

    Args:
        precision: the lower one of both; float32 where both compute in the same.
    """
    shape = (_CHECKED_IMAGES, *saved.input_shape[1:])
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    expected = np.asarray(trained(tf.cast(images, tf.float32), training=False), np.float32)
    found = np.asarray(saved(images, training=False), np.float32)
    allowed = _LARGEST_DIFFERENCE.get(precision, 0.1) * max(1.0, float(np.abs(expected).max()))
    return bool(np.abs(found - expected).max() <= allowed)


def _precision_of(network: keras.Model) -> str:
    """The policy of the layers that compute in the lowest precision."""
    names = {layer.dtype_policy.name for layer in network._flatten_layers()}
    lower = [name for name in names if name.startswith("mixed")]
    return lower[0] if lower else "float32"


# ---------------------------------------------------------------------------- as it is


def _as_it_is(
    model: keras.Model, form: TrainingForm, build: Callable[[], keras.Model] | None
) -> _Copy:
    """The user's own layers between an input of uint8 and probabilities, in float32 if possible."""
    if _precision_of(form.network) != "float32" and build is not None:
        try:
            return _built_in_float32(model, form, build)
        except Exception as error:  # whatever the user's code raises, or weights that do not fit
            logging.getLogger(__name__).debug("not built again in float32: %s", error)
    return _Copy(_on_images(model, form), [], of_layers=False)


def _built_in_float32(
    model: keras.Model, form: TrainingForm, build: Callable[[], keras.Model]
) -> _Copy:
    """A model like `model`, under the float32 policy and with its weights.

    Raises:
        ValueError: what is built has other weights or computes something else.
    """
    with saved_models.dtype_policy("float32"):
        twin = build()
        copy = _Copy(_on_images(twin, form), [(model, twin)], of_layers=False)
    copy.update()
    logits = copy.model if form.outputs == "probabilities" else _logits_model(copy.model)
    activate = ops.sigmoid if form.activation == "sigmoid" else ops.softmax

    def trained(images: Any, training: bool) -> Any:
        outputs = form.network(images, training=training)
        return activate(outputs) if form.outputs == "probabilities" else outputs

    if not _gives_the_same(trained, logits, _precision_of(form.network)):
        raise ValueError("the model that was built again computes something else")
    return copy


def _on_images(model: keras.Model, form: TrainingForm) -> keras.Model:
    """uint8[B, H, W, C] -> probabilities float32[B, units], by a user's model."""
    image = keras.Input(form.network.input_shape[1:], dtype="uint8", name="image")
    takes: Any = getattr(model, "inputs", None)
    whole_numbers = bool(takes) and "int" in takes[0].dtype
    outputs = model(image if whole_numbers else ops.cast(image, "float32"))
    name = f"{model.name}_on_images"
    if form.outputs == "probabilities":
        in_float32 = keras.layers.Activation("linear", dtype="float32", name=PROBABILITIES)
        return keras.Model(image, in_float32(outputs), name=name)
    return _with_probabilities(image, outputs, form.activation, name)


def _described_precision(model: keras.Model) -> str:
    precision = _precision_of(model)
    return precision if precision == "float32" else f"{precision} with outputs in float32"


def _needed_to_load(model: keras.Model) -> list[str]:
    """What the user has to know to load the file, a sentence each; nothing where Keras is enough."""
    if unstorable := _without_configuration(model):
        return [
            f"Keras cannot store how some layers are made ({', '.join(unstorable)}), because they have "
            "no get_config method, so the file can be used only through its run"
        ]
    custom, has_lambda = _custom_layers(model)
    needs = []
    if custom:
        needs.append(
            f"it has layers that are not part of Keras ({', '.join(custom)}), and loading it needs "
            "their code"
        )
    if has_lambda:
        needs.append("it has a Lambda layer, and loading it needs safe_mode=False")
    return needs


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


def _custom_layers(model: keras.Model) -> tuple[list[str], bool]:
    """The names of the classes, among the model's layers, that Keras does not have; whether any is Lambda."""
    classes = {type(layer) for layer in model._flatten_layers()}
    own = {c.__name__ for c in classes if c.__module__.partition(".")[0] != "keras"}
    return sorted(own), any(issubclass(c, keras.layers.Lambda) for c in classes)
