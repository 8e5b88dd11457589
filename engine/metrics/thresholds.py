"""The decision threshold: by which rule it is chosen on validation, and what it gives there.

labels         int[N], 1 for the positive class
probabilities  float[N], of the positive class, or float[N, 2], of which column 1 counts
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.base.config import UserError
from engine.metrics import predictions, temperature
from engine.metrics.temperature import Calibration

Array = np.ndarray

FIXED = "fixed"
_CLASSES = ("negative", "positive")
_CERTAIN = 37.0  # log-odds beyond which a float64 probability is 1
_MARGIN = 1.0  # how far in log-odds thresholds are looked for beyond all scores
_FEW = 50  # examples of a class, below which the best cut on them says little
_STANDARD_ERRORS = (
    2.0  # by which it must be better than the cut that probabilities themselves suggest
)
_BROKEN = (
    -math.inf
)  # the quality of a cut that misses the rule's target, in the mean of several too


@dataclasses.dataclass(frozen=True)
class ThresholdRule:
    """How a threshold is chosen; `target` is the least sensitivity or specificity, else None.

    The rule `fixed` chooses nothing: its `target` is the threshold.
    """

    name: str
    target: float | None = None

    def __str__(self) -> str:
        if self.name == FIXED:
            return str(self.target)
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
    """`youden`, `f1`, `accuracy`, `sensitivity=0.95`, `specificity=0.95`, or a number such as `0.5`.

    Raises:
        UserError: the text is none of these.
    """
    expected = (
        "expected youden, f1, accuracy, sensitivity=0.95, specificity=0.95 or a number like 0.5"
    )
    name, separator, target_text = str(text).strip().lower().partition("=")
    if name in ("youden", "f1", "accuracy") and not separator:
        return ThresholdRule(name)
    if (number := _number(name)) is not None and not separator:
        if not 0 < number < 1:
            raise UserError(f"--threshold: got {text!r}, expected a number between 0 and 1")
        return ThresholdRule(FIXED, number)
    if name not in ("sensitivity", "specificity"):
        raise UserError(f"--threshold: got {text!r}, {expected}")
    target = _number(target_text)
    if target is None:
        raise UserError(f"--threshold: got {text!r}, {expected}")
    if not 0 < target <= 1:
        raise UserError(f"--threshold: got {text!r}, expected a target above 0 and at most 1")
    return ThresholdRule(name, target)


def is_fixed(rule: str) -> bool:
    """Whether a rule, as a run keeps it, is a number that nothing was chosen for."""
    return _number(rule) is not None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def decide(
    labels: Array, log_odds: Array, *, rule: str | None, prior: Sequence[float] | None
) -> tuple[Calibration, ChosenThreshold | None]:
    """How a model's log-odds are calibrated and decided by, from held-out examples.

    Args:
        labels: int[N].
        log_odds: float[N], or float[N, K] with more than two classes; the model's own.
        rule: that of the threshold; None where the largest probability decides.
        prior: the share of each class that training implied; None where it is not known.

    Returns:
        The calibration, and the threshold on the calibrated probability.

    Raises:
        UserError: as `choose_threshold`.
    """
    shares = None if prior is None else tuple(float(share) for share in prior)
    fitted = temperature.fit_temperature(labels, log_odds, prior=shares)
    calibration = Calibration(temperature=fitted, prior=shares)
    if rule is None:
        return calibration, None
    calibrated = predictions.probabilities(calibration.log_odds(log_odds))
    share = None if shares is None else shares[1]
    return calibration, choose_threshold(labels, calibrated, rule, share=share)


def choose_threshold(
    labels: Array,
    probabilities: Array,
    rule: str | ThresholdRule,
    *,
    share: float | None = None,
) -> ChosenThreshold:
    """The threshold on P(positive) that serves a rule best, chosen to be stable.

    Between two neighbouring scores every threshold decides alike, so these cuts are compared. Of those
    as good as the best one, or within one example of it, the widest run in log-odds counts, and its
    middle is taken: a single lucky image does not move the threshold, and where the classes are
    separated it lies halfway between them, however sure the model is of them. (Halfway in
    probability is at the edge of one class if the model is surer of the other.) The rules with a
    target keep the target on these examples, and are then as good as possible at the other rate. A
    number is the threshold itself.

    The best cut on a few examples is often far from the best one on others. So where a class has fewer than
    50, `youden` takes the cut that all of them together suggest: that of log-odds shifted until they are
    calibrated. Simulated with normal log-odds of AUROC 0.93, 5 examples of each class and log-odds that
    are shifted at random, balanced accuracy on others is 0.84 instead of 0.83 (0.852 is the best
    possible), and with 45 still 0.850 instead of 0.844.

    Args:
        labels: int[N], 0 or 1.
        probabilities: float[N], or float[N, 2], of which column 1 counts. Of float32 they are tied from
            log-odds of 17 on; `predictions.probabilities` gives float64 ones of log-odds.
        rule: as `parse_threshold_rule` takes it. `youden` maximises sensitivity + specificity - 1
            (Youden, Index for rating diagnostic tests, 1950).
        share: of positives, that the probabilities hold for; None where it is not known, and few
            examples are taken as many are.

    Raises:
        UserError: the rule is unknown, or the labels do not hold both classes.
    """
    parsed = parse_threshold_rule(rule) if isinstance(rule, str) else rule
    if share is None or parsed.name != "youden":
        return choose_across_series([(labels, probabilities)], parsed)
    series = _Series.of(labels, probabilities)
    if min(series.sizes) >= _FEW:
        return choose_across_series([(labels, probabilities)], parsed)
    return _operating_point(_calibrated_in_the_large(series, share), parsed, [series])


def choose_across_series(
    series: Sequence[tuple[Array, Array]], rule: str | ThresholdRule
) -> ChosenThreshold:
    """The threshold that serves a rule best on several held-out series, each counting alike.

    For cross-fitting: each series was held out from the model that scored it. The rule's figure is the
    mean over the series, a target is kept in each of them, and within one example of one series counts
    as equally good. The operating point is that of all examples together.

    Args:
        series: labels and probabilities of each, as `choose_threshold` takes them.

    Raises:
        UserError: as `choose_threshold`.
    """
    rule = parse_threshold_rule(rule) if isinstance(rule, str) else rule
    counted = [_Series.of(labels, probabilities) for labels, probabilities in series]
    if rule.name == FIXED:
        assert rule.target is not None
        return _operating_point(rule.target, rule, counted)
    scores = np.unique(np.concatenate([np.concatenate(each.scores) for each in counted]))
    qualities, tolerances = zip(
        *(_cut_quality(rule, each, scores) for each in counted), strict=True
    )
    quality = np.mean(qualities, axis=0)
    good = quality >= quality.max() - max(tolerances) / len(counted)
    threshold = _middle_of_plateau(scores, good)
    return _operating_point(threshold, rule, counted)


@dataclasses.dataclass(frozen=True)
class _Series:
    """The sorted probabilities of the negative and of the positive examples of one series."""

    scores: tuple[Array, Array]

    @classmethod
    def of(cls, labels: Array, probabilities: Array) -> "_Series":
        labels, probabilities = predictions.checked(labels, probabilities, 2)
        of_class = [np.sort(probabilities[labels == label]) for label in (0, 1)]
        if missing := [
            name for name, each in zip(_CLASSES, of_class, strict=True) if not len(each)
        ]:
            raise UserError(
                f"a threshold cannot be chosen: none of {len(labels)} validation images is "
                f"{missing[0]}; expected both classes (build the shards with a larger "
                "--validation-fraction)"
            )
        return cls((of_class[0], of_class[1]))

    @property
    def sizes(self) -> tuple[int, int]:
        """How many negatives and positives there are."""
        return len(self.scores[0]), len(self.scores[1])

    def called(self, thresholds: Array) -> tuple[Array, Array]:
        """int[T]: how many negatives and positives reach each threshold."""
        negative, positive = (
            len(each) - np.searchsorted(each, thresholds, side="left") for each in self.scores
        )
        return negative, positive


def _calibrated_in_the_large(series: _Series, share: float) -> float:
    """The probability at which sensitivity + specificity are largest, if one shift of all log-odds calibrates.

    The shift is that by which the mean probability becomes the share of positives, classes counted by their
    shares ("calibration in the large").

    Args:
        share: of the positive class, that the probabilities are for.
    """
    from scipy import optimize, special

    log_odds = [np.clip(special.logit(scores), -_CERTAIN, _CERTAIN) for scores in series.scores]

    def excess(shift: float) -> float:
        negative, positive = (special.expit(each + shift).mean() for each in log_odds)
        return float((1 - share) * negative + share * positive - share)

    furthest = 2 * _CERTAIN
    shift = optimize.brentq(excess, -furthest, furthest)
    return float(special.expit(special.logit(share) - shift))


def _cut_quality(rule: ThresholdRule, series: _Series, scores: Array) -> tuple[Array, float]:
    """What the rule maximises, and how much of it one example is worth.

    Args:
        scores: float[G], sorted; cut `g` calls those from `g` on positive, and cut G none.

    Returns:
        float[G + 1], one per cut, and the tolerance.
    """
    negatives, positives = series.sizes
    false_positives, true_positives = series.called(np.append(scores, np.inf))
    sensitivity = true_positives / positives
    specificity = 1 - false_positives / negatives
    rounding = 1e-9
    if rule.name == "youden":
        # One example of either class, unless there are so few that it would mean much.
        one = max(1 / max(positives, negatives), min(1 / min(positives, negatives), 0.05))
        return sensitivity + specificity - 1, one + rounding
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
    return np.where(kept >= rule.target - rounding, other, _BROKEN), rounding


def _middle_of_plateau(scores: Array, good: Array) -> float:
    """The middle, in log-odds, of the widest run of good cuts, as a probability.

    Args:
        scores: float[G] probabilities, sorted.
        good: bool[G + 1], one per cut.
    """
    with np.errstate(divide="ignore"):
        log_odds = np.clip(np.log(scores) - np.log1p(-scores), -_CERTAIN, _CERTAIN)
    # Cut g holds for thresholds in (bounds[g], bounds[g + 1]].
    bounds = np.concatenate([[log_odds[0] - _MARGIN], log_odds, [log_odds[-1] + _MARGIN]])
    edges = np.flatnonzero(np.diff(np.concatenate([[0], good.astype(np.int8), [0]])))
    starts, ends = edges[::2], edges[1::2]
    widest = int(np.argmax(bounds[ends] - bounds[starts]))
    start, end = int(starts[widest]), int(ends[widest])
    middle = (bounds[start] + bounds[end]) / 2
    cut = int(np.clip(np.searchsorted(log_odds, middle), start, end - 1))
    return _within_cut(float(predictions.probabilities(middle)), scores, cut)


def _within_cut(threshold: float, scores: Array, cut: int) -> float:
    """The threshold itself if it decides as the cut does; else the nearest number that does."""
    above_last = math.nextafter(float(scores[-1]), math.inf)
    highest = float(scores[cut]) if cut < len(scores) else max(1.0, above_last)
    if cut and threshold <= scores[cut - 1]:
        return highest if cut < len(scores) else above_last
    return min(threshold, highest)


def _operating_point(
    threshold: float, rule: ThresholdRule, series: Sequence[_Series]
) -> ChosenThreshold:
    """What a threshold gives on all examples together."""
    called = [each.called(np.array([threshold])) for each in series]
    negatives, positives = (sum(each.sizes[label] for each in series) for label in (0, 1))
    false_positives, true_positives = (
        sum(int(each[label][0]) for each in called) for label in (0, 1)
    )
    num_called = true_positives + false_positives
    return ChosenThreshold(
        threshold=threshold,
        rule=str(rule),
        num_examples=positives + negatives,
        sensitivity=true_positives / positives,
        specificity=1 - false_positives / negatives,
        accuracy=(true_positives + negatives - false_positives) / (positives + negatives),
        precision=true_positives / num_called if num_called else None,
        f1=2 * true_positives / (positives + num_called),
    )
