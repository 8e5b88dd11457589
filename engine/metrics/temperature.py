"""From a model's own log-odds to calibrated ones: the temperature, and the share of each class.

    calibrated = own / temperature + logit(prevalence) - logit(prior)

for two classes; for more, the same on logits, class by class, before the softmax. The temperature
(Guo et al., On calibration of modern neural networks, 2017) is fitted on validation when training
ends. The prior is the share of each class that training implied: alike under balanced class
weights or sampling, else that of the training split. Without a prevalence the last two terms are
left out, and probabilities are those of a place where classes are as frequent as in the prior.

log_odds  float[N] of the positive class, or float[N, K] of each class against the rest
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.base import schema
from engine.base.config import UserError
from engine.base.schema import Rule
from engine.base.setting_values import parse_prevalence
from engine.metrics import predictions

Array = np.ndarray

# Temperatures outside of these say that the fit means nothing, not how sure a model is.
LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.05, 20.0
_LARGEST_FITTED = 100.0  # log-odds beyond this are fitted as if they were this large


@dataclasses.dataclass(frozen=True)
class Calibration:
    """How a model's own log-odds become calibrated ones.

    Attributes:
        temperature: what log-odds are divided by; above 1 the model was too sure.
        prior: the share of each class that training implied, K numbers that sum to 1; None where it
            is not known.
    """

    temperature: float = 1.0
    prior: tuple[float, ...] | None = None

    def log_odds(self, log_odds: Array, prevalence: Sequence[float] | None = None) -> Array:
        """Calibrated log-odds, of the shape of the model's own.

        Args:
            log_odds: float[N] or float[N, K], the model's own.
            prevalence: the share of each class where the model is used, as `prevalence_of` gives
                it; None leaves the prior as it was.

        Raises:
            UserError: a prevalence is given and the prior is not known.
        """
        scaled = as_logits(log_odds) / self.temperature
        return predictions.log_odds(scaled + self.logit_shifts(prevalence, scaled.shape[1]))

    def moved(self, calibrated: Array, prevalence: Sequence[float]) -> Array:
        """Log-odds that are calibrated already, at the prior, brought to a prevalence.

        Raises:
            UserError: the prior is not known.
        """
        return dataclasses.replace(self, temperature=1.0).log_odds(calibrated, prevalence)

    def threshold(self, threshold: float, prevalence: Sequence[float] | None) -> float:
        """The threshold on the positive class that decides alike under another prevalence.

        A prevalence changes what a probability means, not which images look positive: sensitivity
        and specificity, by which thresholds are chosen, stay what they were.
        """
        if prevalence is None or not 0 < threshold < 1:
            return threshold
        shift = float(self.logit_shifts(prevalence, 1)[0])
        if not shift:
            return threshold  # there and back through log-odds may differ in the last bit
        return float(predictions.probabilities(np.array(_logit(threshold) + shift)))

    def own_threshold(self, threshold: float) -> float:
        """The threshold on the model's own probability that decides as this calibrated one."""
        if not 0 < threshold < 1:
            return threshold
        return float(predictions.probabilities(np.array(_logit(threshold) * self.temperature)))

    def logit_shifts(self, prevalence: Sequence[float] | None, columns: int) -> Array:
        """float[columns]: what a prevalence adds to logits of one column or of K."""
        if prevalence is None:
            return np.zeros(columns)
        if self.prior is None:
            raise UserError(
                "--prevalence: this run does not say which share of each class its training "
                "implied, as a run of an earlier version; engine.train --resume on the same run (of "
                "several that are averaged, on each) adds it"
            )
        shifts = np.log(np.asarray(prevalence)) - np.log(np.asarray(self.prior))
        return shifts[1:] - shifts[:1] if columns == 1 else shifts

    def to_json(self) -> dict[str, Any]:
        """The value of `calibration` in `inference.json`."""
        prior = None if self.prior is None else list(self.prior)
        return {"temperature": self.temperature, "prior": prior}

    @classmethod
    def from_json(cls, values: Any, *, where: str = "") -> "Calibration":
        """The inverse of `to_json`.

        Args:
            where: the place of the values in their file, with a dot at its end, for messages.

        Raises:
            SchemaError: a value is missing, unknown, or out of its range.
        """
        schema.require(values, _RULES, where=where)
        prior = values["prior"]
        return cls(
            temperature=float(values["temperature"]),
            prior=None if prior is None else tuple(float(share) for share in prior),
        )


