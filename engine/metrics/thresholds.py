"""The decision threshold: by which rule it is chosen on validation, and what it gives there.

labels         int[N], 1 for the positive class
probabilities  float[N], of the positive class, or float[N, 2], of which column 1 counts
"""

import dataclasses
import math
from typing import Any

import numpy as np

from engine.base.config import UserError
from engine.metrics import curves, predictions

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class ThresholdRule:
    """How a threshold is chosen; `target` is the least sensitivity or specificity, else None."""

    name: str
    target: float | None = None

    def __str__(self) -> str:
        return self.name if self.target is None else f"{self.name}={self.target:g}"


@dataclasses.dataclass(frozen=True)
class ChosenThreshold:
    """A decision threshold, the rule that chose it, and what it gave where it was chosen."""

    threshold: float
    rule: str
    num_examples: int
    sensitivity: float
    specificity: float
    accuracy: float
    precision: float | None
    f1: float

    def to_json(self) -> dict[str, Any]:
        """The contents of `threshold.json`."""
        return dataclasses.asdict(self)


def parse_threshold_rule(text: str) -> ThresholdRule:
    """`youden`, `f1`, `accuracy`, `sensitivity=0.95` or `specificity=0.95`.

    Raises:
        UserError: the text is none of these.
    """
    expected = "expected youden, f1, accuracy, sensitivity=0.95 or specificity=0.95"
    name, separator, target_text = str(text).strip().lower().partition("=")
    if name in ("youden", "f1", "accuracy") and not separator:
        return ThresholdRule(name)
    if name not in ("sensitivity", "specificity"):
        raise UserError(f"--threshold: got {text!r}, {expected}")
    try:
        target = float(target_text)
    except ValueError:
        raise UserError(f"--threshold: got {text!r}, {expected}") from None
    if not 0 < target <= 1:
        raise UserError(f"--threshold: got {text!r}, expected a target above 0 and at most 1")
    return ThresholdRule(name, target)


def choose_threshold(
    labels: Array, probabilities: Array, rule: str | ThresholdRule
) -> ChosenThreshold:
    """The threshold on P(positive) that serves a rule best, chosen to be stable.

    Between two neighbouring scores every threshold decides alike, so thresholds are the midpoints.
    Of those as good as the best one, or within one example of it, the widest run counts and its
    middle is taken: a single lucky image does not move the threshold. The rules with a target
    keep the target on these examples, and are then as good as possible at the other rate.

    Args:
        labels: int[N], 0 or 1.
        probabilities: float[N], or float[N, 2], of which column 1 counts.
        rule: as `parse_threshold_rule` takes it. `youden` maximises sensitivity + specificity - 1
            (Youden, Index for rating diagnostic tests, 1950).

    Raises:
        UserError: the rule is unknown, or the labels do not hold both classes.
    """
    rule = parse_threshold_rule(rule) if isinstance(rule, str) else rule
    labels, probabilities = predictions.checked(labels, probabilities, 2)
    positives, negatives = int(labels.sum()), int((1 - labels).sum())
    if not positives or not negatives:
        missing = "positive" if not positives else "negative"
        raise UserError(
            f"a threshold cannot be chosen: none of {len(labels)} validation images is {missing}; "
            "expected both classes (build the shards with a larger --validation-fraction)"
        )
    scores, above_positive, above_negative = curves.cut_counts(labels, probabilities)
    quality, tolerance = _cut_quality(rule, above_positive, above_negative, positives, negatives)
    cut = _middle_of_plateau(scores, quality >= quality.max() - tolerance)
    return _operating_point(
        _midpoint(scores, cut),
        rule,
        true_positives=int(above_positive[cut]),
        false_positives=int(above_negative[cut]),
        positives=positives,
        negatives=negatives,
    )


def _cut_quality(
    rule: ThresholdRule,
    true_positives: Array,
    false_positives: Array,
    positives: int,
    negatives: int,
) -> tuple[Array, float]:
    """What the rule maximises, float[G + 1], and how much of it one example is worth."""
    sensitivity = true_positives / positives
    specificity = 1 - false_positives / negatives
    rounding = 1e-9
    if rule.name == "youden":
        return sensitivity + specificity - 1, 1 / max(positives, negatives) + rounding
    if rule.name == "accuracy":
        right = true_positives + negatives - false_positives
        return right / (positives + negatives), 1 / (positives + negatives) + rounding
    if rule.name == "f1":
        f1 = 2 * true_positives / (positives + true_positives + false_positives)
        return f1, 1 / (positives + negatives) + rounding
    kept, other = (
        (sensitivity, specificity) if rule.name == "sensitivity" else (specificity, sensitivity)
    )
    assert rule.target is not None
    return np.where(kept >= rule.target - rounding, other, -1.0), rounding


def _middle_of_plateau(scores: Array, good: Array) -> int:
    """Of the runs of good cuts, the widest in probability; the cut its middle falls into."""
    # Cut g holds for thresholds in (bounds[g], bounds[g + 1]].
    bounds = np.concatenate([[min(0.0, scores[0])], scores, [max(1.0, scores[-1])]])
    edges = np.flatnonzero(np.diff(np.concatenate([[0], good.astype(np.int8), [0]])))
    starts, ends = edges[::2], edges[1::2]
    widest = int(np.argmax(bounds[ends] - bounds[starts]))
    start, end = int(starts[widest]), int(ends[widest])
    middle = (bounds[start] + bounds[end]) / 2
    return int(np.clip(np.searchsorted(scores, middle), start, end - 1))


def _midpoint(scores: Array, cut: int) -> float:
    """The threshold halfway between the scores on both sides of a cut."""
    if cut == len(scores):
        last = float(scores[-1])
        return (last + 1) / 2 if last < 1 else math.nextafter(last, math.inf)
    below = float(scores[cut - 1]) if cut else 0.0
    middle = (below + float(scores[cut])) / 2
    # Of two neighbouring floats there is no middle; the upper one decides as the cut does.
    return middle if cut == 0 or middle > below else float(scores[cut])


def _operating_point(
    threshold: float,
    rule: ThresholdRule,
    *,
    true_positives: int,
    false_positives: int,
    positives: int,
    negatives: int,
) -> ChosenThreshold:
    called = true_positives + false_positives
    return ChosenThreshold(
        threshold=threshold,
        rule=str(rule),
        num_examples=positives + negatives,
        sensitivity=true_positives / positives,
        specificity=1 - false_positives / negatives,
        accuracy=(true_positives + negatives - false_positives) / (positives + negatives),
        precision=true_positives / called if called else None,
        f1=2 * true_positives / (positives + called),
    )
