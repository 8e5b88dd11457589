"""Where the features of `--pooling statistics` come from: the evidence of all pooled feature maps together.

Such a classifier takes mean and deviation of several maps. Grad-CAM of the last one would show little of what
it decides by: the gradients of a deviation add up to zero over a map. But behind statistics the score is a
weighted sum, so it can be divided among places exactly, as class activation mapping does for means of one map
(Zhou et al., Learning deep features for discriminative localization, 2016, https://arxiv.org/abs/1512.04150):

    mean        A(x) / N
    deviation   (A(x) - mean)^2 / (N * deviation)

for each channel A of a map of N places, less what an average training image has there, times the weight that
the score gives to it. The places of a map add up to what its features contribute to the score.
"""

from typing import Any

import numpy as np

from engine.inference import feature_maps
from engine.inference.evidence import Explainer
from engine.networks.ends import LOGITS, STANDARDIZE
from engine.networks.pooling import STATISTICS

_SMOOTHING = 0.5  # places, a standard deviation; chosen on phantoms that no network was trained on


class PooledEvidence(Explainer):
    """Maps of the evidence for a class, of all maps whose statistics a classifier takes.

    Args:
        model: as `grad_cam.GradCam` takes it; one that `applies` to.
    """

    name = "score divided among places"
    unit = "log-odds"

    def __init__(self, model: Any) -> None:
        import keras
        import tensorflow as tf

        statistics = model.get_layer(STATISTICS)
        self.layer = STATISTICS
        self._maps = pooled_maps(statistics)
        standardize = _layer(model, STANDARDIZE)
        self._average = None if standardize is None else standardize.moving_mean
        logits = model.get_layer(LOGITS).output
        self._parts = keras.Model(model.input, [statistics.output, logits, *self._maps])
        self._compiled = tf.function(self._evidence, autograph=False)

    def evidence(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """As `Explainer.evidence`, as fine as the smallest of the maps.

        The contributions are smoothed first, by half a place: what a place contributes comes from more of the image than
        it covers, and large contributions of neighbours cancel. Outside the image there are none.
        """
        from scipy import ndimage

        contributions = self.contributions(images, classes)
        smooth = ndimage.gaussian_filter(
            contributions, (0, _SMOOTHING, _SMOOTHING), mode="constant"
        )
        return np.maximum(smooth, 0)

    def contributions(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """What each place adds to the score of a class, or takes from it, float32[B, h, w].

        Together they are the class's logit (of one unit and class 0, minus the logit), less what an average
        training image would get.
        """
        return np.asarray(self._compiled(images, np.asarray(classes, np.int64)))

    def _evidence(self, images: Any, classes: Any) -> Any:
        import tensorflow as tf

        from engine.networks.layers import averaged_down

        with tf.GradientTape() as tape:
            tape.watch([v.value for v in self._parts.variables if "float" in v.dtype])
            features, logits, *maps = self._parts(images, training=False)
            score = tf.reduce_sum(feature_maps.class_scores(logits, None, classes))
        # Of a weighted sum, the gradients are the weights.
        weights = tf.cast(tape.gradient(score, features), tf.float32)
        average = tf.zeros(features.shape[-1]) if self._average is None else self._average
        height, width = min((m.shape[1:3] for m in maps), key=lambda size: size[0] * size[1])
        start, total = 0, 0.0
        for feature_map in maps:
            channels = feature_map.shape[-1]
            for part in _parts_of(tf.cast(feature_map, tf.float32)):
                own = slice(start, start + channels)
                surplus = part - tf.reshape(average[own], [1, 1, 1, -1])
                shared = tf.einsum("bhwc,bc->bhw", surplus, weights[:, own])
                # Places were means over the map; coarse places are to be sums over it.
                total += averaged_down(shared[..., None], height, width)[..., 0] / (height * width)
                start += channels
        return total


def applies(model: Any) -> bool:
    """Whether a model's classifier takes statistics of maps, and gives logits."""
    return all(_layer(model, name) is not None for name in (STATISTICS, LOGITS))


def pooled_maps(statistics: Any) -> list[Any]:
    """The tensors [B, h, w, C] whose mean and deviation a layer of `pooling.statistics` joins, in order."""
    found = []
    for joined in statistics.input[::2]:  # a map's mean; its deviation follows
        tensor = joined
        while len(tensor.shape) != 4:
            tensor = tensor._keras_history.operation.input
        found.append(tensor)
    return found


def _parts_of(feature_map: Any) -> tuple[Any, Any]:
    """What each place gives to mean and deviation, float32[B, h, w, C] each, whose means these are."""
    import tensorflow as tf

    mean, variance = tf.nn.moments(feature_map, (1, 2), keepdims=True)
    return feature_map, (feature_map - mean) ** 2 / tf.sqrt(variance + 1e-6)


def _layer(model: Any, name: str) -> Any:
    return next((layer for layer in model.layers if layer.name == name), None)
