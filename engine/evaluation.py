"""How good the probabilities are: metrics with intervals, thresholds, curves, calibration.

Everything here takes plain arrays and returns plain arrays or small dataclasses; nothing draws.
    labels         int[N], the class index; of two classes, index 1 is the positive one
    probabilities  float[N], of the positive class, or float[N, K], one column a class
    patients       str[N], who is in the image; '' where nobody knows (the image then stands alone)

Intervals are 95 % percentile bootstraps over patients, not images: the images of one patient
resemble one another, so resampling images would claim more certainty than there is (Efron and
Tibshirani, An Introduction to the Bootstrap, 1993, chapter 8).
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine import bootstrap
from engine.config import UserError

METRICS = (
    "loss",
    "accuracy",
    "balanced_accuracy",
    "auroc",
    "average_precision",
    "sensitivity",
    "specificity",
    "precision",
    "recall",
    "f1",
    "brier",
)
CONFIDENCE = 0.95
Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A metric and its interval; None where it is undefined, and `reason` then says why."""

    value: float | None
    low: float | None
    high: float | None
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """`{"value", "low", "high"}`, and `"reason"` where one of them is null."""
        values: dict[str, Any] = {"value": self.value, "low": self.low, "high": self.high}
        if self.reason is not None:
            values["reason"] = self.reason
        return values


@dataclasses.dataclass(frozen=True)
class Reliability:
    """How often what was given a probability came true, by bins of the probability.

    Attributes:
        edges: float[bins + 1], of the bins, from 0 to 1.
        predicted, observed: float[bins], the mean probability and the fraction that came true;
            NaN in an empty bin.
        counts: int[bins], the examples in each bin.
        expected_calibration_error: the mean of |observed - predicted|, weighted by the counts.
    """

    edges: Array
    predicted: Array
    observed: Array
    counts: Array
    expected_calibration_error: float


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """All figures of one split.

    Attributes:
        metrics: name -> estimate; the names are those of `METRICS`. With more than two classes they
            are one-vs-rest and averaged over the classes, but `accuracy` is top-1.
        per_class: class name -> metric -> estimate; empty for two classes.
        confusion: int[K, K], rows the true class, columns the predicted one.
        threshold: the decision threshold; None where the largest probability decides.
    """

    class_names: tuple[str, ...]
    num_examples: int
    num_patients: int
    num_resamples: int
    threshold: float | None
    metrics: dict[str, Estimate]
    per_class: dict[str, dict[str, Estimate]]
    confusion: Array
    reliability: Reliability

    def to_json(self) -> dict[str, Any]:
        """The contents of `metrics.json`: valid JSON, in which no NaN stands."""
        bins = self.reliability
        values: dict[str, Any] = {
            "num_examples": self.num_examples,
            "num_patients": self.num_patients,
            "num_resamples": self.num_resamples,
            "confidence": CONFIDENCE,
            "class_names": list(self.class_names),
            "threshold": self.threshold,
            "loss": self.metrics["loss"].value,
            "loss_interval": self.metrics["loss"].to_json(),
        }
        values.update({k: v.to_json() for k, v in self.metrics.items() if k != "loss"})
        if self.per_class:
            values["per_class"] = {
                name: {metric: estimate.to_json() for metric, estimate in row.items()}
                for name, row in self.per_class.items()
            }
        values["confusion_matrix"] = self.confusion.tolist()
        values["expected_calibration_error"] = bins.expected_calibration_error
        values["reliability"] = [
            {"low": low, "high": high, "count": count, "predicted": mean, "observed": fraction}
            for low, high, count, mean, fraction in zip(
                bins.edges[:-1].tolist(),
                bins.edges[1:].tolist(),
                bins.counts.tolist(),
                bins.predicted.tolist(),
                bins.observed.tolist(),
                strict=True,
            )
            if count
        ]
        return values


