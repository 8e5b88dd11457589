"""PPV and NPV by the share of a class: what a call means where the class is rarer or more frequent.

Sensitivity and specificity are carried to another place, predictive values are not: those of a set in which
half the images are positive say nothing of a place where one in a hundred is. The calls are those that were
measured; only the shares of the classes change.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.metrics import bootstrap, intervals, likelihood_ratios
from engine.metrics.estimate import Estimate

Array = np.ndarray

USUAL = (0.01, 0.05, 0.1, 0.2, 0.5)  # shares of the positive class of two


@dataclasses.dataclass(frozen=True)
class PredictiveValues:
    """The predictive values of one class at a share of it.

    Attributes:
        class_name: the class that is called.
        prevalence: its share.
        ppv: how many of those that are called are of the class.
        npv: how many of the others are not.
    """

    class_name: str
    prevalence: float
    ppv: Estimate
    npv: Estimate

    def to_json(self) -> dict[str, Any]:
        """Its part of `metrics.json`."""
        return {
            "class": self.class_name,
            "prevalence": self.prevalence,
            "ppv": self.ppv.to_json(),
            "npv": self.npv.to_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "PredictiveValues":
        """The inverse of `to_json`.

        Raises:
            KeyError, TypeError, ValueError: the values are not those of one class.
        """
        ppv, npv = (Estimate.from_json(values[name]) for name in ("ppv", "npv"))
        return cls(str(values["class"]), float(values["prevalence"]), ppv, npv)


def measure(
    examples: bootstrap.Examples,
    *,
    class_names: Sequence[str],
    prevalence: Sequence[float] | None = None,
) -> tuple[PredictiveValues, ...]:
    """Of two classes, at the usual shares and at the given one; of more, of each class at the given shares.

    Args:
        prevalence: the share of each class; None: none is given.
    """
    if len(class_names) == 2:
        shares = {*USUAL, *([] if prevalence is None else [float(prevalence[1])])}
        return tuple(
            _of_class(examples, class_names, np.array([1 - share, share]), 1)
            for share in sorted(shares)
        )
    if prevalence is None:
        return ()
    given = np.asarray(prevalence, np.float64)
    return tuple(_of_class(examples, class_names, given, k) for k in range(len(class_names)))


def _of_class(
    examples: bootstrap.Examples, class_names: Sequence[str], shares: Array, label: int
) -> PredictiveValues:
    member, called = examples.labels == label, examples.predicted == label
    others: Array = np.delete(np.arange(len(class_names)), label)
    absent = [k for k in others if not (examples.labels == k).any()]
    if absent and len(class_names) > 2:
        reason = f"there is no example of {class_names[absent[0]]}"
        missing = Estimate(None, reason=reason)
        return PredictiveValues(class_names[label], float(shares[label]), missing, missing)
    sensitivity = _rate(called, member.astype(float), examples.groups)
    specificity = _rate(~called, _weights(examples.labels, shares, member), examples.groups)
    ppv, npv = likelihood_ratios.predictive_values(sensitivity, specificity, float(shares[label]))
    return PredictiveValues(class_names[label], float(shares[label]), ppv, npv)


def _weights(labels: Array, shares: Array, member: Array) -> Array:
    """float[N]: how much an example of another class counts, so that these have their shares; mean 1."""
    counts = np.bincount(labels, minlength=len(shares))
    weights = (shares / np.maximum(counts, 1))[labels] * ~member
    total = weights.sum()
    return weights * ((~member).sum() / total) if total else weights


def _rate(right: Array, weights: Array, groups: Array) -> Estimate:
    """The weighted share of what is right, bool[N]."""
    if not weights.sum():
        return Estimate(None, reason="there is no such example")
    value = float((right * weights).sum() / weights.sum())
    if groups.max() < 1:
        return Estimate(value, reason="an interval needs two patients or more")
    hits, counts = np.bincount(groups, right * weights), np.bincount(groups, weights)
    low, high = intervals.proportion(hits, counts)
    return Estimate(value, float(low), float(high))
