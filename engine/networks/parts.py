"""The parts of any network that are fine-tuned apart: the head, and the stages of the body before it.

head    the last dense layer and what comes behind it; without one, the last layer with weights
body    everything before
stage   the layers of the body between two reductions of the feature map; of a network without a
        feature map the whole body is one
"""

import dataclasses
from typing import Any

import keras

from engine.base.config import UserError
from engine.base.setting_names import did_you_mean
from engine.networks import layer_paths


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a layer lies in its network.

    Attributes:
        path: by the names of the layer and of the models that it lies in.
        stages_to_head: 0 in the head, 1 in the body's last stage, 2 in the one before it ...
    """

    path: str
    layer: Any
    stages_to_head: int

    @property
    def in_head(self) -> bool:
        """Whether the layer is part of the head."""
        return self.stages_to_head == 0


def places(network: keras.Model) -> list[Place]:
    """Everything that computes in a network, in its order, with its place."""
    walked = list(layer_paths.walk(network))
    head = _first_of_head([layer for _, layer in walked])
    stages = _stages([layer for _, layer in walked[:head]])
    last = max(stages, default=0)
    distances = [last + 1 - stage for stage in stages] + [0] * (len(walked) - head)
    return [
        Place(path, layer, distance)
        for (path, layer), distance in zip(walked, distances, strict=True)
    ]


def own_weights(layer: Any) -> list[Any]:
    """The trainable weights of a layer, without those of layers inside it."""
    return [one for one in getattr(layer, "_trainable_variables", ()) if one.trainable]


def find(network_places: list[Place], name: str) -> int:
    """The number of the first place that a user's name means.

    Args:
        name: a path, the name of a layer, or the beginning of either.

    Raises:
        UserError: there is none.
    """
    paths = [place.path for place in network_places]
    names = [path.rpartition("/")[2] for path in paths]
    tests = (
        lambda one: one == name,
        lambda one: one.startswith(name),
    )
    for fits in tests:
        for index, pair in enumerate(zip(paths, names, strict=True)):
            if any(map(fits, pair)):
                return index
    with_weights = [place.path for place in network_places if own_weights(place.layer)]
    raise UserError(
        f"--fine-tune-from: the network has no layer {name!r}{did_you_mean(name, names)} (its layers with "
        f"weights are {', '.join(with_weights[:2])}, ..., {with_weights[-1]})"
    )


def _first_of_head(layers: list[Any]) -> int:
    dense = [i for i, layer in enumerate(layers) if isinstance(layer, keras.layers.Dense)]
    weighted = [i for i, layer in enumerate(layers) if own_weights(layer)]
    return (dense or weighted or [0])[-1]


def _stages(body: list[Any]) -> list[int]:
    """The number of each layer's stage; only stages with weights are counted."""
    stages, stage, smallest, has_weights = [], 0, None, False
    for layer in body:
        size = _map_size(layer)
        if size is not None and (smallest is None or size < smallest):
            stage += has_weights
            smallest, has_weights = size, False
        has_weights = has_weights or bool(own_weights(layer))
        stages.append(stage)
    return stages


def _map_size(operation: Any) -> int | None:
    """Positions of the feature map that an operation gives; None where it gives none that is known."""
    nodes = getattr(operation, "_inbound_nodes", None)
    if not nodes:
        return None
    shape = tuple(nodes[-1].output_tensors[0].shape)
    if len(shape) != 4:
        return None
    is_first = getattr(operation, "data_format", None) == "channels_first"
    height, width = shape[2:] if is_first else shape[1:3]
    # A map of one position is a mean or a gate over all others, not a reduction of the map.
    return None if None in (height, width) or height * width == 1 else int(height * width)
