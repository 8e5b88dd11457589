"""The form of a model that is trained: pixels to logits, whatever the model takes and gives.

    model          uint8 or float32 images [B, H, W, C], 0 to 255 -> logits or probabilities [B, units]
    training form  float32 pixels [B, H, W, C], 0 to 255          -> float32 logits [B, units]

They share every variable. Augmented pixels are fractions, which an input of uint8 would cut off, and
losses are computed from logits, which keep gradients where a probability has none left.
"""

import dataclasses
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from engine.base.config import UserError
from engine.networks import keyed_dropout, live_normalization

_LEAST_PROBABILITY = 1e-7  # of what a model gives as probabilities, before its logarithm


@dataclasses.dataclass(frozen=True)
class TrainingForm:
    """A model as it is trained.

    Attributes:
        network: float32[B, H, W, C] pixels in [0, 255] -> float32[B, units] logits.
        outputs: what the model itself gives, `logits` or `probabilities`.
        has_dropout: whether layers drop something in training.
        unkeyed: layers that draw random numbers from a state of their own.
    """

    network: keras.Model
    outputs: str
    has_dropout: bool = False
    unkeyed: tuple[str, ...] = ()

    @property
    def activation(self) -> str:
        """What makes probabilities of the logits: `sigmoid` of one unit, `softmax` of several."""
        return "sigmoid" if self.network.output_shape[-1] == 1 else "softmax"


def training_form(
    model: keras.Model,
    *,
    image_shape: tuple[int, int, int] | None = None,
    num_classes: int | None = None,
    outputs: str = "auto",
    synchronized: bool = False,
) -> TrainingForm:
    """The training form of any Keras model: functional, sequential or subclassed.

    Stock dropout draws by the examples' keys (see `keyed_dropout`). Call it in the strategy's scope, in
    which a model that is not built yet creates its variables.

    Args:
        image_shape: (height, width, channels); None for that of the model's input.
        num_classes: what the outputs must fit; None takes them as they are.
        outputs: what the model gives: `logits`, `probabilities`, or `auto` to see by its last
            activation (sigmoid and softmax give probabilities, none and linear logits).
        synchronized: batch normalization over all replicas' images rather than each one's own.

    Raises:
        UserError: the model does not take one image or give one row of outputs, they do not fit the
            number of classes, or `auto` cannot tell what they are.
    """
    _check_input(model, image_shape)
    pixels = keras.Input(
        image_shape or tuple(model.input_shape[1:]), dtype="float32", name="pixels"
    )
    if is_graph(model):
        _check_output(model.outputs, num_classes)
        logits, found = _logits_of(model, pixels, outputs)
    else:
        logits, found = _logits_of_opaque(model, pixels, outputs)
    _check_output([logits], num_classes)
    if logits.dtype != "float32":
        logits = ops.cast(logits, "float32")
    network = keras.Model(pixels, logits, name=f"{model.name}_training")
    keyed, unkeyed = keyed_dropout.draw_by_keys(network)
    live_normalization.follow_variables(network)
    if synchronized:
        for layer in network._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True
    return TrainingForm(network, found, bool(keyed), tuple(unkeyed))


def is_graph(model: Any) -> bool:
    """Whether the model is a graph of layers that can be walked, and no code of its own runs around it."""
    if isinstance(model, keras.Sequential):
        return model.built and type(model).call is keras.Sequential.call
    functional: Any = _functional_class()
    return isinstance(model, functional) and type(model).call is functional.call


def _functional_class() -> type:
    """The class of functional models, which Keras exports under no name."""
    inputs = keras.Input((1,))
    return type(keras.Model(inputs, inputs))


def _check_input(model: Any, image_shape: tuple[int, int, int] | None) -> None:
    inputs = getattr(model, "inputs", None)
    if inputs is None:
        if image_shape is None:
            raise UserError(f"the model {model.name!r} has no input shape; give the images'")
        return
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        shapes = ", ".join(str(tuple(one.shape)) for one in inputs)
        raise UserError(
            f"the model {model.name!r} takes {shapes}; expected one batch of images "
            "[B, height, width, channels]"
        )
    takes = tuple(inputs[0].shape[1:])
    if image_shape is not None and any(
        own not in (None, wanted) for own, wanted in zip(takes, image_shape, strict=True)
    ):
        raise UserError(
            f"the model {model.name!r} takes images of shape {takes}, the shards hold "
            f"{tuple(image_shape)}; build it for the image format that it is given"
        )


