"""What an evaluation leaves on disk: `RUN/evaluation/<name>/`.

    metrics.json  predictions.csv  roc.png  precision_recall.png  confusion_matrix.png  calibration.png
    probabilities.png  decision_curve.png
    most_wrong.png  least_certain.png   unless --contact-sheets 0
    shifts.json   with --shifts
    strata.png    with --strata
    members.json  of several runs, averaged

One directory holds one whole measurement: of one split of one data set, by one model, which
`metrics.json` names. That file is removed first and written last: results without it are incomplete.
`engine.runs.stored_evaluations` and `stored_predictions` read them back.
"""

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.base import files, locks
from engine.base.config import UserError
from engine.base.csv_rows import CsvRows
from engine.inference.predictor import Outputs
from engine.metrics import curves
from engine.metrics.estimate import Estimate
from engine.metrics.evaluation import Evaluation
from engine.metrics.predictions import predict_labels
from engine.metrics.subject import Subject
from engine.metrics.unlike_results import UNDECIDED, is_unlike
from engine.runs import (
    decision_curve_plot,
    plots,
    probability_plot,
    stored_evaluations,
    stored_predictions,
    strata_plot,
)
from engine.shards import data_identity

_SHOWN = 8  # characters of an identity in a name


@dataclasses.dataclass(frozen=True)
class SplitPredictions:
    """A split's examples in the order of its records: labels int64[N], probabilities and log-odds
    float64[N] or float64[N, K], and paths and patients, N texts each.

    Attributes:
        members: where several runs are averaged, what each of them gives.
        spread: of those, as `Outputs.spread`.
        distances: as `Outputs.distances`.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    log_odds: np.ndarray
    paths: list[str]
    patients: list[str]
    members: tuple[Outputs, ...] = ()
    spread: np.ndarray | None = None
    distances: np.ndarray | None = None


def directory_name(split: str, *, trained_on: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """The split's name, which on other data than the run's own is followed by a part of their identity."""
    if not data_identity.differences(trained_on, data):
        return split
    return f"{split}-{data['identity'][:_SHOWN]}"


def settings_name(name: str, subject: Subject, class_names: Sequence[str]) -> str:
    """The name of an evaluation, for one by another prevalence, of which the run's classes are changed, or
    that averages over mirror images."""
    if subject.changed_classes(class_names):
        name += "-mapped"
    if subject.flip_average:
        name += "-flip-average"
    if subject.prevalence_estimated:
        return name + "-prevalence-estimated"
    if subject.prevalence is not None:
        binary = len(subject.prevalence) == 2
        shares = subject.prevalence[1:] if binary else subject.prevalence
        name += "-prevalence-" + "-".join(f"{share:.4g}" for share in shares)
    return name


def averaged_name(name: str, count: int, model: str | None) -> str:
    """The name of a run's evaluation, for the average of it and others: which ones, their models say."""
    return f"{name}-mean-of-{count}-{str(model)[:_SHOWN]}"


@contextlib.contextmanager
def held(directory: Path, subject: Subject) -> Iterator[None]:
    """Reserves the directory for one evaluation.

    Raises:
        UserError: another process evaluates there, or it holds results on other data, or with other
            settings that change the figures.
    """
    with locks.held(directory, purpose="an evaluation"):
        _require_same_kind(directory, subject)
        yield


def _require_same_kind(directory: Path, subject: Subject) -> None:
    try:
        before = stored_evaluations.read(directory).subject
    except UserError:
        return  # none, a part, or of an earlier version
    if before is None or (found := _difference(before, subject)) is None:
        return
    raise UserError(f"{directory}: holds results {found}; give another --name, or remove them")


def _difference(before: Subject, now: Subject) -> str | None:
    """In what two evaluations differ so that one must not replace the other."""
    if (before.split, before.identity) != (now.split, now.identity):
        return f"on other data, the {before.split} split of {before.shards}"
    if before.classes != now.classes:
        return f"with other --classes ({_pairs(before.classes)}, now {_pairs(now.classes)})"
    if before.prevalence_estimated != now.prevalence_estimated:
        return (
            "with a prevalence that was "
            + ("" if before.prevalence_estimated else "not ")
            + "estimated"
        )
    if before.prevalence != now.prevalence and not now.prevalence_estimated:
        return f"with another --prevalence ({_shares(before.prevalence)}, now {_shares(now.prevalence)})"
    if before.flip_average != now.flip_average:
        return ("with" if before.flip_average else "without") + " --flip-average"
    if before.averaged != now.averaged:
        return f"of {_runs(before.averaged)}, not of {_runs(now.averaged)}"
    return None


