"""`python -m engine.evaluate RUN SHARDS`: how good a run is, with intervals over patients.

Writes `evaluation/<split>/` (metrics.json, predictions.csv, figures) and `report.md` into the run.
"""

import argparse
import csv
import dataclasses
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import command_line, config, files, progress
from engine.run_directory import RunDirectory
from engine.settings import EvaluateConfig

if TYPE_CHECKING:
    from engine.evaluation import Estimate, Evaluation
    from engine.predictor import DataSettings, Outputs, Predictor
    from engine.tfrecords import Manifest

PROGRAM = "python -m engine.evaluate"
TABLE_WIDTH = 80  # columns, where standard output is no terminal
_TITLES = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
    "brier": "Brier score",
    "loss": "loss (cross-entropy)",
}


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, metavar="RUN", help="made by engine.train")
    parser.add_argument(
        "shards", type=Path, metavar="SHARDS", help="made by engine.build_tfrecords"
    )
    config.add_flags(parser, EvaluateConfig)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    arguments = build_parser().parse_args(argv)
    return command_line.run(PROGRAM, lambda: _run(arguments))


@dataclasses.dataclass(frozen=True)
class SplitPredictions:
    """A split's examples in the order of its records: labels int64[N], probabilities and log-odds
    float64[N] or float64[N, K], and paths and patients, N texts each."""

    labels: np.ndarray
    probabilities: np.ndarray
    log_odds: np.ndarray
    paths: list[str]
    patients: list[str]


def _run(arguments: argparse.Namespace) -> int:
    with command_line.quiet_imports():
        from engine import evaluation, report, tfrecords
        from engine.predictor import DataSettings, Predictor

    settings = config.from_flags(EvaluateConfig, arguments)
    run = RunDirectory(arguments.run)
    run.require_trained()
    manifest = tfrecords.read_manifest(arguments.shards)
    data = DataSettings.of_run(run)
    check_same_format(data, manifest, arguments.shards)
    warnings = warnings_about(data, manifest, settings.split)
    for warning in warnings:
        progress.say(f"warning: {warning}")
    predictor = Predictor.load(run.path, batch_size=settings.batch_size)
    predictions = predict_split(predictor, arguments.shards, manifest, settings.split)
    result = evaluation.evaluate(
        predictions.labels,
        predictions.probabilities,
        predictions.patients,
        class_names=data.class_names,
        threshold=predictor.threshold,
        resamples=settings.resamples,
        seed=settings.seed,
        log_odds=predictions.log_odds,
    )
    directory = run.evaluation(settings.split)
    write_results(directory, result, predictions, split=settings.split, warnings=warnings)
    shifted = None
    if settings.shifts:
        shifted = measure_shifts(predictor, arguments.shards, manifest, settings.split)
        files.write_json(directory / "shifts.json", shifted)
    written = report.write_report(run)
    print_results(result, settings.split)
    if shifted is not None:
        print_shifts(shifted)
    print(f"figures: {directory}")
    print(f"report: {written}")
    return command_line.DONE


def check_same_format(data: "DataSettings", manifest: "Manifest", shards: Path) -> None:
    """Raises `UserError` unless shards hold the classes, image size and channels of the run."""
    pairs = {
        "classes": (data.class_names, tuple(manifest.class_names)),
        "image size": (data.image_size, tuple(manifest.image_size)),
        "channels": (data.channels, manifest.channels),
    }
    for name, (of_run, of_shards) in pairs.items():
        if of_run != of_shards:
            raise config.UserError(
                f"{shards}: its {name} are {of_shards}, the run was trained on {of_run}; "
                "build shards from folders of the same classes, at the run's image size"
            )


def warnings_about(data: "DataSettings", manifest: "Manifest", split: str) -> list[str]:
    """What a reader of the figures must know about the examples they come from."""
    warnings = []
    if split == "train":
        warnings.append("the run was trained on this split; its figures say nothing of new images")
    if split == "validation":
        warnings.append(
            "the best epoch and the threshold were chosen on this split, which flatters its figures"
        )
    if data.fingerprint and data.fingerprint != manifest.fingerprint:
        warnings.append(
            "these shards come from other images than the run was trained on (fingerprint "
            f"{manifest.fingerprint[:12]}, not {data.fingerprint[:12]}); whether they share "
            "patients with its training split cannot be told"
        )
    elif data.splits and (data.splits, data.seed) != (
        _split_counts(manifest),
        data.seed if data.seed is None else manifest.seed,
    ):
        warnings.append(
            "these shards split the run's images in another way; what is tested here may have "
            "been trained on"
        )
    return warnings


def _split_counts(manifest: "Manifest") -> dict[str, dict[str, int]]:
    return {name: dict(split.class_counts) for name, split in manifest.splits.items()}