def _check_output(outputs: Any, num_classes: int | None) -> None:
    shapes = [tuple(one.shape) for one in outputs]
    units = shapes[0][-1] if len(shapes) == 1 and len(shapes[0]) == 2 else None
    if num_classes is None:
        fits, expected = units is not None, "[B, units]"
    else:
        fits = units == num_classes or (units == 1 and num_classes == 2)
        one = "[B, 1] or " if num_classes == 2 else ""
        expected = f"{one}[B, {num_classes}], for {num_classes} classes"
    if not fits:
        given = ", ".join(str(list(shape)).replace("None", "B") for shape in shapes)
        raise UserError(f"the model gives outputs of shape {given}; expected {expected}")


# ---------------------------------------------------------------------------- models that are graphs


def _logits_of(model: Any, pixels: Any, outputs: str) -> tuple[Any, str]:
    """The logits as a function of float32 pixels, and what the model gives."""
    graph = _as_functional(model)
    operation, node = _producer(graph.outputs[0])
    if isinstance(operation, keras.Model) and is_graph(operation):
        return _logits_of(operation, _run(graph, node.input_tensors[0], pixels), outputs)
    if outputs == "logits":
        return _run(graph, graph.outputs[0], pixels), outputs
    if _passes_through(operation):
        before = keras.Model(graph.inputs, node.input_tensors[0])
        return _logits_of(before, pixels, outputs)
    activation = _activation_of(operation)
    if activation in ("sigmoid", "softmax"):
        _check_units(graph.outputs[0], activation)
        before = _run(graph, node.input_tensors[0], pixels)
        if not _only_activates(operation):
            before = WithoutActivation(operation, name=f"{operation.name}_logits")(before)
        return before, "probabilities"
    if outputs == "probabilities":
        return _log(_run(graph, graph.outputs[0], pixels)), outputs
    if activation == "linear" or (
        _reduces(operation) and _activation_behind(graph.outputs[0]) == "linear"
    ):
        return _run(graph, graph.outputs[0], pixels), "logits"
    what = "" if activation is None else f", with the activation {activation}"
    raise UserError(
        f"the model ends in {operation.name!r} ({type(operation).__name__}{what}), which may give logits "
        "or probabilities; end it in softmax, sigmoid or no activation, or give --model-outputs"
    )


def _as_functional(model: Any) -> Any:
    """The graph of a model: one of Sequential is that of its layers in a row."""
    if not isinstance(model, keras.Sequential):
        return model
    inputs = x = keras.Input(batch_shape=model.inputs[0].shape, dtype=model.inputs[0].dtype)
    for layer in model.layers:
        x = layer(x)
    return keras.Model(inputs, x)


def _producer(tensor: Any) -> tuple[Any, Any]:
    """The operation that made a symbolic tensor, and the node of the graph where it did."""
    operation, node_index, _ = tensor._keras_history
    return operation, operation._inbound_nodes[node_index]


def _run(graph: Any, tensor: Any, pixels: Any) -> Any:
    """A tensor of a functional graph as a function of `pixels`, by the same layers.

    Graphs inside that take whole numbers are entered, for they would cut fractions off.
    """
    if tensor is graph.inputs[0]:
        return pixels
    part = keras.Model(graph.input, tensor)
    return keras.models.clone_model(
        part,
        input_tensors=_with_structure(graph.input, pixels),
        clone_function=lambda operation: operation,
        call_function=_call,
    ).outputs[0]


def _with_structure(structure: Any, tensor: Any) -> Any:
    if isinstance(structure, dict):
        return dict.fromkeys(structure, tensor)
    if isinstance(structure, (list, tuple)):
        return type(structure)([tensor])
    return tensor


def _call(operation: Any, *arguments: Any, **options: Any) -> Any:
    takes_integers = (
        isinstance(operation, keras.Model)
        and is_graph(operation)
        and "int" in operation.inputs[0].dtype
    )
    if takes_integers and len(arguments) == 1 and not isinstance(arguments[0], (list, dict)):
        graph = _as_functional(operation)
        return _run(graph, graph.outputs[0], arguments[0])
    return operation(*arguments, **options)