def _pairs(classes: Mapping[str, str] | None) -> str:
    return "none" if classes is None else ",".join(f"{a}={b}" for a, b in classes.items())


def _shares(shares: Sequence[float] | None) -> str:
    return "none" if shares is None else ",".join(f"{share:.4g}" for share in shares)


def _runs(averaged: Sequence[str]) -> str:
    return f"the average of {', '.join(averaged)}" if averaged else "this run alone"


def write_results(
    directory: Path,
    result: Evaluation,
    predictions: SplitPredictions,
    *,
    formats: Sequence[str] = ("png",),
    draw_sheets: Callable[[Path], None] | None = None,
) -> None:
    """Replaces what the directory holds with these results.

    Args:
        result: with its subject.
        formats: what figures are written as; see `figure_style.save_all`.
        draw_sheets: draws contact sheets into the directory.
    """
    # Meanwhile a training may have removed the directory (--overwrite).
    directory.mkdir(parents=True, exist_ok=True)
    _clear(directory)
    split = result.subject.split if result.subject else directory.name
    draw_figures(directory, result, predictions, split=split, formats=formats)
    if draw_sheets is not None:
        draw_sheets(directory)
    write_predictions(directory / stored_predictions.PREDICTIONS, result, predictions)
    values = result.to_json()
    for part in (stored_evaluations.SHIFTS, stored_evaluations.MEMBERS):
        if (found := values.pop(Path(part).stem, None)) is not None:
            files.write_json(directory / part, found)
    files.write_json(directory / stored_evaluations.METRICS, values)


def _clear(directory: Path) -> None:
    """Removes the files of an earlier evaluation, `metrics.json` first."""
    (directory / stored_evaluations.METRICS).unlink(missing_ok=True)
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != locks.LOCK_NAME:
            path.unlink()


def write_predictions(path: Path, result: Evaluation, predictions: SplitPredictions) -> None:
    """One row per image: `path,label,probability,predicted,logit,...,patient`; `label` is the true class.

    With two classes, `probability` is that of the positive class. With more, it is that of the predicted
    class, and the columns `probability_<class>` and `logit_<class>` of each class follow. A logit is
    log(p / (1 - p)), by which images are ranked. Where several runs are averaged, `spread` follows: the
    standard deviation of that probability over them; and where it is known, `distance` from the training
    images. The last column is the patient, empty where unknown. With --abstain, `predicted` is
    `undecided` where the distance is above 1. Numbers have the digits of float32.
    """
    names = result.class_names
    predicted = predict_labels(predictions.probabilities, result.threshold)
    header, rows = _columns_of(predictions, predicted, names)
    left_out = _left_undecided(result, predictions)
    with files.written_aside(path) as aside, open(aside, "w", encoding="utf-8", newline="") as file:
        writer = CsvRows(file)
        writer.writerow(["path", "label", "probability", "predicted", *header, "patient"])
        for place, (image, (shown, *others)) in enumerate(
            zip(predictions.paths, rows, strict=True)
        ):
            label = names[predictions.labels[place]]
            called = UNDECIDED if left_out[place] else names[predicted[place]]
            patient = predictions.patients[place]
            writer.writerow([image, label, shown, called, *others, patient])


