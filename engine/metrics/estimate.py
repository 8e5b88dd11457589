"""A figure with its interval: the object, its JSON, and the one place where it becomes text."""

import dataclasses
from collections.abc import Mapping
from typing import Any

CONFIDENCE = 0.95  # of every interval
# The metrics that a summary of a few lines shows.
HEADLINE = ("auroc", "accuracy", "sensitivity", "specificity")
_TITLES = {
    "auroc": "AUROC",
    "auroc_bootstrap": "AUROC, bootstrap",
    "auroc_delong": "AUROC, DeLong",
    "average_precision": "average precision",
    "balanced_accuracy": "balanced accuracy",
    "brier": "Brier score",
    "calibration_in_the_large": "calibration-in-the-large",
    "calibration_intercept": "calibration intercept",
    "calibration_slope": "calibration slope",
    "expected_calibration_error": "calibration error",
    "f1": "F1",
    "kappa": "Cohen's kappa",
    "likelihood_ratio_negative": "likelihood ratio, negative",
    "likelihood_ratio_positive": "likelihood ratio, positive",
    "loss": "loss (cross-entropy)",
    "mcc": "Matthews correlation",
    "npv": "NPV",
    "ppv": "PPV",
    "precision": "precision (PPV)",
    "scaled_brier": "Brier score, scaled",
}


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A metric and its 95 % interval.

    Attributes:
        value: None where the metric is undefined.
        low, high: the limits of the interval; None where there is none.
        reason: why a value or a limit is None.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None

    def __str__(self) -> str:
        """`0.9731 (0.9612 to 0.9834)`, or `undefined (it needs examples of both classes)`."""
        beside = self.interval_text
        return f"{self.value_text} ({beside})" if beside else self.value_text

    @property
    def has_interval(self) -> bool:
        """Whether there is a value, and both limits with it."""
        return None not in (self.value, self.low, self.high)

    @property
    def value_text(self) -> str:
        """`0.9731`, or `undefined`."""
        return number_text(self.value)

    @property
    def interval_text(self) -> str:
        """`0.9612 to 0.9834`, or the reason why there is none."""
        if not self.has_interval:
            return self.reason or ""
        return f"{number_text(self.low)} to {number_text(self.high)}"

    def to_json(self) -> dict[str, Any]:
        """`{"value", "low", "high"}`, and `"reason"` where one of them is null."""
        values: dict[str, Any] = {"value": self.value, "low": self.low, "high": self.high}
        if self.reason is not None:
            values["reason"] = self.reason
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Estimate":
        """The inverse of `to_json`.

        Raises:
            KeyError, TypeError, ValueError: the values are not those of an estimate.
        """
        value, low, high = (_optional_float(values[key]) for key in ("value", "low", "high"))
        reason = values.get("reason")
        return cls(value, low, high, None if reason is None else str(reason))


def number_text(value: float | None) -> str:
    """A metric to four decimals, or `undefined`."""
    return "undefined" if value is None else f"{value:.4f}"


def title(metric: str) -> str:
    """What a metric is called in tables and messages: `auroc` -> `AUROC`."""
    return _TITLES.get(metric, metric)


def _optional_float(value: Any) -> float | None:
    return None if value is None else float(value)
