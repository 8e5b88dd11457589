"""Sensitivity at a fixed specificity, and the reverse: by a cut chosen on the measured images, or on validation.

The rule `specificity=0.9` means the cut of the highest sensitivity among those that keep a specificity of
0.9 or more; `sensitivity=0.95` the reverse. A cut that was chosen on the images that are measured shows what
the ranking could give, not what a threshold gives on new images. So each point says where it was chosen, and
the interval of one chosen here allows for the choice: it is made again in each resample of patients.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.metrics import bootstrap, curves, intervals, thresholds
from engine.metrics.estimate import Estimate, number_text
from engine.metrics.thresholds import ChosenThreshold, ThresholdRule

Array = np.ndarray

HERE, VALIDATION = "measured images", "validation"
_ROUNDING = 1e-9
_CHOSEN = "kept by choosing the cut on these images"


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """A cut on the probability of one class against the others, and what it gives.

    Attributes:
        class_name: the class that is called positive.
        rule: `specificity=0.9` or `sensitivity=0.95`.
        chosen_on: `measured images` or `validation`.
        threshold: the least probability that is called positive; None where the rule cannot be applied.
        sensitivity, specificity: of a point chosen here, the rate that the rule fixes has no interval.
    """

    class_name: str
    rule: str
    chosen_on: str
    threshold: float | None
    sensitivity: Estimate
    specificity: Estimate

    def row(self) -> tuple[str, ...]:
        """Of a table of text: rule, where it was chosen, threshold, sensitivity and specificity."""
        threshold = number_text(self.threshold) if self.threshold is not None else "none"
        rates = (
            f"{rate.value_text} ({rate.interval_text})" if rate.has_interval else rate.value_text
            for rate in (self.sensitivity, self.specificity)
        )
        return self.rule, self.chosen_on, threshold, *rates

    def to_json(self) -> dict[str, Any]:
        """Its part of `metrics.json`."""
        return {
            "class": self.class_name,
            "rule": self.rule,
            "chosen_on": self.chosen_on,
            "threshold": self.threshold,
            "sensitivity": self.sensitivity.to_json(),
            "specificity": self.specificity.to_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "OperatingPoint":
        """The inverse of `to_json`.

        Raises:
            KeyError, TypeError, ValueError: the values are not those of a point.
        """
        threshold = values["threshold"]
        return cls(
            class_name=str(values["class"]),
            rule=str(values["rule"]),
            chosen_on=str(values["chosen_on"]),
            threshold=None if threshold is None else float(threshold),
            sensitivity=Estimate.from_json(values["sensitivity"]),
            specificity=Estimate.from_json(values["specificity"]),
        )


Chosen = Mapping[tuple[str, str], float]  # (class name, rule) -> threshold chosen on validation


def measure(
    examples: bootstrap.Examples,
    rules: Sequence[ThresholdRule],
    *,
    class_names: Sequence[str],
    resamples: int,
    seed: int,
    chosen: Chosen | None = None,
) -> tuple[OperatingPoint, ...]:
    """The points of each class that is scored, by each rule; those chosen on validation after the others.

    Args:
        rules: with targets, of `sensitivity` or `specificity`.
        class_names: K names, in the order of the class indices.
        resamples, seed: of the bootstrap behind the intervals of points chosen here.
        chosen: the thresholds of points that were chosen on validation.
    """
    points = []
    for place, label in enumerate(examples.scored):
        member, scores = examples.labels == label, _probabilities(examples, place)
        name = class_names[label]
        points += _chosen_here(name, member, scores, examples.groups, rules, resamples, seed)
        for rule in rules:
            threshold = (chosen or {}).get((name, str(rule)))
            if threshold is not None:
                points.append(_at(name, rule, threshold, member, scores, examples.groups))
    return tuple(points)


def _probabilities(examples: bootstrap.Examples, place: int) -> Array:
    given = examples.probabilities
    return given if given.ndim == 1 else given[:, place]


def _at(
    name: str, rule: ThresholdRule, threshold: float, member: Array, scores: Array, groups: Array
) -> OperatingPoint:
    """What a threshold from elsewhere gives."""
    called = scores >= threshold
    rates = [_rate(called == member, own, groups) for own in (member, ~member)]
    return OperatingPoint(name, str(rule), VALIDATION, threshold, *rates)


def _rate(right: Array, counted: Array, groups: Array) -> Estimate:
    if not counted.any():
        return Estimate(None, reason="there is no such example")
    value = float(right[counted].mean())
    if groups.max() < 1:
        return Estimate(value, reason="an interval needs two patients or more")
    hits, counts = np.bincount(groups, right & counted), np.bincount(groups, counted)
    low, high = intervals.proportion(hits, counts)
    return Estimate(value, float(low), float(high))


def _chosen_here(
    name: str,
    member: Array,
    scores: Array,
    groups: Array,
    rules: Sequence[ThresholdRule],
    resamples: int,
    seed: int,
) -> list[OperatingPoint]:
    if member.all() or not member.any():
        missing = Estimate(None, reason="it needs examples of both classes")
        return [OperatingPoint(name, str(rule), HERE, None, missing, missing) for rule in rules]
    found = [thresholds.choose_threshold(member.astype(np.int64), scores, rule) for rule in rules]
    limits = _limits(member, scores, groups, rules, found, resamples, seed)
    points = []
    for rule, point, own in zip(rules, found, limits, strict=True):
        rates = {"sensitivity": point.sensitivity, "specificity": point.specificity}
        estimates = {k: Estimate(v, reason=_CHOSEN) for k, v in rates.items()}
        other = _other(rule)
        estimates[other] = (
            Estimate(rates[other], reason="an interval needs two patients or more")
            if own is None
            else Estimate(rates[other], *own)
        )
        points.append(OperatingPoint(name, str(rule), HERE, point.threshold, **estimates))
    return points


def _other(rule: ThresholdRule) -> str:
    """The rate that a rule leaves free."""
    return "sensitivity" if rule.name == "specificity" else "specificity"


def _limits(
    member: Array,
    scores: Array,
    groups: Array,
    rules: Sequence[ThresholdRule],
    found: Sequence[ChosenThreshold],
    resamples: int,
    seed: int,
) -> list[intervals.Interval | None]:
    """Of the rate that each rule leaves free: the interval of a proportion whose variance is enlarged by what
    choosing the cut again in each resample of patients adds to it."""
    if groups.max() < 1:
        return [None] * len(rules)
    ranking, patients = curves.Ranking(member, scores), int(groups.max()) + 1
    counts = []  # of each rule, by patient: the images that are right at the cut, of those that count
    for rule, point in zip(rules, found, strict=True):
        own = member if _other(rule) == "sensitivity" else ~member
        right = (scores >= point.threshold) == member
        counts.append((np.bincount(groups, right & own), np.bincount(groups, own)))
    again, fixed = [], []
    for block in bootstrap.draws(
        patients, resamples=resamples, seed=seed, row_elements=len(member)
    ):
        again.append(free_rates(ranking, block[:, groups], rules))
        with np.errstate(invalid="ignore"):
            fixed.append(np.stack([(block @ hits) / (block @ all_) for hits, all_ in counts]))
    added = _variances(again) - _variances(fixed)
    limits: list[intervals.Interval | None] = []
    for (hits, all_), variance in zip(counts, added.tolist(), strict=True):
        value, number = intervals.effective(hits, all_)
        limits.append(_enlarged(float(value), float(number), variance))
    return limits


def _variances(parts: Sequence[Array]) -> Array:
    """float[P] of resamples float[P, R] in parts; NaN, of resamples that lack a class, does not count."""
    return np.nanvar(np.concatenate(parts, axis=1), axis=1)


def _enlarged(value: float, number: float, added: float) -> intervals.Interval:
    """The limits of a proportion of `number` independent examples, whose variance is larger by `added`."""
    near = (value * number + 1) / (number + 2)
    spread = near * (1 - near)
    number = spread / (spread / number + max(0.0, added))
    low, high = intervals.clopper_pearson(value, number)
    return float(low), float(high)


def free_rates(ranking: curves.Ranking, weights: Array, rules: Sequence[ThresholdRule]) -> Array:
    """float[P, R]: the best of the rate that each rule leaves free, of examples weighted by float[R, N].

    NaN where a class has no weight.
    """
    positive, negative = ranking.by_score(weights)
    with np.errstate(invalid="ignore"):
        # Cut g calls the scores from index g on positive, and the last cut none.
        sensitivity = 1 - _below(positive) / positive.sum(axis=1, keepdims=True)
        specificity = _below(negative) / negative.sum(axis=1, keepdims=True)
    undefined = np.isnan(sensitivity[:, 0]) | np.isnan(specificity[:, 0])
    found = []
    for rule in rules:
        kept, other = sensitivity, specificity
        if rule.name == "specificity":
            kept, other = specificity, sensitivity
        assert rule.target is not None
        best = np.where(kept >= rule.target - _ROUNDING, other, -1.0).max(axis=1)
        found.append(np.where(undefined, np.nan, best))
    return np.stack(found)


def _below(weights: Array) -> Array:
    """float[R, S + 1]: the weight of the scores below each cut."""
    below: Array = np.zeros((weights.shape[0], weights.shape[1] + 1))
    np.cumsum(weights, axis=1, out=below[:, 1:])
    return below
