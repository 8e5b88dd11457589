"""How the feature maps of a built-in network become the features of its classifier.

    average       mean over space of the last feature map
    statistics    mean and deviation over space of the map behind every block and of the last one, in
                  float32, standardized by the mean and variance of each feature over the training images

The deviation of a map tells texture, which the middle of a network sees best. The features of `statistics`
are in the order of the blocks, and of each its means before its deviations.
"""

from collections.abc import Sequence
from typing import Any

from engine.networks.ends import STANDARDIZE

AVERAGE, STATISTICS = "average", "statistics"
_SPACE = (1, 2)
_LEAST_VARIANCE = 1e-6  # added to a map's variance, and to that of a feature


def features(last_map: Any, block_maps: Sequence[Any], *, pooling: str, dropout: float) -> Any:
    """What the classifier takes, [B, F].

    Args:
        last_map: [B, h, w, C].
        block_maps: [B, h, w, C] behind every block, from the first to the last.
        pooling: `average` or `statistics`.
        dropout: the share of features that is dropped in training.
    """
    from keras import layers

    if pooling == AVERAGE:
        x = layers.GlobalAveragePooling2D(name="average")(last_map)
        return layers.Dropout(dropout, name="dropout")(x)
    x = _standardized(statistics([*block_maps, last_map]))
    return layers.Dropout(dropout, dtype="float32", name="dropout")(x)


def statistics(maps: Sequence[Any]) -> Any:
    """Mean and deviation over space of every channel: [B, h, w, C] each -> float32[B, 2 * all channels]."""
    from keras import layers, ops

    found = []
    for feature_map in maps:
        mean, variance = ops.moments(ops.cast(feature_map, "float32"), axes=_SPACE)
        found += [mean, ops.sqrt(variance + _LEAST_VARIANCE)]
    return layers.Concatenate(dtype="float32", name=STATISTICS)(found)


def _standardized(x: Any) -> Any:
    """(x - mean) / sqrt(variance), of a mean and a variance that training does not move.

    At first they are 0 and 1. A layer of `Normalization` would not do: what it computes with are constants
    beside its weights, which assigning to the weights does not change, nor in what is compiled already.
    """
    from keras import layers

    return layers.BatchNormalization(
        center=False,
        scale=False,
        epsilon=_LEAST_VARIANCE,
        trainable=False,
        dtype="float32",
        name=STANDARDIZE,
    )(x)
