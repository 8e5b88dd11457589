"""Where in an image a network found what it predicts: Grad-CAM maps, and how they are shown.

Selvaraju et al., Grad-CAM: visual explanations from deep networks via gradient-based localization,
2017 (https://arxiv.org/abs/1610.02391). A map is coarse, as coarse as the last feature map, and says
where the evidence lay, not whether it is right. Of classifiers on statistics of several maps see
`pooled_evidence`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib import colormaps
from PIL import Image

from engine.base import files
from engine.inference import feature_maps, pooled_evidence
from engine.inference.ensemble import EnsemblePredictor
from engine.inference.pooled_evidence import PooledEvidence
from engine.inference.predictor import Predictor
from engine.networks import registry
from engine.networks.ends import LOGITS
from engine.runs.run_directory import RunDirectory

_STRONGEST = 0.65  # opacity of the strongest evidence
# Perceptually even and legible to colour-blind readers; "jet" shows edges where there are none.
_COLOURS = "inferno"


class GradCam:
    """Maps of the evidence for a class, by gradients into a feature map.

    Args:
        model: any Keras model from uint8[B, H, W, C] to probabilities [B, 1] or [B, K]. A layer of it
            called `logits` is differentiated where there is one, as a saturated probability has no
            gradient left.
        layer: the feature map, by its path; see `feature_maps.find`. None for the last one.

    Attributes:
        layer: the path of the feature map.

    Raises:
        UserError: the model has no feature map of that name, or none at all.
    """

    def __init__(self, model: Any, *, layer: str | None = None) -> None:
        import tensorflow as tf

        self._model = model
        self.layer = feature_maps.choose(feature_maps.find(model), layer)
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
        return feature_maps.relative(maps)

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
        weights = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
        return tf.nn.relu(tf.reduce_sum(weights * tf.cast(features, tf.float32), axis=-1))


def of_model(
    model: Any, *, layer: str | None = None, default: str | None = None
) -> GradCam | PooledEvidence:
    """What a model's evidence is found by.

    Args:
        layer: a feature map, for its Grad-CAM; None for all that the classifier takes.
        default: the feature map where that is the mean of one; None for the last one.

    Raises:
        UserError: as `GradCam`.
    """
    if layer is None and pooled_evidence.applies(model):
        return PooledEvidence(model)
    return GradCam(model, layer=layer or default)


def of_predictor(
    predictor: Predictor, *, layer: str | None = None, default: str | None = None
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """What a run's evidence is found by, as by `of_model`; of an ensemble, the mean over its members.

    Raises:
        UserError: as `GradCam`.
    """
    if not isinstance(predictor, EnsemblePredictor):
        return of_model(predictor.model, layer=layer, default=default)
    explainers = [of_model(one.model, layer=layer, default=default) for one in predictor.members]
    return lambda images, classes: np.mean([one(images, classes) for one in explainers], axis=0)


def named_layer(run: RunDirectory) -> str | None:
    """The layer that a built-in network names for explanations; None for the last feature map."""
    try:
        name = str(files.read_json(run.config)["model"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    network = registry.built_in().get(name)
    return None if network is None else network.explained_layer


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