def _activation_of(operation: Any) -> str | None:
    """The name of the activation that an operation applies last; None where it has none to see."""
    if isinstance(operation, keras.layers.Softmax):
        return "softmax" if operation.axis in (-1, 1) else None
    if not isinstance(operation, keras.Layer):
        name = type(operation).__name__.lower()
        known = type(operation).__module__.startswith("keras.") and name in ("softmax", "sigmoid")
        if known and getattr(operation, "axis", -1) in (-1, 1):
            return name
        return "linear" if name in ("matmul", "einsum", "add", "subtract", "multiply") else None
    if not hasattr(operation, "activation"):
        return None
    activation = operation.activation
    if activation is None:
        return "linear"
    return getattr(activation, "__name__", type(activation).__name__)


def _only_activates(operation: Any) -> bool:
    """Whether an operation applies an activation and nothing else."""
    stock = (keras.layers.Activation, keras.layers.Softmax)
    return isinstance(operation, stock) or not isinstance(operation, keras.Layer)


def _passes_through(operation: Any) -> bool:
    """Whether an operation leaves values as they are, as the last one: a cast, an identity."""
    if isinstance(operation, keras.layers.Activation):
        return _activation_of(operation) == "linear"
    return isinstance(operation, keras.layers.Identity) or type(operation).__name__ == "Cast"


def _reduces(operation: Any) -> bool:
    """Whether an operation pools or reshapes: of logits it gives logits."""
    reducing = (
        keras.layers.Flatten,
        keras.layers.Reshape,
        keras.layers.GlobalAveragePooling2D,
        keras.layers.GlobalMaxPooling2D,
    )
    return isinstance(operation, reducing)


def _activation_behind(tensor: Any) -> str | None:
    operation, node = _producer(tensor)
    while _reduces(operation):
        operation, node = _producer(node.input_tensors[0])
    return _activation_of(operation)


def _check_units(tensor: Any, activation: str) -> None:
    units = tensor.shape[-1]
    if activation == "softmax" and units == 1:
        raise UserError(
            "the model ends in a softmax over one unit, which is always 1; use a sigmoid, or two units"
        )
    if activation == "sigmoid" and units != 1:
        raise UserError(
            f"the model ends in a sigmoid of {units} units, which is for labels that do not exclude one "
            "another; use a softmax (or one unit for two classes)"
        )


@keras.saving.register_keras_serializable(package="engine")
class WithoutActivation(keras.layers.Layer):
    """A layer called without the activation that it ends in; shares its variables."""

    def __init__(self, layer: Any, **options: Any) -> None:
        super().__init__(dtype=layer.dtype_policy, autocast=False, **options)
        self.layer = layer
        self.built = True

    def call(self, inputs: Any) -> Any:
        activation = self.layer.activation
        self.layer.activation = keras.activations.linear
        try:
            return self.layer(inputs)
        finally:
            self.layer.activation = activation

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.layer.compute_output_shape(input_shape)


# ---------------------------------------------------------------------------- models that are code


def _logits_of_opaque(model: Any, pixels: Any, outputs: str) -> tuple[Any, str]:
    if outputs == "auto":
        raise UserError(
            f"{type(model).__name__} computes its outputs in code, where its last activation cannot be "
            "seen; give --model-outputs logits or --model-outputs probabilities"
        )
    return _Opaque(model, outputs, name=f"{model.name}_logits")(pixels), outputs


@keras.saving.register_keras_serializable(package="engine")
class _Opaque(keras.layers.Layer):
    """A subclassed model, called as it is; its probabilities become logits again."""

    def __init__(self, model: Any, outputs: str, **options: Any) -> None:
        super().__init__(dtype="float32", autocast=False, **options)
        self._model, self._outputs = model, outputs

    def build(self, input_shape: Any) -> None:
        if not self._model.built:
            self._model(tf.zeros((1, *input_shape[1:])))

    def call(self, pixels: Any, training: bool = False) -> Any:
        takes = getattr(self._model, "inputs", None)
        if takes and "int" in takes[0].dtype:
            pixels = ops.cast(ops.round(pixels), takes[0].dtype)
        outputs = ops.cast(self._model(pixels, training=training), "float32")
        return outputs if self._outputs == "logits" else _log(outputs)


def _log(probabilities: Any) -> Any:
    """Logits that give these probabilities, float32[B, units]."""
    probabilities = ops.cast(probabilities, "float32")
    least = _LEAST_PROBABILITY
    logs = ops.log(ops.clip(probabilities, least, 1.0))
    if probabilities.shape[-1] > 1:
        return logs
    return logs - ops.log(ops.clip(1.0 - probabilities, least, 1.0))
