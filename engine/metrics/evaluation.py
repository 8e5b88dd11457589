"""How good the probabilities of a split are: every metric with its interval, and what goes with them.

Everything here takes plain arrays and returns plain arrays or small dataclasses; nothing draws. The
arrays are those of `engine.metrics.predictions`.

Intervals are of 95 %, over patients and not images: the images of one patient resemble one another, so
counting images would claim more certainty than there is.

    proportions and AUROC       closed forms of `engine.metrics.intervals`
    loss and Brier score        BCa bootstrap over patients
    all others                  bootstrap variance over patients, and the interval of a proportion
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.metrics import bootstrap, calibration, intervals, predictions

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
CLASS_METRICS = (
    "auroc",
    "average_precision",
    "sensitivity",
    "specificity",
    "precision",
    "recall",
    "f1",
)
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
    reliability: calibration.Reliability

    def to_json(self) -> dict[str, Any]:
        """The contents of `metrics.json`: valid JSON, in which no NaN stands."""
        values: dict[str, Any] = {
            "num_examples": self.num_examples,
            "num_patients": self.num_patients,
            "num_resamples": self.num_resamples,
            "confidence": intervals.CONFIDENCE,
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
        values["expected_calibration_error"] = self.reliability.expected_calibration_error
        values["reliability"] = self.reliability.to_json()
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
    log_odds: Array | None = None,
) -> Evaluation:
    """Measures probabilities against labels.

    Args:
        labels: int[N].
        probabilities: float[N] or float[N, K]; of [N, 2], column 1 is the positive class.
        patients: str[N]; None or '' makes an image a patient of its own.
        class_names: K names, in the order of the class indices.
        threshold: the positive class is predicted where its probability reaches it; of more than
            two classes the largest probability decides, and the threshold is not used.
        resamples: how many bootstrap resamples the intervals of loss, Brier score, F1, average
            precision and means over classes come from; the others use none.
        seed: the intervals are a pure function of the arrays and of this.
        log_odds: as the probabilities; what examples are ranked by, where probabilities of float32
            are tied at 0 and 1. None ranks by the probabilities.

    Raises:
        UserError: there is no example, the arrays do not fit one another, a label names no class,
            or a probability is not a number between 0 and 1.
    """
    labels, probabilities = predictions.checked(labels, probabilities, len(class_names))
    binary = probabilities.ndim == 1
    threshold = (0.5 if threshold is None else float(threshold)) if binary else None
    examples = bootstrap.Examples(
        labels=labels,
        predicted=predictions.predict_labels(probabilities, threshold),
        probabilities=probabilities,
        ranked_by=predictions.checked_ranking(probabilities, log_odds),
        groups=predictions.patient_groups(patients, len(labels)),
        scored=(1,) if binary else tuple(range(len(class_names))),
    )
    resamples = bootstrap.affordable_resamples(
        resamples, examples=len(labels), classes=len(examples.scored)
    )
    estimator = _Estimator(examples, resamples=resamples, seed=seed)
    return Evaluation(
        class_names=tuple(class_names),
        num_examples=len(labels),
        num_patients=examples.num_groups,
        num_resamples=resamples,
        threshold=threshold,
        metrics={name: estimator.estimate(name) for name in METRICS},
        per_class={}
        if binary
        else {
            class_name: {name: estimator.estimate(name, place) for name in CLASS_METRICS}
            for place, class_name in enumerate(class_names)
        },
        confusion=confusion_matrix(labels, examples.predicted, len(class_names)),
        reliability=calibration.reliability_curve(labels, probabilities, groups=examples.groups),
    )


def confusion_matrix(labels: Array, predicted: Array, num_classes: int) -> Array:
    """int64[K, K]: rows the true class, columns the predicted one."""
    matrix: Array = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(matrix, (labels, predicted), 1)
    return matrix


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


class _Estimator:
    """The metrics of one set of examples, each with its interval or the reason why it has none."""

    def __init__(self, examples: bootstrap.Examples, *, resamples: int, seed: int) -> None:
        self._examples, self._resamples, self._seed = examples, resamples, seed
        self._values = bootstrap.measure(examples)
        imagined = examples.with_imaginary_patients()
        self._near = bootstrap.measure(imagined)
        self._spread = bootstrap.resample(imagined, resamples=resamples, seed=seed)

    def estimate(self, name: str, place: int | None = None) -> Estimate:
        """A metric over all, or of the class at a place of more than two."""
        value = float(_values_of(self._values, name, place)[0])
        if np.isnan(value):
            return Estimate(None, None, None, f"undefined: {_WHY_UNDEFINED[name]}")
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
        spread = _values_of(self._spread, name, place)
        return intervals.bounded(
            value,
            near=float(_values_of(self._near, name, place)[0]),
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


def _values_of(values: bootstrap.Values, name: str, place: int | None) -> Array:
    """float[R]: a metric over all, or of one class."""
    return values.overall[name] if place is None else values.classes[name][:, place]