def _columns_of(
    predictions: SplitPredictions, predicted: np.ndarray, names: Sequence[str]
) -> tuple[list[str], Iterable[list[str]]]:
    """The names of the columns after `predicted`; for each image its probability and their values."""
    probabilities, log_odds = predictions.probabilities, predictions.log_odds
    if probabilities.ndim == 1:
        header, values = ["logit"], np.stack([probabilities, log_odds], axis=1)
    else:
        own = probabilities[np.arange(len(predicted)), predicted]
        header = [f"{kind}_{name}" for kind in ("probability", "logit") for name in names]
        values = np.concatenate([own[:, None], probabilities, log_odds], axis=1)
    spread = predictions.spread
    if spread is not None:
        own_spread = spread if spread.ndim == 1 else spread[np.arange(len(predicted)), predicted]
        header, values = [*header, "spread"], np.column_stack([values, own_spread])
    if predictions.distances is not None:
        header, values = [*header, "distance"], np.column_stack([values, predictions.distances])
    return header, ([f"{value:.9g}" for value in row] for row in values)


def _left_undecided(result: Evaluation, predictions: SplitPredictions) -> np.ndarray:
    """bool[N]: the images that are unlike the training images, if these were not to be decided."""
    if predictions.distances is None or result.unlike is None or not result.unlike.abstained:
        return np.zeros(len(predictions.paths), bool)
    return is_unlike(predictions.distances)


def draw_figures(
    directory: Path,
    result: Evaluation,
    predictions: SplitPredictions,
    *,
    split: str,
    formats: Sequence[str] = ("png",),
) -> None:
    """Draws roc, precision_recall, confusion_matrix, calibration, probabilities and decision_curve
    (the last of up to 20 classes), and the strata if they were measured."""
    metrics, names = result.metrics, result.class_names
    labels, log_odds = predictions.labels, predictions.log_odds
    binary = log_odds.ndim == 1
    scored = {1: log_odds} if binary else dict(enumerate(log_odds.T))
    scored = {k: scores for k, scores in scored.items() if 0 < (labels == k).sum() < len(labels)}
    roc_curves, recall_curves = [], []
    areas: dict[str, list[str]] = {"auroc": [], "average_precision": []}
    for index, scores in scored.items():
        false_rate, true_rate, _ = curves.roc_curve(labels == index, scores)
        precision, recall, _ = curves.precision_recall_curve(labels == index, scores)
        roc_curves.append((names[index], false_rate, true_rate))
        recall_curves.append((names[index], recall, precision))
        for metric, texts in areas.items():
            if not binary:
                texts.append(f"{result.per_class[names[index]][metric].value:.3f}")
    plots.roc(
        roc_curves,
        directory / "roc.png",
        area=str(metrics["auroc"]),
        class_areas=areas["auroc"],
        operating_point=_point(metrics, "specificity", "sensitivity", binary=binary),
        title=f"ROC, {split} split",
        formats=formats,
    )
    plots.precision_recall(
        recall_curves,
        directory / "precision_recall.png",
        area=str(metrics["average_precision"]),
        class_areas=areas["average_precision"],
        operating_point=_point(metrics, "recall", "precision", binary=binary),
        prevalence=float((labels == 1).mean()) if binary else None,
        title=f"Precision-recall, {split} split",
        formats=formats,
    )
    plots.confusion_matrix(
        result.confusion,
        names,
        directory / "confusion_matrix.png",
        title=f"Confusion matrix, {split} split",
        formats=formats,
    )
    bins = result.reliability
    plots.calibration(
        bins.edges,
        bins.predicted,
        bins.observed,
        (bins.low, bins.high),
        bins.counts,
        directory / "calibration.png",
        error=bins.expected_calibration_error,
        subject=names[1] if binary else "the predicted class",
        title=f"Calibration, {split} split",
        formats=formats,
    )
    probability_plot.draw(
        labels,
        predictions.probabilities,
        names,
        directory / "probabilities.png",
        threshold=result.threshold,
        title=f"Probabilities, {split} split",
        formats=formats,
    )
    decision_curve_plot.draw(
        result.decision_curves,
        directory / "decision_curve.png",
        title=f"Decision curve, {split} split",
        formats=formats,
    )
    if result.strata:
        strata_plot.draw(
            result.strata, directory / "strata.png", title=f"{split} split", formats=formats
        )


def _point(
    metrics: dict[str, Estimate], x: str, y: str, *, binary: bool
) -> tuple[float, float] | None:
    """The operating point, for two classes and if both rates are defined."""
    across, up = metrics[x].value, metrics[y].value
    if not binary or across is None or up is None:
        return None
    return (1 - across if x == "specificity" else across), up
