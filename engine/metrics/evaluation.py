"""How good the probabilities of a split are: every metric with its interval, as one object.

`evaluate` takes plain arrays, those of `engine.metrics.predictions`, and returns an `Evaluation`, which
goes to JSON and back. `engine.evaluation.run_evaluation` measures a trained run with it.

Intervals are of 95 %, over patients and not images: the images of one patient resemble one another, so
counting images would claim more certainty than there is.

    proportions and AUROC         closed forms of `engine.metrics.intervals`
    likelihood ratios, and        from those of sensitivity and specificity, by
    predictive values elsewhere     `engine.metrics.likelihood_ratios`
    loss and Brier scores         BCa bootstrap over patients
    calibration slope, intercept  sandwich variance, `engine.metrics.calibration_fit`
    all others                    bootstrap variance over patients, and the interval of a proportion
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.base.config import UserError
from engine.base.wording import counted
from engine.metrics import (
    bootstrap,
    calibration,
    decision_curve,
    metric_names,
    operating_points,
    predictions,
    predictive_values,
    thresholds,
    unlike_results,
)
from engine.metrics import strata as stratification
from engine.metrics.decision_curve import DecisionCurve
from engine.metrics.estimate import CONFIDENCE, HEADLINE, Estimate, title
from engine.metrics.estimator import Estimator
from engine.metrics.member_results import MemberResults
from engine.metrics.metric_names import CLASS_METRICS
from engine.metrics.operating_points import OperatingPoint
from engine.metrics.predictive_values import PredictiveValues
from engine.metrics.prior_shift import EstimatedShares
from engine.metrics.recalibration import Recalibration
from engine.metrics.shift_results import ShiftResults
from engine.metrics.strata_results import StrataResults
from engine.metrics.subject import Subject
from engine.metrics.unlike_results import UnlikeResults

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """All figures of one split. `str()` gives the few that matter most.

    Attributes:
        metrics: name -> estimate; the names are those of `metric_names.overall`, in results of earlier
            versions fewer. With more than two classes they are one-vs-rest and averaged over the
            classes (macro), but `accuracy`, `mcc` and `kappa` are of all classes at once.
        per_class: class name -> metric -> estimate; empty for two classes.
        averages: of more than two classes, `weighted` and `micro` -> metric -> estimate.
        confusion: int[K, K], rows the true class, columns the predicted one.
        threshold: the decision threshold; None where the largest probability decides.
        subject: what was measured; None where only arrays were.
        shifts: the figures under changed exposure, contrast, framing and sharpness, if measured.
        strata: the figures by each column of metadata that was asked for.
        recalibration: what labelled images of the place would give, if that was asked for.
        members: the figures of each run, where several were averaged.
        unlike: how many images are unlike the training images, and the figures with and without them;
            None where the run does not know.
        operating_points: sensitivity at fixed specificities and the reverse, of each class that is scored.
        predictive_values: PPV and NPV at other shares of the classes.
        decision_curves: the net benefit of the positive class of two, or of each of up to 20.
        estimated_shares: the shares of the classes that probabilities are given for, where these were
            estimated from the images.
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
    subject: Subject | None = None
    shifts: ShiftResults | None = None
    strata: tuple[StrataResults, ...] = ()
    recalibration: Recalibration | None = None
    members: MemberResults | None = None
    unlike: UnlikeResults | None = None
    averages: dict[str, dict[str, Estimate]] = dataclasses.field(default_factory=dict)
    operating_points: tuple[OperatingPoint, ...] = ()
    predictive_values: tuple[PredictiveValues, ...] = ()
    decision_curves: tuple[DecisionCurve, ...] = ()
    estimated_shares: EstimatedShares | None = None

    def __str__(self) -> str:
        return "\n".join(self.summary_lines())

    def summary_lines(self) -> list[str]:
        """What was counted, how it was decided, and the headline metrics, one per line."""
        split = f"{self.subject.split}: " if self.subject else ""
        if self.threshold is None:
            decided = "the largest probability decides; rates are means over classes"
        else:
            decided = f"threshold {self.threshold:.3f} for {self.class_names[1]}"
        return [
            f"{split}{counted(self.num_examples, 'image')} of "
            f"{counted(self.num_patients, 'patient')}; "
            "95 % intervals over patients",
            decided,
            *(f"{title(name):<11}  {self.metrics[name]}" for name in HEADLINE),
            *(line for column in self.strata for line in column.summary_lines()),
            *(self.unlike.summary_lines() if self.unlike else ()),
        ]

    def to_json(self) -> dict[str, Any]:
        """The contents of `metrics.json`: valid JSON, without NaN.

        `shifts` and `members` are keys of their own where they were measured; on disk they are in
        `shifts.json` and `members.json`.
        """
        values: dict[str, Any] = self.subject.to_json() if self.subject else {}
        values |= {
            "num_examples": self.num_examples,
            "num_patients": self.num_patients,
            "num_resamples": self.num_resamples,
            "confidence": CONFIDENCE,
            "class_names": list(self.class_names),
            "threshold": self.threshold,
            "loss": self.metrics["loss"].value,
            "loss_interval": self.metrics["loss"].to_json(),
        }
        values |= {k: v.to_json() for k, v in self.metrics.items() if k != "loss"}
        if self.per_class:
            values["per_class"] = _tables_to_json(self.per_class)
        if self.averages:
            values["averages"] = _tables_to_json(self.averages)
        values["confusion_matrix"] = self.confusion.tolist()
        bins = self.reliability
        values["expected_calibration_error"] = bins.expected_calibration_error
        values["expected_calibration_error_equal_mass"] = bins.equal_mass_error
        values["expected_calibration_error_by_chance"] = bins.error_by_chance
        values["reliability"] = bins.to_json()
        for name, parts in (
            ("operating_points", self.operating_points),
            ("predictive_values", self.predictive_values),
            ("decision_curves", self.decision_curves),
        ):
            if parts:
                values[name] = [part.to_json() for part in parts]
        if self.estimated_shares is not None:
            values["estimated_shares"] = self.estimated_shares.to_json()
        if self.strata:
            values["strata"] = [column.to_json() for column in self.strata]
        if self.recalibration is not None:
            values["recalibration"] = self.recalibration.to_json()
        if self.unlike is not None:
            values["unlike"] = self.unlike.to_json()
        if self.shifts is not None:
            values["shifts"] = self.shifts.to_json()
        if self.members is not None:
            values["members"] = self.members.to_json()
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Evaluation":
        """The inverse of `to_json`, exact to the bit.

        Raises:
            UserError: the values are not those of an evaluation.
        """
        try:
            return cls._from_json(values)
        except KeyError as error:
            raise UserError(f"not the figures of an evaluation: {error} is missing") from error
        except (ArithmeticError, AttributeError, TypeError, ValueError) as error:
            raise UserError(f"not the figures of an evaluation: {error}") from error

    @classmethod
    def _from_json(cls, values: Mapping[str, Any]) -> "Evaluation":
        threshold, shifts = values["threshold"], values.get("shifts")
        members, recalibrated = values.get("members"), values.get("recalibration")
        unlike, shares = values.get("unlike"), values.get("estimated_shares")
        class_names = tuple(str(name) for name in values["class_names"])
        confusion = np.array(values["confusion_matrix"], np.int64)
        if confusion.shape != (len(class_names), len(class_names)):
            raise ValueError(f"got a confusion matrix of shape {confusion.shape}")
        return cls(
            class_names=class_names,
            num_examples=int(values["num_examples"]),
            num_patients=int(values["num_patients"]),
            num_resamples=int(values["num_resamples"]),
            threshold=None if threshold is None else float(threshold),
            metrics=_estimates(
                {**values, "loss": values["loss_interval"]},
                metric_names.overall(len(class_names)),
                required=metric_names.FIRST_METRICS,
            ),
            per_class={
                str(name): _estimates(row, CLASS_METRICS, required=metric_names.FIRST_CLASS_METRICS)
                for name, row in values.get("per_class", {}).items()
            },
            confusion=confusion,
            reliability=calibration.Reliability.from_json(
                values["reliability"],
                expected_calibration_error=values["expected_calibration_error"],
                equal_mass_error=values.get("expected_calibration_error_equal_mass"),
                error_by_chance=values.get("expected_calibration_error_by_chance"),
            ),
            subject=Subject.from_json(values),
            shifts=None if shifts is None else ShiftResults.from_json(shifts),
            strata=tuple(StrataResults.from_json(each) for each in values.get("strata", ())),
            recalibration=None if recalibrated is None else Recalibration.from_json(recalibrated),
            members=None if members is None else MemberResults.from_json(members),
            unlike=None if unlike is None else UnlikeResults.from_json(unlike),
            averages={
                str(kind): {str(name): Estimate.from_json(each) for name, each in row.items()}
                for kind, row in values.get("averages", {}).items()
            },
            operating_points=tuple(
                OperatingPoint.from_json(each) for each in values.get("operating_points", ())
            ),
            predictive_values=tuple(
                PredictiveValues.from_json(each) for each in values.get("predictive_values", ())
            ),
            decision_curves=tuple(
                DecisionCurve.from_json(each) for each in values.get("decision_curves", ())
            ),
            estimated_shares=None if shares is None else EstimatedShares.from_json(shares),
        )


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
    columns: Sequence[stratification.Column] = (),
    distances: Array | None = None,
    abstained: bool = False,
    rules: Sequence[str] = ("specificity=0.9", "sensitivity=0.95"),
    chosen: operating_points.Chosen | None = None,
    prevalence: Sequence[float] | None = None,
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
        columns: what is known of the examples; each is measured by its strata.
        distances: float[N], how far the images lie from the training images; those that are unlike them
            are measured apart.
        abstained: whether those were left undecided.
        rules: of the operating points, such as `specificity=0.9` for sensitivity where specificity is 0.9.
        chosen: thresholds that were chosen on validation by such rules: (class, rule) -> threshold.
        prevalence: the share of each class that probabilities are given for; decision curves and
            predictive values are then of a place with these shares too.

    Raises:
        UserError: there is no example, the arrays do not fit one another, a label names no class,
            a probability is not a number between 0 and 1, or a column gives no strata.
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
    estimator = Estimator(examples, resamples=resamples, seed=seed)
    return Evaluation(
        class_names=tuple(class_names),
        num_examples=len(labels),
        num_patients=examples.num_groups,
        num_resamples=resamples,
        threshold=threshold,
        metrics={name: estimator.estimate(name) for name in metric_names.overall(len(class_names))},
        averages={} if binary else _averages(estimator),
        per_class={}
        if binary
        else {
            class_name: {name: estimator.estimate(name, place) for name in CLASS_METRICS}
            for place, class_name in enumerate(class_names)
        },
        confusion=confusion_matrix(labels, examples.predicted, len(class_names)),
        reliability=calibration.reliability_curve(
            labels, probabilities, groups=examples.groups, seed=seed
        ),
        operating_points=operating_points.measure(
            examples,
            [thresholds.parse_threshold_rule(rule) for rule in rules],
            class_names=class_names,
            resamples=resamples,
            seed=seed,
            chosen=chosen,
        ),
        predictive_values=predictive_values.measure(
            examples, class_names=class_names, prevalence=prevalence
        ),
        decision_curves=decision_curve.measure(
            examples,
            class_names=class_names,
            resamples=resamples,
            seed=seed,
            prevalence=prevalence,
        ),
        strata=tuple(
            stratification.measure(
                examples, column, class_names=class_names, resamples=resamples, seed=seed
            )
            for column in columns
        ),
        unlike=None
        if distances is None
        else unlike_results.measure(
            examples,
            distances,
            class_names=class_names,
            resamples=resamples,
            seed=seed,
            abstained=abstained,
        ),
    )


