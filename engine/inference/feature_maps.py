"""The feature maps inside a Keras model: found by running it, whatever it is made of.

A feature map is what a layer gives as [B, h, w, C], with more than one place, behind at least one layer with
weights. Layers are named by their path, such as `conv1` or `resnet50v2/post_relu`: nested models and
layers inside layers are entered.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from engine.base.config import UserError
from engine.base.setting_names import closest
from engine.base.wording import counted
from engine.networks import layer_paths

Observer = Callable[[str, Any, Any], None]  # (path, layer, output)
_MOST_NAMES = 12


def find(model: Any) -> list[str]:
    """The paths of the layers that give feature maps, in the order in which they are computed.

    Args:
        model: a Keras model with a known input shape and dtype.
    """
    paths: dict[str, None] = {}
    weighted = False

    def note(path: str, layer: Any, output: Any) -> None:
        nonlocal weighted
        weighted = weighted or bool(getattr(layer, "weights", None))
        if weighted and is_feature_map(output):
            paths.pop(path, None)  # of a layer that is called twice, the last call counts
            paths[path] = None

    trace(model, note)
    return list(paths)


def last_of_each_size(model: Any) -> list[str]:
    """The paths of the last feature map of each height and width, in the order in which they are computed.

    Of layers where there are any; operations such as a cast of a layer's output only where there are none.
    """
    import keras

    known = set(find(model))
    last: dict[tuple[bool, tuple[int, int]], str] = {}

    def note(path: str, layer: Any, output: Any) -> None:
        if path in known:
            key = isinstance(layer, keras.Layer), tuple(output.shape[1:3])
            last.pop(key, None)
            last[key] = path

    trace(model, note)
    of_layers = {size for is_layer, size in last if is_layer}
    return [path for (is_layer, size), path in last.items() if is_layer or size not in of_layers]


def values(model: Any, paths: Sequence[str], images: Any) -> dict[str, Any]:
    """The feature maps of images at these paths, float32[B, h, w, C]; images as the model takes them."""
    import tensorflow as tf

    found: dict[str, Any] = {}

    def note(path: str, layer: Any, output: Any) -> None:
        if path in paths:
            found[path] = output

    with observed(model, note):
        model(images, training=False)
    return {path: tf.cast(found[path], tf.float32).numpy() for path in paths}


def trace(model: Any, note: Observer) -> None:
    """Has `note` get what each layer gives for one image, as symbolic tensors, in the order of computing.

    Args:
        model: a Keras model with a known input shape and dtype.
    """
    import tensorflow as tf

    def run(images: Any) -> Any:
        with observed(model, note):
            return model(images, training=False)

    taken = model.inputs[0]
    specification = tf.TensorSpec((1, *taken.shape[1:]), taken.dtype)
    tf.function(run, autograph=False).get_concrete_function(specification)


def choose(paths: list[str], layer: str | None, *, what: str = "feature map") -> str:
    """The path that a name means; without a name, the last one.

    Args:
        layer: a path or, where that is enough to tell it, the end of one.
        what: what the paths are of, for messages.

    Raises:
        UserError: there is no such feature map, or there are several, or none at all.
    """
    if not paths:
        raise UserError(
            "the model has no feature map [B, h, w, C] behind its first weights, from which an "
            "explanation could be drawn"
        )
    if layer is None:
        return paths[-1]
    if layer in paths:
        return layer
    ending = [path for path in paths if path.endswith(f"/{layer}")]
    if len(ending) == 1:
        return ending[0]
    if ending:
        raise UserError(f"--layer {layer}: means several of the model's: {', '.join(ending)}")
    meant = closest(layer, [*paths, *(path.rpartition("/")[2] for path in paths)])
    hint = f" (did you mean {meant}?)" if meant else ""
    unnamed = len(paths) - _MOST_NAMES
    earlier = f"{counted(unnamed, 'earlier one')}, " if unnamed > 0 else ""
    raise UserError(
        f"--layer: the model has no {what} {layer!r}{hint}; it has "
        f"{earlier}{', '.join(paths[-_MOST_NAMES:])}"
    )


def is_feature_map(output: Any) -> bool:
    """Whether a layer's output is one tensor [B, h, w, C] with more than one place."""
    shape = getattr(output, "shape", None)
    if shape is None or len(shape) != 4 or not getattr(output.dtype, "is_floating", False):
        return False
    return shape[1] is None or shape[2] is None or shape[1] * shape[2] > 1


@contextlib.contextmanager
def observed(model: Any, note: Observer) -> Iterator[None]:
    """Within the block `note` gets every output of the model's layers, as they are computed.

    Also of layers that a subclassed model calls in its own code.
    """
    watched = []
    for path, layer in layer_paths.walk(model):
        own = vars(layer).get("call")  # where another part of the engine replaced it
        watched.append((layer, own))
        layer.call = _noting(path, layer, note)
    try:
        yield
    finally:
        for layer, own in reversed(watched):  # a shared layer is there twice
            if own is None:
                del vars(layer)["call"]
            else:
                layer.call = own


def _noting(path: str, layer: Any, note: Observer) -> Callable[..., Any]:
    """The layer's `call` that also notes what it gives."""
    call = layer.call

    @functools.wraps(call)
    def noting(*arguments: Any, **options: Any) -> Any:
        output = call(*arguments, **options)
        note(path, layer, output)
        return output

    return noting


def class_scores(logits: Any, probabilities: Any, classes: Any) -> Any:
    """[B]: the logit of each image's class, or its log probability where there are no logits."""
    import tensorflow as tf

    scores = tf.cast(probabilities if logits is None else logits, tf.float32)
    if scores.shape[-1] == 1:
        positive = scores[:, 0]
        if logits is not None:
            return tf.where(classes == 1, positive, -positive)
        own = tf.where(classes == 1, positive, 1 - positive)
        return tf.math.log(own + 1e-7)
    own = tf.gather(scores, classes, batch_dims=1)
    return own if logits is not None else tf.math.log(own + 1e-7)
