"""Whether probabilities come true: reliability by bins of the probability."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.metrics import intervals

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Reliability:
    """How often what was given a probability came true, by bins of the probability.

    Attributes:
        edges: float[bins + 1], of the bins, from 0 to 1.
        predicted, observed: float[bins], the mean probability and the fraction that came true;
            NaN in an empty bin.
        low, high: float[bins], the 95 % interval of `observed`, over patients.
        counts: int[bins], the examples in each bin.
        expected_calibration_error: the mean of |observed - predicted|, weighted by the counts.
    """

    edges: Array
    predicted: Array
    observed: Array
    low: Array
    high: Array
    counts: Array
    expected_calibration_error: float

    def to_json(self) -> list[dict[str, float]]:
        """One entry per bin that holds examples; bins are of equal width."""
        columns = {
            "low": self.edges[:-1],
            "high": self.edges[1:],
            "count": self.counts,
            "predicted": self.predicted,
            "observed": self.observed,
            "observed_low": self.low,
            "observed_high": self.high,
        }
        rows = zip(*(values.tolist() for values in columns.values()), strict=True)
        bins = [dict(zip(columns, row, strict=True)) for row in rows]
        return [values for values in bins if values["count"]]

    @classmethod
    def from_json(
        cls, values: Sequence[Mapping[str, Any]], *, expected_calibration_error: float
    ) -> "Reliability":
        """The inverse of `to_json`, empty bins included.

        Raises:
            KeyError, TypeError, ValueError: the values are not those of bins of equal width.
        """
        if not values:
            raise ValueError("expected at least one bin of the reliability")
        num_bins = round(1 / (values[0]["high"] - values[0]["low"]))
        columns = {
            name: np.full(num_bins, np.nan)
            for name in ("predicted", "observed", "observed_low", "observed_high")
        }
        counts = np.zeros(num_bins, np.int64)
        for bin_values in values:
            place = round(bin_values["low"] * num_bins)
            if not 0 <= place < num_bins:
                raise ValueError(f"got a bin from {bin_values['low']}, expected 0 to 1")
            counts[place] = bin_values["count"]
            for name, column in columns.items():
                column[place] = bin_values[name]
        return cls(
            edges=np.linspace(0, 1, num_bins + 1),
            predicted=columns["predicted"],
            observed=columns["observed"],
            low=columns["observed_low"],
            high=columns["observed_high"],
            counts=counts,
            expected_calibration_error=float(expected_calibration_error),
        )


def reliability_curve(
    labels: Array, probabilities: Array, *, groups: Array | None = None, bins: int = 10
) -> Reliability:
    """Bins of equal width over P(positive), or over the largest probability of many classes.

    The error is that of Naeini et al., Obtaining well calibrated probabilities using Bayesian
    binning, 2015; for many classes, of Guo et al., On calibration of modern neural networks, 2017.

    Args:
        groups: int[N], the patient of each example; None makes each one of its own.
    """
    confidence, came_true, place = _binned(labels, probabilities, bins)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        predicted = np.bincount(place, weights=confidence, minlength=bins) / counts
        observed = np.bincount(place, weights=came_true, minlength=bins) / counts
    groups = np.arange(len(confidence)) if groups is None else groups
    limits = [_limits(came_true[place == k], groups[place == k]) for k in range(bins)]
    gaps = np.where(counts > 0, np.abs(observed - predicted), 0.0)
    return Reliability(
        edges=np.linspace(0, 1, bins + 1),
        predicted=predicted,
        observed=observed,
        low=np.array([low for low, _ in limits]),
        high=np.array([high for _, high in limits]),
        counts=counts,
        expected_calibration_error=float((gaps * counts).sum() / max(1, counts.sum())),
    )


def calibration_error(labels: Array, probabilities: Array, *, bins: int = 10) -> float:
    """The expected calibration error alone, without the intervals; see `reliability_curve`."""
    confidence, came_true, place = _binned(labels, probabilities, bins)
    return float(np.abs(np.bincount(place, weights=came_true - confidence)).sum() / len(labels))


def _binned(labels: Array, probabilities: Array, bins: int) -> tuple[Array, Array, Array]:
    """The probability that an outcome was given, whether it came true, and the bin; N of each."""
    if probabilities.ndim == 1:
        confidence, came_true = probabilities, labels == 1
    else:
        confidence, came_true = probabilities.max(axis=1), labels == probabilities.argmax(axis=1)
    confidence = np.asarray(confidence, np.float64)
    return confidence, came_true, np.minimum((confidence * bins).astype(np.int64), bins - 1)


def _limits(came_true: Array, groups: Array) -> intervals.Interval:
    """The interval of a bin's fraction; NaN of an empty one."""
    patients, of_patient = np.unique(groups, return_inverse=True)
    hits = np.bincount(of_patient, came_true, len(patients))
    low, high = intervals.proportion(hits, np.bincount(of_patient, minlength=len(patients)))
    return float(low), float(high)
