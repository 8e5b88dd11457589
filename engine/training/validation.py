"""The validation split, measured after every epoch and once more to calibrate and to choose a threshold."""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from scipy.special import expit, softmax

from engine.metrics import curves, predictions
from engine.training.history import Row
from engine.training.losses import Loss

Predict = Callable[[np.ndarray], np.ndarray]  # uint8[N, H, W, C] -> logits float32[N, units]


class Validation:
    """Measures a model on the validation split.

    Args:
        images: uint8[N, H, W, C].
        labels: int64[N].
        predict: gives logits without augmentation or dropout.
        loss: of each example, without label smoothing and class weights.
    """

    def __init__(
        self, images: np.ndarray, labels: np.ndarray, *, predict: Predict, loss: Loss
    ) -> None:
        self._images, self._labels = images, labels
        self._predict, self._loss = predict, loss

    def measure(self) -> Row:
        """`val_loss`, `val_accuracy`, `val_auroc` (NaN where it is not defined)."""
        return self.measured()[2]

    def measured(self) -> tuple[np.ndarray, np.ndarray, Row]:
        """What `log_odds` and `measure` give, by one pass over the images."""
        labels, logits = self._labels, self._predict(self._images)
        log_odds = predictions.log_odds(logits)
        loss = float(tf.reduce_mean(self._loss(labels, tf.constant(logits))))
        predicted = predictions.predict_labels(_as_probabilities(logits))
        auroc = curves.mean_auroc(labels, log_odds)
        figures = {
            "val_loss": loss,
            "val_accuracy": float((predicted == labels).mean()),
            "val_auroc": math.nan if auroc is None else auroc,
        }
        return labels, log_odds, figures

    def log_odds(self) -> tuple[np.ndarray, np.ndarray]:
        """Labels int64[N], and the model's log-odds float64[N], or [N, K] with more than two classes."""
        return self._labels, predictions.log_odds(self._predict(self._images))


def _as_probabilities(logits: np.ndarray) -> np.ndarray:
    """float32[N, units] -> float[N, K]."""
    found = expit(logits) if logits.shape[1] == 1 else softmax(logits, axis=1)
    return predictions.as_probabilities(found)