def evaluate(
    labels: Array,
    probabilities: Array,
    patients: Sequence[str] | Array | None = None,
    *,
    class_names: Sequence[str],
    threshold: float | None = 0.5,
    resamples: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Measures probabilities against labels.

    Args:
        labels: int[N].
        probabilities: float[N] or float[N, K]; of [N, 2], column 1 is the positive class.
        patients: str[N]; None or '' makes an image a patient of its own.
        class_names: K names, in the order of the class indices.
        threshold: the positive class is predicted where its probability reaches it; of more than
            two classes the largest probability decides, and the threshold is not used.
        resamples: how many bootstrap resamples the intervals come from.
        seed: the intervals are a pure function of the arrays and of this.

    Raises:
        UserError: there is no example, the arrays do not fit one another, a label names no class,
            or a probability is not a number between 0 and 1.
    """
    labels, probabilities = _checked(labels, probabilities, len(class_names))
    groups = _groups(patients, len(labels))
    binary = probabilities.ndim == 1
    threshold = (0.5 if threshold is None else float(threshold)) if binary else None
    predicted = predict_labels(probabilities, threshold)
    scored = (1,) if binary else tuple(range(len(class_names)))
    resamples = bootstrap.affordable_resamples(resamples, examples=len(labels), classes=len(scored))
    value = bootstrap.measure(labels, probabilities, predicted, scored)
    spread = bootstrap.resample(
        labels, probabilities, predicted, scored, groups=groups, resamples=resamples, seed=seed
    )
    metrics, rows = _estimates(value, spread, groups=int(groups.max()) + 1, binary=binary)
    return Evaluation(
        class_names=tuple(class_names),
        num_examples=len(labels),
        num_patients=int(groups.max()) + 1,
        num_resamples=resamples,
        threshold=threshold,
        metrics=metrics,
        per_class={} if binary else dict(zip(class_names, rows, strict=True)),
        confusion=confusion_matrix(labels, predicted, len(class_names)),
        reliability=reliability_curve(labels, probabilities),
    )


def predict_labels(probabilities: Array, threshold: float | None = 0.5) -> Array:
    """int64[N]: 1 where float[N] reaches the threshold, or the largest column of float[N, K]."""
    if probabilities.ndim == 1:
        return (probabilities >= (0.5 if threshold is None else threshold)).astype(np.int64)
    return probabilities.argmax(axis=1).astype(np.int64)


def as_probabilities(outputs: Array) -> Array:
    """A model's outputs, float[N, 1] or float[N, K], in this module's form.

    Two columns become the second one alone, so that two classes are met in one form only.
    """
    if outputs.ndim == 2 and outputs.shape[1] <= 2:
        return outputs[:, -1]
    return outputs


# --- thresholds ---------------------------------------------------------------------------------


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
    labels, probabilities = _checked(labels, probabilities, 2)
    positives, negatives = int(labels.sum()), int((1 - labels).sum())
    if not positives or not negatives:
        missing = "positive" if not positives else "negative"
        raise UserError(
            f"a threshold cannot be chosen: none of {len(labels)} validation images is {missing}; "
            "expected both classes (build the shards with a larger --validation-fraction)"
        )
    scores, above_positive, above_negative = _cuts(labels, probabilities)
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


def _cuts(labels: Array, probabilities: Array) -> tuple[Array, Array, Array]:
    """Sorted distinct scores [G], and how many of each class lie at or above each cut [G + 1].

    Cut `g` calls the scores from index `g` on positive: cut 0 all, cut G none.
    """
    scores, index = np.unique(probabilities, return_inverse=True)
    counts: Array = np.zeros((2, len(scores) + 1), np.int64)
    np.add.at(counts, (labels, index.reshape(-1)), 1)
    above = counts[:, ::-1].cumsum(axis=1)[:, ::-1]
    return scores, above[1], above[0]


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


# --- curves and calibration ---------------------------------------------------------------------


def auroc(labels: Array, scores: Array) -> float | None:
    """The chance that a positive scores above a negative, ties counting half (Mann-Whitney).

    Args:
        labels: int or bool [N].
        scores: float[N].

    Returns:
        The area under the ROC curve, exact with ties; None where a class is missing.
    """
    positive = np.asarray(labels).astype(bool)
    area, _ = bootstrap.Ranking(positive, np.asarray(scores)).measure(np.ones((1, len(positive))))
    return None if np.isnan(area[0]) else float(area[0])


def mean_auroc(labels: Array, probabilities: Array) -> float | None:
    """AUROC of float[N], or the mean over classes of float[N, K], each against the rest.

    Classes for which it is not defined are left out; None where it is for none.
    """
    if probabilities.ndim == 1:
        return auroc(labels, probabilities)
    each = [auroc(labels == k, probabilities[:, k]) for k in range(probabilities.shape[1])]
    defined = [value for value in each if value is not None]
    return float(np.mean(defined)) if defined else None


def roc_curve(labels: Array, scores: Array) -> tuple[Array, Array, Array]:
    """False positive rate, true positive rate and threshold, float[G + 1], from strict to lax.

    The first point calls nothing positive; its threshold is infinite. Rates of an absent class are
    NaN.
    """
    cuts, above_positive, above_negative = _cuts(np.asarray(labels).astype(np.int64), scores)
    with np.errstate(invalid="ignore"):
        true_rate = above_positive[::-1] / above_positive[0]
        false_rate = above_negative[::-1] / above_negative[0]
    return false_rate, true_rate, np.concatenate([[np.inf], cuts[::-1]])


def precision_recall_curve(labels: Array, scores: Array) -> tuple[Array, Array, Array]:
    """Precision, recall and threshold, float[G + 1], from strict to lax; the first is (1, 0)."""
    cuts, above_positive, above_negative = _cuts(np.asarray(labels).astype(np.int64), scores)
    called = (above_positive + above_negative)[::-1]
    with np.errstate(invalid="ignore"):
        precision = np.where(called > 0, above_positive[::-1] / np.maximum(called, 1), 1.0)
        recall = above_positive[::-1] / above_positive[0]
    return precision, recall, np.concatenate([[np.inf], cuts[::-1]])


def confusion_matrix(labels: Array, predicted: Array, num_classes: int) -> Array:
    """int64[K, K]: rows the true class, columns the predicted one."""
    matrix: Array = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(matrix, (labels, predicted), 1)
    return matrix


def reliability_curve(labels: Array, probabilities: Array, *, bins: int = 10) -> Reliability:
    """Bins of equal width over P(positive), or over the largest probability of many classes.

    The error is that of Naeini et al., Obtaining well calibrated probabilities using Bayesian
    binning, 2015; for many classes, of Guo et al., On calibration of modern neural networks, 2017.
    """
    if probabilities.ndim == 1:
        confidence, came_true = probabilities, labels == 1
    else:
        confidence, came_true = probabilities.max(axis=1), labels == probabilities.argmax(axis=1)
    confidence = np.asarray(confidence, np.float64)
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        predicted = np.bincount(place, weights=confidence, minlength=bins) / counts
        observed = np.bincount(place, weights=came_true, minlength=bins) / counts
    gaps = np.where(counts > 0, np.abs(observed - predicted), 0.0)
    return Reliability(
        edges=np.linspace(0, 1, bins + 1),
        predicted=predicted,
        observed=observed,
        counts=counts,
        expected_calibration_error=float((gaps * counts).sum() / max(1, counts.sum())),
    )


def fit_temperature(labels: Array, probabilities: Array) -> float:
    """The temperature that calibrates best: logits are divided by it (Guo et al., 2017).

    Fitted on validation by least cross-entropy; above 1 the model was too sure. It never changes
    the order of binary scores, nor the largest class.

    Raises:
        UserError: as `evaluate`.
    """
    from scipy import optimize

    classes = 2 if np.ndim(probabilities) == 1 else np.shape(probabilities)[1]
    labels, probabilities = _checked(labels, probabilities, classes)

    def loss_at(log_temperature: float) -> float:
        tempered = apply_temperature(probabilities, math.exp(log_temperature))
        return float(bootstrap.cross_entropy(labels, tempered).mean())

    found = optimize.minimize_scalar(
        loss_at,
        bounds=(math.log(0.05), math.log(20.0)),
        method="bounded",
    )
    return float(math.exp(found.x))


def apply_temperature(probabilities: Array, temperature: float) -> Array:
    """The probabilities, float[N] or float[N, K], that logits divided by `temperature` give."""
    clipped = np.clip(np.asarray(probabilities, np.float64), bootstrap.PROBABILITY_FLOOR, 1.0)
    if clipped.ndim == 1:
        clipped = np.minimum(clipped, 1 - bootstrap.PROBABILITY_FLOOR)
        return 1 / (1 + ((1 - clipped) / clipped) ** (1 / temperature))
    powers = clipped ** (1 / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


# --- estimates -----------------------------------------------------------------------------------

_WHY_UNDEFINED = {
    "auroc": "it needs examples of both classes",
    "average_precision": "the split holds no example of the class",
    "sensitivity": "the split holds no example of the class",
    "recall": "the split holds no example of the class",
    "specificity": "the split holds no example of another class",
    "precision": "nothing was predicted to be of the class",
    "f1": "the class was neither present nor predicted",
    "balanced_accuracy": "it needs examples of both classes",
}


def _estimates(
    value: bootstrap.Values, spread: bootstrap.Values, *, groups: int, binary: bool
) -> tuple[dict[str, Estimate], list[dict[str, Estimate]]]:
    overall = {
        name: _estimate(name, value.overall[name][0], spread.overall[name], groups)
        for name in METRICS
    }
    if binary:
        return overall, []
    num_classes = next(iter(value.classes.values())).shape[1]
    rows = [
        {
            name: _estimate(name, value.classes[name][0, place], values[:, place], groups)
            for name, values in spread.classes.items()
        }
        for place in range(num_classes)
    ]
    return overall, rows


def _estimate(name: str, value: Any, resampled: Array, groups: int) -> Estimate:
    """The interval comes from the resamples in which the metric is defined."""
    if np.isnan(value):
        return Estimate(None, None, None, f"undefined: {_WHY_UNDEFINED[name]}")
    if groups < 2:
        return Estimate(float(value), None, None, "an interval needs two patients or more")
    defined = resampled[~np.isnan(resampled)]
    if not len(defined):
        return Estimate(float(value), None, None, "undefined in every resample")
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Estimate(float(value), float(low), float(high))


def _groups(patients: Sequence[str] | Array | None, count: int) -> Array:
    """int64[N]: which patient each example is of; an unknown one is of its own."""
    if patients is None:
        return np.arange(count)
    names = np.asarray(patients, dtype=str)
    if names.shape != (count,):
        raise UserError(
            f"got patients of shape {names.shape} for {count} labels; expected one each"
        )
    known = names != ""
    groups = np.arange(count)
    _, index = np.unique(names[known], return_inverse=True)
    groups[known] = index.reshape(-1) + count
    return np.unique(groups, return_inverse=True)[1].reshape(-1)


def _checked(labels: Array, probabilities: Array, num_classes: int) -> tuple[Array, Array]:
    """int64[N] labels, and float64[N] probabilities of two classes or float64[N, K] of more."""
    labels = np.asarray(labels).reshape(-1).astype(np.int64)
    probabilities = as_probabilities(np.asarray(probabilities, np.float64))
    expected = (len(labels),) if num_classes == 2 else (len(labels), num_classes)
    if probabilities.shape != expected:
        raise UserError(
            f"got probabilities of shape {probabilities.shape} for {len(labels)} labels and "
            f"{num_classes} classes; expected {expected}"
        )
    if not len(labels):
        raise UserError("got no example to evaluate; expected at least one")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise UserError(
            f"got labels from {labels.min()} to {labels.max()}; expected 0 to {num_classes - 1}"
        )
    if not ((probabilities >= -1e-6) & (probabilities <= 1 + 1e-6)).all():
        raise UserError(
            f"got probabilities from {probabilities.min():g} to {probabilities.max():g}; expected "
            "0 to 1 (a model that diverged gives nan; train again at a lower --learning-rate)"
        )
    return labels, np.clip(probabilities, 0.0, 1.0)
