"""The metrics of one set of examples, each with its interval or the reason why it has none."""

import functools

import numpy as np

from engine.metrics import bootstrap, intervals
from engine.metrics.estimate import Estimate

Array = np.ndarray

_WHY_UNDEFINED = {
    "auroc": "it needs examples of both classes",
    "average_precision": "there is no example of the class",
    "sensitivity": "there is no example of the class",
    "recall": "there is no example of the class",
    "specificity": "there is no example of another class",
    "precision": "nothing was predicted to be of the class",
    "f1": "the class was neither present nor predicted",
    "balanced_accuracy": "it needs examples of both classes",
}


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

    @functools.cached_property
    def _imagined(self) -> bootstrap.Examples:
        return self._examples.with_imaginary_patients()

    @functools.cached_property
    def _near(self) -> bootstrap.Values:
        return bootstrap.measure(self._imagined)

    @functools.cached_property
    def _spread(self) -> bootstrap.Values:
        return bootstrap.resample(self._imagined, resamples=self._resamples, seed=self._seed)

    def estimate(self, name: str, place: int | None = None) -> Estimate:
        """A metric over all, or of the class at a place of more than two."""
        value = float(self._values.of(name, place)[0])
        if np.isnan(value):
            return Estimate(None, None, None, _WHY_UNDEFINED[name])
        if self._examples.num_groups < 2:
            return Estimate(value, None, None, "an interval needs two patients or more")
        return Estimate(value, *self._interval(name, place, value))

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
        spread = self._spread.of(name, place)
        return intervals.bounded(
            value,
            near=float(self._near.of(name, place)[0]),
            variance=float(np.nanvar(spread)),
            patients=examples.num_groups,
        )

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
        }
        return (member == called, counted[name]) if name in counted else None

    def _proportion(self, right: Array, counted: Array) -> intervals.Interval:
        groups = self._examples.groups
        hits, counts = np.bincount(groups, right & counted), np.bincount(groups, counted)
        low, high = intervals.proportion(hits, counts)
        return float(low), float(high)