def fit_temperature(
    labels: Array, log_odds: Array, *, prior: Sequence[float] | None = None
) -> float:
    """The temperature that calibrates best: of the least cross-entropy on held-out examples.

    Labels are smoothed by the number of examples of a class (Platt, Probabilistic outputs for
    support vector machines, 1999): of n examples, a class is given (n + 1) / (n + K), each other
    one 1 / (n + K). So where the classes are separated the temperature is finite, and
    probabilities are no surer than so many examples allow. It lies between 0.05 and 20, and
    changes neither the order of binary scores nor the largest class.

    Args:
        labels: int[N].
        log_odds: float[N], or float[N, K] with more than two classes.
        prior: the share of each class that the log-odds hold for; examples are weighted to it, so
            that the temperature corrects how sure the model is, and not how frequent classes are.
            None leaves the examples as frequent as they are.

    Raises:
        UserError: the arrays do not fit each other.
    """
    from scipy import optimize, special

    logits = np.clip(as_logits(log_odds), -_LARGEST_FITTED, _LARGEST_FITTED)
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    num_classes = logits.shape[1]
    labels, _ = predictions.checked(labels, predictions.probabilities(log_odds), num_classes)
    targets = smoothed_targets(labels, num_classes)
    counts = np.bincount(labels, minlength=num_classes)
    weights = (
        np.ones(len(labels)) if prior is None else (np.asarray(prior) / counts.clip(1))[labels]
    )

    def slope_at(log_temperature: float) -> float:
        """The derivative of the cross-entropy by 1 / temperature, which rises with that."""
        given = special.softmax(logits / math.exp(log_temperature), axis=1)
        return float((weights * ((given - targets) * logits).sum(axis=1)).sum())

    low, high = math.log(LOWEST_TEMPERATURE), math.log(HIGHEST_TEMPERATURE)
    if slope_at(low) <= 0:
        return LOWEST_TEMPERATURE
    if slope_at(high) >= 0:
        return HIGHEST_TEMPERATURE
    return float(math.exp(optimize.brentq(slope_at, low, high, xtol=1e-6)))


def smoothed_targets(labels: Array, num_classes: int) -> Array:
    """float64[N, K]: Platt's targets, which are no surer than the number of examples of a class."""
    counts = np.bincount(labels, minlength=num_classes)[labels][:, None]
    return (np.eye(num_classes)[labels] * counts + 1) / (counts + num_classes)


def as_logits(log_odds: Array) -> Array:
    """Logits that stand for these log-odds: float64[N, 1] of two classes, float64[N, K] of more."""
    log_odds = np.asarray(log_odds, np.float64)
    if log_odds.ndim == 1:
        return log_odds[:, None]
    return -np.logaddexp(0, -log_odds)  # log(p), which a softmax gives back


def prevalence_of(text: str, class_names: Sequence[str]) -> tuple[float, ...]:
    """The share of each class that a setting gives.

    Raises:
        UserError: the text is not valid, or not for so many classes.
    """
    try:
        shares = parse_prevalence(text)
    except ValueError as error:
        raise UserError(f"--prevalence: got {text!r}, {error}") from None
    if len(shares) != len(class_names):
        expected = "one number, the share of " + class_names[1]
        if len(class_names) > 2:
            expected = f"{len(class_names)} numbers, for {', '.join(class_names)}"
        raise UserError(f"--prevalence: got {text!r}, expected {expected}")
    return shares


def _logit(probability: float) -> float:
    return math.log(probability) - math.log1p(-probability)


def _is_temperature(value: Any) -> bool:
    return type(value) in (int, float) and LOWEST_TEMPERATURE <= value <= HIGHEST_TEMPERATURE


def _are_shares(value: Any) -> bool:
    """Whether it is a list of two numbers or more, each above 0, that sum to 1."""
    return (
        isinstance(value, list)
        and len(value) >= 2
        and all(type(share) in (int, float) and 0 < share < 1 for share in value)
        and abs(sum(value) - 1) < 1e-3
    )


_RULES: Mapping[str, Rule] = {
    "temperature": Rule("a number from 0.05 to 20", _is_temperature),
    "prior": Rule(
        "the share of each class, or null", lambda value: value is None or _are_shares(value)
    ),
}
