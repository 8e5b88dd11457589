"""The layers and variables inside a Keras model, by paths that two builds of one network share.

    conv1                   a layer of the model
    resnet50v2/post_relu    a layer of a model inside it
    conv2d_1/kernel         a variable of the second Conv2D that was given no name

Keras numbers layers without a name over the whole process, so the numbers depend on what was built
before; here they are numbered among their neighbours.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

_RANDOM_STATE = "seed_generator_state"


def walk(layer: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Everything that computes inside a model, with its path by Keras' own names.

    Layers and `keras.ops` operations alike; graphs and layers are entered, and graphs themselves are
    not given.
    """
    for child in children(layer):
        path = f"{prefix}{child.name}"
        if not is_graph(child):
            yield path, child
        yield from walk(child, f"{path}/")


def children(layer: Any) -> list[Any]:
    """The operations that a graph consists of, inputs apart, or the layers inside a layer."""
    import keras

    graph = _graph(layer)
    if hasattr(graph, "operations"):
        return [one for one in graph.operations if not isinstance(one, keras.layers.InputLayer)]
    if hasattr(layer, "_flatten_layers"):
        return list(layer._flatten_layers(include_self=False, recursive=False))
    return []


def is_graph(layer: Any) -> bool:
    """Whether it is a functional or sequential model."""
    return hasattr(_graph(layer), "operations")


def named_variables(model: Any) -> dict[str, Any]:
    """The model's variables in their order, by path; states of random generators left out."""
    names = {id(variable): path for path, variable in _owned(model, "")}
    return {
        names.get(id(variable), variable.path): variable
        for variable in model.variables
        if _RANDOM_STATE not in variable.path
    }


def variable_names(model: Any) -> list[str | None]:
    """The name of each of `model.variables`, as `named_variables` gives it; None of random states."""
    names = {id(variable): name for name, variable in named_variables(model).items()}
    return [names.get(id(variable)) for variable in model.variables]


def _graph(layer: Any) -> Any:
    """What a Sequential runs; any other layer itself."""
    return getattr(layer, "_functional", None) or layer


def _owned(model: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    # From the outside in: the innermost owner names it.
    for path, layer in _numbered(model, prefix):
        for variable in getattr(layer, "variables", ()):
            yield f"{path}/{variable.name}", variable


def _numbered(layer: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """As `walk`, graphs included, with layers that Keras named numbered among their neighbours."""
    seen: Counter[str] = Counter()
    for child in children(layer):
        name, given_by_keras = child.name, _keras_name(type(child).__name__)
        if re.fullmatch(rf"{re.escape(given_by_keras)}(_\d+)?", name):
            number = seen[given_by_keras]
            seen[given_by_keras] += 1
            name = f"{given_by_keras}_{number}" if number else given_by_keras
        yield f"{prefix}{name}", child
        yield from _numbered(child, f"{prefix}{name}/")


def _keras_name(class_name: str) -> str:
    """`SpatialDropout2D` -> `spatial_dropout2d`."""
    name = re.sub(r"\W+", "", class_name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
