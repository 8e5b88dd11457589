"""The metrics of one set of examples, each with its interval or the reason why it has none."""

import functools

import numpy as np
from scipy import special

from engine.metrics import (
    bootstrap,
    calibration_fit,
    curves,
    delong,
    intervals,
    likelihood_ratios,
    scaled_brier,
)
from engine.metrics.calibration_fit import CalibrationFit
from engine.metrics.estimate import Estimate

Array = np.ndarray

ONE_PATIENT = "an interval needs two patients or more"
_WHY_UNDEFINED = {
    "auroc": "it needs examples of both classes",
    "average_precision": "there is no example of the class",
    "sensitivity": "there is no example of the class",
    "recall": "there is no example of the class",
    "specificity": "there is no example of another class",
    "precision": "nothing was predicted to be of the class",
    "ppv": "nothing was predicted to be of the class",
    "npv": "everything was predicted to be of the class",
    "f1": "the class was neither present nor predicted",
    "balanced_accuracy": "it needs examples of both classes",
    "mcc": "all labels and all predictions are alike",
    "kappa": "all labels and all predictions are alike",
}
# Coefficients of agreement reach from -1 to 1; their intervals are those of proportions, (x + 1) / 2.
_FROM_MINUS_ONE = ("mcc", "kappa")


class Estimator:
    """Measures examples once, and gives each metric as an `Estimate`.

    Args:
        examples: what is measured.
        resamples: the number of bootstrap resamples, for the intervals that need them.
        seed: the resamples are a pure function of the examples and of this.
    """

    def __init__(self, examples: bootstrap.Examples, *, resamples: int, seed: int) -> None:
        self._examples, self._resamples, self._seed = examples, resamples, seed
        self._values = bootstrap.measure(examples)
        self._fits: dict[int, CalibrationFit] = {}

    @functools.cached_property
    def _imagined(self) -> bootstrap.Examples:
        return self._examples.with_imaginary_patients()

    @functools.cached_property
    def _near(self) -> bootstrap.Values:
        return bootstrap.measure(self._imagined)

    @functools.cached_property
    def _spread(self) -> bootstrap.Values:
        return bootstrap.resample(self._imagined, resamples=self._resamples, seed=self._seed)

    @functools.cached_property
    def _resampled(self) -> bootstrap.Values:
        """Without imaginary patients: for the percentiles that are asked for by name."""
        return bootstrap.resample(self._examples, resamples=self._resamples, seed=self._seed)

    def estimate(self, name: str, place: int | None = None) -> Estimate:
        """A metric over all, or of the class at a place of more than two.

        `weighted <metric>` is its mean over classes, weighted by their examples; `auroc_delong` and
        `auroc_bootstrap` have the value of `auroc` and limits by the method that they name.
        """
        if name == "scaled_brier":
            return self._scaled_brier()
        if name in _OF_FIT:
            return getattr(self._fit(self._class_of(place)), _OF_FIT[name])
        if name in _RATIOS:
            return self._likelihood_ratio(name, place)
        value = float(self._values.of(_counted_as(name), place)[0])
        if np.isnan(value):
            return Estimate(None, reason=_WHY_UNDEFINED[_plain(name)])
        if self._examples.num_groups < 2:
            return Estimate(value, reason=ONE_PATIENT)
        if name == "auroc_delong":
            return self._delong(0 if len(self._examples.scored) == 1 else place)
        return Estimate(value, *self._interval(name, place, value))

    def micro_auroc(self) -> Estimate:
        """AUROC over all pairs of an example and a class, as if each were an example (more than two classes)."""
        examples = self._examples
        member = examples.labels[:, None] == np.asarray(examples.scored)
        value = curves.auroc(member.reshape(-1), examples.ranked_by.reshape(-1))
        assert value is not None
        if examples.num_groups < 2:
            return Estimate(value, reason=ONE_PATIENT)
        groups: Array = np.repeat(examples.groups, len(examples.scored))
        limits = intervals.area(member.reshape(-1), examples.ranked_by.reshape(-1), groups)
        return Estimate(value, *limits)

    def _class_of(self, place: int | None) -> int:
        """The place of the class that a metric of one class is about."""
        if place is not None:
            return place
        assert len(self._examples.scored) == 1
        return 0

    def _interval(self, name: str, place: int | None, value: float) -> intervals.Interval:
        examples = self._examples
        if name in bootstrap.MEANS:
            each = bootstrap.MEANS[name](examples.labels, examples.probabilities)
            resampled, influence = bootstrap.resample_mean(
                each, examples.groups, resamples=self._resamples, seed=self._seed
            )
            return intervals.corrected_percentiles(value, resampled, influence)
        of_class = 0 if len(examples.scored) == 1 else place
        counted = self._counted(name, of_class)
        if counted is not None:
            return self._proportion(*counted)
        if name == "auroc" and of_class is not None:
            member = examples.labels == examples.scored[of_class]
            return intervals.area(member, examples.scores_of(of_class), examples.groups)
        if name == "auroc_bootstrap":
            return intervals.percentiles(self._resampled.of("auroc", place))
        spread = self._spread.of(name, place)
        near = float(self._near.of(name, place)[0])
        variance = float(np.nanvar(spread))
        patients = examples.num_groups
        if name not in _FROM_MINUS_ONE:
            return intervals.bounded(value, near=near, variance=variance, patients=patients)
        low, high = intervals.bounded(
            (value + 1) / 2, near=(near + 1) / 2, variance=variance / 4, patients=patients
        )
        return 2 * low - 1, 2 * high - 1

    def _delong(self, of_class: int | None) -> Estimate:
        """Of one class, or of the mean over those for which the area is defined."""
        examples = self._examples
        places = range(len(examples.scored)) if of_class is None else [of_class]
        members = {place: examples.labels == examples.scored[place] for place in places}
        defined = [p for p, member in members.items() if 0 < member.sum() < len(member)]
        scores = [examples.scores_of(p) for p in defined]
        if of_class is not None:
            return delong.auroc(members[of_class], scores[0], groups=examples.groups)
        return delong.mean_auroc([members[p] for p in defined], scores, groups=examples.groups)

    def _scaled_brier(self) -> Estimate:
        examples = self._examples
        return scaled_brier.measure(
            examples.labels,
            examples.probabilities,
            examples.groups,
            resamples=self._resamples,
            seed=self._seed,
        )

    def _fit(self, place: int) -> CalibrationFit:
        """The logistic recalibration of one class against the others."""
        if place not in self._fits:
            examples = self._examples
            member = examples.labels == examples.scored[place]
            self._fits[place] = calibration_fit.fit(member, self._log_odds(place), examples.groups)
        return self._fits[place]

    def _log_odds(self, place: int) -> Array:
        examples = self._examples
        if examples.ranked_by is not examples.probabilities:
            return examples.scores_of(place)
        floor = bootstrap.PROBABILITY_FLOOR
        return special.logit(np.clip(examples.scores_of(place), floor, 1 - floor))

    def _likelihood_ratio(self, name: str, place: int | None) -> Estimate:
        rates = [self.estimate(rate, place) for rate in ("sensitivity", "specificity")]
        if any(rate.value is None for rate in rates):
            return Estimate(None, reason="it needs examples of both classes")
        ratio, why_infinite = _RATIOS[name]
        return ratio(*rates).estimate(why_infinite)

    def _counted(self, name: str, of_class: int | None) -> tuple[Array, Array] | None:
        """Which examples were right, bool[N], and which count, bool[N]; None for no proportion."""
        examples = self._examples
        if name == "accuracy":
            return examples.predicted == examples.labels, np.ones(len(examples.labels), bool)
        if of_class is None:
            return None
        label = examples.scored[of_class]
        member, called = examples.labels == label, examples.predicted == label
        counted = {
            "sensitivity": member,
            "recall": member,
            "specificity": ~member,
            "precision": called,
            "ppv": called,
            "npv": ~called,
        }
        return (member == called, counted[name]) if name in counted else None

    def _proportion(self, right: Array, counted: Array) -> intervals.Interval:
        groups = self._examples.groups
        hits, counts = np.bincount(groups, right & counted), np.bincount(groups, counted)
        low, high = intervals.proportion(hits, counts)
        return float(low), float(high)


_OF_FIT = {
    "calibration_slope": "slope",
    "calibration_intercept": "intercept",
    "calibration_in_the_large": "in_the_large",
}
_RATIOS = {
    "likelihood_ratio_positive": (
        likelihood_ratios.positive,
        "no example of another class was called to be of the class",
    ),
    "likelihood_ratio_negative": (
        likelihood_ratios.negative,
        "every example of another class was called to be of the class",
    ),
}


def _counted_as(name: str) -> str:
    """The name under which the value of a metric is measured."""
    return "auroc" if name in ("auroc_delong", "auroc_bootstrap") else name


def _plain(name: str) -> str:
    """The metric that a mean is of."""
    return _counted_as(name.removeprefix(bootstrap.weighted("")))
