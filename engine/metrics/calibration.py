"""Whether probabilities come true: reliability by bins of the probability."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.metrics import intervals

Array = np.ndarray

_CHANCE_DRAWS = 200


@dataclasses.dataclass(frozen=True)
class Reliability:
    """How often what was given a probability came true, by bins of the probability.

    Attributes:
        edges: float[bins + 1], of the bins, from 0 to 1.
        predicted, observed: float[bins], the mean probability and the fraction that came true;
            NaN in an empty bin.
        low, high: float[bins], the 95 % interval of `observed`, over patients: Wilson's, on the
            effective number of them (of images, where each is of another patient).
        counts: int[bins], the examples in each bin.
        expected_calibration_error: the mean of |observed - predicted|, weighted by the counts.
        equal_mass_error: the same over bins that hold equally many examples; None in results of
            earlier versions.
        error_by_chance: the expected calibration error that probabilities which come true would show on
            so many examples; None in results of earlier versions.
    """

    edges: Array
    predicted: Array
    observed: Array
    low: Array
    high: Array
    counts: Array
    expected_calibration_error: float
    equal_mass_error: float | None = None
    error_by_chance: float | None = None

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
        cls,
        values: Sequence[Mapping[str, Any]],
        *,
        expected_calibration_error: float,
        equal_mass_error: float | None = None,
        error_by_chance: float | None = None,
    ) -> "Reliability":
        """The inverse of `to_json`, empty bins included; the errors are stored apart.

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
            equal_mass_error=None if equal_mass_error is None else float(equal_mass_error),
            error_by_chance=None if error_by_chance is None else float(error_by_chance),
        )


def reliability_curve(
    labels: Array,
    probabilities: Array,
    *,
    groups: Array | None = None,
    bins: int = 10,
    seed: int = 0,
) -> Reliability:
    """Bins of equal width over P(positive), or over the largest probability of many classes.

    The error is that of Naeini et al., Obtaining well calibrated probabilities using Bayesian
    binning, 2015; for many classes, of Guo et al., On calibration of modern neural networks, 2017.

    Args:
        groups: int[N], the patient of each example; None makes each one of its own.
        seed: of what `error_by_chance` draws.
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
        equal_mass_error=equal_mass_error(labels, probabilities, bins=bins),
        error_by_chance=error_by_chance(probabilities, bins=bins, seed=seed),
    )


def calibration_error(labels: Array, probabilities: Array, *, bins: int = 10) -> float:
    """The expected calibration error alone, without the intervals; see `reliability_curve`."""
    confidence, came_true, place = _binned(labels, probabilities, bins)
    return _error(confidence, came_true, place)


def equal_mass_error(labels: Array, probabilities: Array, *, bins: int = 10) -> float:
    """The calibration error over bins of equally many examples (Nguyen and O'Connor, Posterior calibration
    and exploratory analysis for natural language processing models, 2015).

    Bins of equal width leave most examples of a sure model in two of them. Equal probabilities are in one
    bin, so that the order of examples does not matter.
    """
    confidence, came_true = _outcomes(labels, probabilities)
    edges = np.quantile(confidence, np.arange(1, bins) / bins)
    return _error(confidence, came_true, np.searchsorted(edges, confidence))


def error_by_chance(probabilities: Array, *, bins: int = 10, seed: int = 0) -> float:
    """The mean calibration error of so many examples whose probabilities come true, of 200 draws of outcomes.

    The error is never negative, so it is above 0 by chance alone, the more so the fewer the examples
    (Broecker and Smith, Increasing the reliability of reliability diagrams, 2007).
    """
    random = np.random.default_rng(seed)
    confidence, _ = _outcomes(np.zeros(len(probabilities), np.int64), probabilities)
    place = _place(confidence, bins)
    errors = [
        _error(confidence, random.random(len(confidence)) < confidence, place)
        for _ in range(_CHANCE_DRAWS)
    ]
    return float(np.mean(errors))


def _error(confidence: Array, came_true: Array, place: Any) -> float:
    gaps = np.bincount(place, weights=came_true - confidence)
    return float(np.abs(gaps).sum() / len(confidence))


def _outcomes(labels: Array, probabilities: Array) -> tuple[Array, Array]:
    """The probability that an outcome was given, float64[N], and whether it came true, bool[N]."""
    if probabilities.ndim == 1:
        return np.asarray(probabilities, np.float64), labels == 1
    confidence = np.asarray(probabilities.max(axis=1), np.float64)
    return confidence, labels == probabilities.argmax(axis=1)


def _binned(labels: Array, probabilities: Array, bins: int) -> tuple[Array, Array, Array]:
    """What `_outcomes` gives, and the bin of each."""
    confidence, came_true = _outcomes(labels, probabilities)
    return confidence, came_true, _place(confidence, bins)


def _place(confidence: Array, bins: int) -> Array:
    return np.minimum((confidence * bins).astype(np.int64), bins - 1)


def _limits(came_true: Array, groups: Array) -> intervals.Interval:
    """The interval of a bin's fraction; NaN of an empty one."""
    patients, of_patient = np.unique(groups, return_inverse=True)
    hits = np.bincount(of_patient, came_true, len(patients))
    counts = np.bincount(of_patient, minlength=len(patients))
    low, high = intervals.wilson_proportion(hits, counts)
    return float(low), float(high)