def predict_split(
    predictor: "Predictor", shards: Path, manifest: "Manifest", split: str
) -> SplitPredictions:
    """Every example of a split once, with progress on standard error.

    Raises:
        UserError: there is no such split.
    """
    from engine import input_pipeline

    dataset = input_pipeline.make_evaluation_dataset(
        shards,
        split=split,
        batch_size=predictor.batch_size,
        features=("image", "label", "path", "patient"),
    )
    labels, outputs = [], []
    paths: list[str] = []
    patients: list[str] = []
    total = manifest.splits[split].num_examples
    with progress.ProgressBar(f"evaluating {split}", total=total) as bar:
        for batch in dataset.as_numpy_iterator():
            labels.append(np.asarray(batch["label"]))
            outputs.append(predictor.outputs(batch["image"]))
            paths += _texts(batch["path"])
            patients += _texts(batch["patient"])
            bar.advance(len(batch["label"]))
    return SplitPredictions(
        np.concatenate(labels),
        np.concatenate([one.probabilities for one in outputs]),
        np.concatenate([one.log_odds for one in outputs]),
        paths,
        patients,
    )


def measure_shifts(
    predictor: "Predictor", shards: Path, manifest: "Manifest", split: str
) -> dict[str, dict[str, float | None]]:
    """How good the run is on the split under each of `engine.shifts`.

    Returns:
        `auroc`, `accuracy`, and for two classes `sensitivity` and `specificity`, by shift.
    """
    from engine import input_pipeline, shifts

    dataset = input_pipeline.make_evaluation_dataset(
        shards, split=split, batch_size=predictor.batch_size
    )
    names = shifts.shift_names()
    outputs: dict[str, list[Outputs]] = {name: [] for name in names}
    labels = []
    total = manifest.splits[split].num_examples * len(names)
    with progress.ProgressBar(f"evaluating {split}, shifted", total=total) as bar:
        for batch in dataset.as_numpy_iterator():
            labels.append(batch["label"])
            for name in names:
                outputs[name].append(predictor.outputs(shifts.apply(name, batch["image"])))
                bar.advance(len(batch["label"]))
    truth = np.concatenate(labels)
    return {
        name: _point_estimates(truth, parts, predictor.threshold) for name, parts in outputs.items()
    }


def _point_estimates(
    labels: np.ndarray, outputs: Sequence["Outputs"], threshold: float | None
) -> dict[str, float | None]:
    from engine import curves
    from engine.predictions import predict_labels

    probabilities = np.concatenate([one.probabilities for one in outputs])
    predicted = predict_labels(probabilities, threshold)
    estimates = {
        "auroc": curves.mean_auroc(labels, np.concatenate([one.log_odds for one in outputs])),
        "accuracy": float((predicted == labels).mean()),
    }
    if probabilities.ndim == 1:
        for name, index in (("sensitivity", 1), ("specificity", 0)):
            members = labels == index
            estimates[name] = float((predicted[members] == index).mean()) if members.any() else None
    return estimates


def print_shifts(shifted: dict[str, dict[str, float | None]]) -> None:
    """A row a shift."""
    from rich.console import Console

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else TABLE_WIDTH)
    heads = list(next(iter(shifted.values())))
    rows = [(name, *(_shown(row[head]) for head in heads)) for name, row in shifted.items()]
    console.print(_table(["images", *heads], rows))
    sys.stdout.flush()


def _texts(values: Iterable[bytes]) -> list[str]:
    return [value.decode("utf-8", errors="backslashreplace") for value in values]


# --- what is written ----------------------------------------------------------------------------


def write_results(
    directory: Path,
    result: "Evaluation",
    predictions: SplitPredictions,
    *,
    split: str,
    warnings: Sequence[str] = (),
) -> None:
    """Writes the figures, `predictions.csv`, and `metrics.json` last, the warnings within."""
    draw_figures(directory, result, predictions, split=split)
    write_predictions(directory / "predictions.csv", result, predictions)
    values = {"split": split, **result.to_json(), "warnings": list(warnings)}
    files.write_json(directory / "metrics.json", values)


def write_predictions(path: Path, result: "Evaluation", predictions: SplitPredictions) -> None:
    """A row an image: `path,label,probability,predicted,logit`, classes by name.

    Of two classes `probability` is the positive one's. Of more it is the predicted one's, and a
    column `probability_<class>` and one `logit_<class>` follow for each class. A logit is
    log(p / (1 - p)), by which images are ranked; digits are those of float32.
    """
    from engine.predictions import predict_labels

    names = result.class_names
    predicted = predict_labels(predictions.probabilities, result.threshold)
    header, rows = _columns_of(predictions, predicted, names)
    with files.written_aside(path) as aside, open(aside, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "label", "probability", "predicted", *header])
        for place, (image, (shown, *others)) in enumerate(
            zip(predictions.paths, rows, strict=True)
        ):
            label, called = names[predictions.labels[place]], names[predicted[place]]
            writer.writerow([image, label, shown, called, *others])


