"""How each of several runs does by itself, beside their average: point estimates on one split."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.metrics import curves
from engine.metrics.estimate import number_text
from engine.metrics.predictions import predict_labels

METRICS = ("auroc", "accuracy", "sensitivity", "specificity")


@dataclasses.dataclass(frozen=True)
class MemberResults:
    """Figures of the members of an ensemble, each at its own threshold.

    Attributes:
        values: member -> `threshold`, `auroc`, `accuracy`, and for two classes `sensitivity` and
            `specificity`; None where one is undefined.
        spread: the mean over images of the standard deviation over members of the probability (of
            more than two classes: of the largest deviation of any class).
    """

    values: Mapping[str, Mapping[str, float | None]]
    spread: float

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the metrics that were measured."""
        first = next(iter(self.values.values()))
        return tuple(name for name in METRICS if name in first)

    def rows(self) -> list[tuple[str, ...]]:
        """A table of text, one row per member: its name, then each of `metrics`."""
        return [
            (member, *(number_text(values[metric]) for metric in self.metrics))
            for member, values in self.values.items()
        ]

    def spread_text(self) -> str:
        """A line about how far the members lie apart."""
        spread = f"{self.spread:.3f}"
        return (
            f"{len(self.values)} runs averaged; their probabilities deviate by {spread} (mean SD)"
        )

    def to_json(self) -> dict[str, Any]:
        """The contents of `members.json`."""
        return {
            "spread": self.spread,
            "members": {member: dict(values) for member, values in self.values.items()},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "MemberResults":
        """The inverse of `to_json`.

        Raises:
            AttributeError, KeyError, TypeError, ValueError: the values are not those of `members.json`.
        """
        found = {
            str(member): {str(k): None if v is None else float(v) for k, v in metrics.items()}
            for member, metrics in values["members"].items()
        }
        if not found or len({tuple(metrics) for metrics in found.values()}) > 1:
            raise ValueError("every member must have the same metrics")
        return cls(found, float(values["spread"]))


def point_estimates(
    labels: np.ndarray, probabilities: np.ndarray, log_odds: np.ndarray, threshold: float | None
) -> dict[str, float | None]:
    """`auroc`, `accuracy`, and for two classes `sensitivity` and `specificity`, without intervals.

    Args:
        labels: int[N].
        probabilities, log_odds: float[N] of the positive class, or float[N, K].
        threshold: of two classes.
    """
    predicted = predict_labels(probabilities, threshold)
    estimates = {
        "auroc": curves.mean_auroc(labels, log_odds),
        "accuracy": float((predicted == labels).mean()),
    }
    if probabilities.ndim == 1:
        for name, index in (("sensitivity", 1), ("specificity", 0)):
            members = labels == index
            estimates[name] = float((predicted[members] == index).mean()) if members.any() else None
    return estimates


def mean_spread(spread: np.ndarray) -> float:
    """The mean over images of the spread, float[N], or of its largest column, float[N, K]."""
    return float(spread.mean() if spread.ndim == 1 else spread.max(axis=1).mean())