def _averages(estimator: Estimator) -> dict[str, dict[str, Estimate]]:
    """The means over classes other than the plain ones. Of micro-averages of one label per image, precision,
    recall and F1 are the accuracy."""
    accuracy = estimator.estimate("accuracy")
    return {
        "weighted": {
            name: estimator.estimate(bootstrap.weighted(name))
            for name in metric_names.WEIGHTED_METRICS
        },
        "micro": {
            "auroc": estimator.micro_auroc(),
            **dict.fromkeys(("precision", "recall", "f1"), accuracy),
        },
    }


def _tables_to_json(tables: Mapping[str, Mapping[str, Estimate]]) -> dict[str, Any]:
    return {
        name: {metric: estimate.to_json() for metric, estimate in row.items()}
        for name, row in tables.items()
    }


def _estimates(
    values: Mapping[str, Any], names: Sequence[str], *, required: Sequence[str]
) -> dict[str, Estimate]:
    """Those of the names that are there; `required` ones must be."""
    return {
        name: Estimate.from_json(values[name])
        for name in names
        if name in values or name in required
    }


def confusion_matrix(labels: Array, predicted: Array, num_classes: int) -> Array:
    """int64[K, K]: rows the true class, columns the predicted one."""
    matrix: Array = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(matrix, (labels, predicted), 1)
    return matrix