def _columns_of(
    predictions: SplitPredictions, predicted: np.ndarray, names: Sequence[str]
) -> tuple[list[str], Iterable[list[str]]]:
    """The names of the columns behind `predicted`, and for each image its probability and theirs."""
    probabilities, log_odds = predictions.probabilities, predictions.log_odds
    if probabilities.ndim == 1:
        header, values = ["logit"], np.stack([probabilities, log_odds], axis=1)
    else:
        own = probabilities[np.arange(len(predicted)), predicted]
        header = [f"{kind}_{name}" for kind in ("probability", "logit") for name in names]
        values = np.concatenate([own[:, None], probabilities, log_odds], axis=1)
    return header, ([f"{value:.9g}" for value in row] for row in values)


def draw_figures(
    directory: Path, result: "Evaluation", predictions: SplitPredictions, *, split: str
) -> None:
    """Draws roc, precision_recall, confusion_matrix and calibration as PNG files."""
    from engine import curves, plots

    metrics, names = result.metrics, result.class_names
    labels, log_odds = predictions.labels, predictions.log_odds
    binary = log_odds.ndim == 1
    scored = {1: log_odds} if binary else dict(enumerate(log_odds.T))
    scored = {k: scores for k, scores in scored.items() if 0 < (labels == k).sum() < len(labels)}
    roc_curves, recall_curves = [], []
    for index, scores in scored.items():
        false_rate, true_rate, _ = curves.roc_curve(labels == index, scores)
        precision, recall, _ = curves.precision_recall_curve(labels == index, scores)
        roc_curves.append((names[index], false_rate, true_rate))
        recall_curves.append((names[index], recall, precision))
    plots.roc(
        roc_curves,
        directory / "roc.png",
        area=metrics["auroc"].value,
        interval=_interval(metrics["auroc"]),
        operating_point=_point(metrics, "specificity", "sensitivity", binary=binary),
        title=f"ROC, {split} split",
    )
    plots.precision_recall(
        recall_curves,
        directory / "precision_recall.png",
        area=metrics["average_precision"].value,
        interval=_interval(metrics["average_precision"]),
        operating_point=_point(metrics, "recall", "precision", binary=binary),
        prevalence=float((labels == 1).mean()) if binary else None,
        title=f"Precision-recall, {split} split",
    )
    plots.confusion_matrix(
        result.confusion,
        names,
        directory / "confusion_matrix.png",
        title=f"Confusion matrix, {split} split",
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
    )


def _interval(estimate: "Estimate") -> tuple[float | None, float | None]:
    return estimate.low, estimate.high


def _point(
    metrics: dict[str, "Estimate"], x: str, y: str, *, binary: bool
) -> tuple[float, float] | None:
    """The operating point of two classes, if both its rates are defined."""
    across, up = metrics[x].value, metrics[y].value
    if not binary or across is None or up is None:
        return None
    return (1 - across if x == "specificity" else across), up


# --- what is printed ----------------------------------------------------------------------------


def print_results(result: "Evaluation", split: str) -> None:
    """A table of all metrics, and the figures that matter most on the last lines."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else TABLE_WIDTH
    console = Console(file=sys.stdout, width=width, highlight=False, soft_wrap=False)
    rows = [
        (_TITLES.get(name, name), _shown(e.value), _shown_interval(e))
        for name, e in result.metrics.items()
    ]
    console.print(_table(["metric", "value", "95 % interval"], rows))
    if result.per_class:
        shown = ("auroc", "average_precision", "sensitivity", "specificity", "precision")
        class_rows = [
            (name, *(_shown(row[metric].value) for metric in shown))
            for name, row in result.per_class.items()
        ]
        heads = ["class", "AUROC", "AP", "sensitivity", "specificity", "precision"]
        console.print(_table(heads, class_rows))
    sys.stdout.flush()
    for line in summary_lines(result, split):
        print(line)


def summary_lines(result: "Evaluation", split: str) -> list[str]:
    """How good the run is, in lines of at most 80 columns."""
    metrics = result.metrics
    if result.threshold is None:
        decided = "the largest probability decides; rates are means over classes"
    else:
        decided = f"threshold {result.threshold:.3f} for {result.class_names[1]}"
    lines = [
        f"{split}: {result.num_examples:,} images of {result.num_patients:,} patients; {decided}"
    ]
    for name in ("auroc", "accuracy", "sensitivity", "specificity"):
        estimate = metrics[name]
        interval = _shown_interval(estimate)
        rest = interval if estimate.low is None else f"(95 %: {interval})"
        lines.append(f"{_TITLES.get(name, name):<11}  {_shown(estimate.value)}  {rest}")
    return lines


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
    return table


def _shown(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _shown_interval(estimate: "Estimate") -> str:
    if estimate.low is None or estimate.high is None:
        return f"({estimate.reason})"
    return f"{estimate.low:.4f} to {estimate.high:.4f}"


if __name__ == "__main__":
    sys.exit(main())
