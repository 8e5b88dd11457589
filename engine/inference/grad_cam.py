"""Evidence by the gradients of a class's score into a feature map: Grad-CAM and Grad-CAM++.

    Grad-CAM     weight of a channel = mean of its gradients
                 Selvaraju et al., Grad-CAM: visual explanations from deep networks via gradient-based
                 localization, 2017 (https://arxiv.org/abs/1610.02391)
    Grad-CAM++   weight of a channel = sum of its positive gradients g, each times
                 g^2 / (2 g^2 + g^3 * sum of the channel), which is 1 / (2 + g * sum of the channel)
                 Chattopadhay et al., Grad-CAM++: generalized gradient-based visual explanations for deep
                 convolutional networks, 2018 (https://arxiv.org/abs/1710.11063), whose score is the exponential
                 of the one here; what that multiplies all gradients by is left out, as all places share it

A map is the positive part of the weighted sum of the channels, as coarse as the feature map.
"""

from typing import Any

import numpy as np

from engine.inference import feature_maps
from engine.inference.evidence import Explainer
from engine.networks.ends import LOGITS

_TINY = 1e-12


class GradCam(Explainer):
    """Maps of the evidence for a class, by gradients into a feature map.

    Args:
        model: any Keras model from uint8[B, H, W, C] to probabilities [B, 1] or [B, K]. A layer of it
            called `logits` is differentiated where there is one, as a saturated probability has no
            gradient left.
        layer: the feature map, by its path; see `feature_maps.find`. None for the last one.

    Raises:
        UserError: the model has no feature map of that name, or none at all.
    """

    name = "Grad-CAM"
    unit = "weighted activation"

    def __init__(self, model: Any, *, layer: str | None = None) -> None:
        import tensorflow as tf

        self._model = model
        self.layer: str = feature_maps.choose(feature_maps.find(model), layer)
        self._compiled = tf.function(self._weighted_features, autograph=False)

    def evidence(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """As `Explainer.evidence`, as coarse as the feature map."""
        return np.asarray(self._compiled(images, np.asarray(classes, np.int64)))

    def _weighted_features(self, images: Any, classes: Any) -> Any:
        import tensorflow as tf

        found: dict[str, Any] = {}

        def note(path: str, layer: Any, output: Any) -> None:
            if path in (self.layer, LOGITS):
                found[path] = output

        with tf.GradientTape() as tape, feature_maps.observed(self._model, note):
            # What depends on nothing watched is not recorded, and frozen weights are not by default.
            tape.watch([v.value for v in self._model.variables if "float" in v.dtype])
            probabilities = self._model(images, training=False)
            scores = feature_maps.class_scores(found.get(LOGITS), probabilities, classes)
            score = tf.reduce_sum(scores)
        features = found[self.layer]
        gradients = tf.cast(tape.gradient(score, features), tf.float32)
        features = tf.cast(features, tf.float32)
        weights = self._channel_weights(features, gradients)
        return tf.nn.relu(tf.reduce_sum(weights * features, axis=-1))

    def _channel_weights(self, features: Any, gradients: Any) -> Any:
        """float32[B, 1, 1, C] from features and gradients, float32[B, h, w, C]."""
        import tensorflow as tf

        return tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)


class GradCamPlusPlus(GradCam):
    """As `GradCam`, by weights in which places of strong gradients count for more."""

    name = "Grad-CAM++"

    def _channel_weights(self, features: Any, gradients: Any) -> Any:
        import tensorflow as tf

        sums = tf.reduce_sum(features, axis=(1, 2), keepdims=True)
        divisor = 2 + gradients * sums
        shares = tf.where(divisor > _TINY, 1 / tf.maximum(divisor, _TINY), 0.0)
        return tf.reduce_sum(shares * tf.nn.relu(gradients), axis=(1, 2), keepdims=True)
