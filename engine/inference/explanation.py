"""Where in an image a network found what it predicts: Grad-CAM maps, and how they are shown.

Selvaraju et al., Grad-CAM: visual explanations from deep networks via gradient-based localization,
2017 (https://arxiv.org/abs/1610.02391). A map is coarse, as coarse as the last feature map, and says
where the evidence lay, not whether it is right.
"""

from typing import Any

import numpy as np
from matplotlib import colormaps
from PIL import Image

from engine.base.config import UserError

LAYER = "last_convolution"
_STRONGEST = 0.65  # opacity of the strongest evidence
# Perceptually even and legible to colour-blind readers; "jet" shows edges where there are none.
_COLOURS = "inferno"


class GradCam:
    """Maps of the evidence for a class, by gradients into the last feature map.

    Args:
        model: a Keras model from uint8[B, H, W, C] to probabilities [B, 1] or [B, K], one of whose
            layers is called `last_convolution` and gives [B, h, w, channels].

    Raises:
        UserError: no layer has that name.
    """

    def __init__(self, model: Any, *, layer: str = LAYER) -> None:
        import keras
        import tensorflow as tf

        names = [one.name for one in model.layers]
        if layer not in names:
            raise UserError(
                f"the model has no layer {layer!r}, whose output an explanation is drawn from; "
                f"its layers are {', '.join(names)}"
            )
        self._outputs = keras.Model(
            model.inputs, [model.get_layer(layer).output, _score_tensor(model, names)]
        )
        self._has_logits = "logits" in names
        self._compiled = tf.function(self._weighted_features, autograph=False)

    def __call__(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Evidence for one class per image, relative to the strongest place in that image.

        Args:
            images: uint8[B, H, W, C].
            classes: int[B], the class to explain in each.

        Returns:
            float32[B, h, w] in [0, 1]; all zero where nothing speaks for the class.
        """
        maps = self._compiled(images, np.asarray(classes, np.int64)).numpy()
        strongest = maps.max(axis=(1, 2), keepdims=True)
        return maps / np.maximum(strongest, 1e-12)

    def _weighted_features(self, images: Any, classes: Any) -> Any:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            # What depends on nothing watched is not recorded, and frozen weights are not by default.
            tape.watch([v.value for v in self._outputs.variables if "float" in v.dtype])
            features, scores = self._outputs(images, training=False)
            score = tf.reduce_sum(self._class_scores(scores, classes))
        gradients = tf.cast(tape.gradient(score, features), tf.float32)
        weights = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
        return tf.nn.relu(tf.reduce_sum(weights * tf.cast(features, tf.float32), axis=-1))

    def _class_scores(self, scores: Any, classes: Any) -> Any:
        """[B]: the logit of each image's class, or its log probability where there is no logit."""
        import tensorflow as tf

        scores = tf.cast(scores, tf.float32)
        if scores.shape[-1] == 1:
            positive = scores[:, 0]
            if self._has_logits:
                return tf.where(classes == 1, positive, -positive)
            own = tf.where(classes == 1, positive, 1 - positive)
            return tf.math.log(own + 1e-7)
        own = tf.gather(scores, classes, batch_dims=1)
        return own if self._has_logits else tf.math.log(own + 1e-7)


def _score_tensor(model: Any, names: list[str]) -> Any:
    """The logits where they have a layer; a saturated probability has no gradient left."""
    return model.get_layer("logits").output if "logits" in names else model.output


def overlay(image: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """Lays a map over its image, more opaque where the evidence is stronger.

    Args:
        image: uint8[H, W, C], C being 1 or 3.
        evidence: float[h, w] in [0, 1], resized to the image.

    Returns:
        uint8[H, W, 3]; where the evidence is zero, the image's own pixels.
    """
    height, width = image.shape[:2]
    coarse = Image.fromarray(np.asarray(evidence, np.float32))
    fine = np.clip(np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)), 0, 1)
    colours = colormaps[_COLOURS](fine)[..., :3] * 255
    opacity = fine[..., None] * _STRONGEST
    blended = as_rgb(image) * (1 - opacity) + colours * opacity
    return np.clip(np.round(blended), 0, 255).astype(np.uint8)


def as_rgb(image: np.ndarray) -> np.ndarray:
    """uint8[H, W, 1 or 3] -> uint8[H, W, 3]."""
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
