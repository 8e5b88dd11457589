"""`python -m engine.evaluate RUN SHARDS`: how good a run is, with intervals over patients.

Writes `evaluation/<name>/` (metrics.json, predictions.csv, figures) and `report.md` into the run; the name is
that of the split, or another for other data than the run's own.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.base import command_line, config, progress
from engine.base.flag_parser import FlagParser
from engine.base.settings import EvaluateConfig
from engine.runs.run_directory import RunDirectory
from engine.shards import data_identity

if TYPE_CHECKING:
    from engine.evaluation.evaluation_files import SplitPredictions
    from engine.inference.predictor import DataSettings, Outputs, Predictor
    from engine.metrics.evaluation import Estimate, Evaluation
    from engine.shards.tfrecords import Manifest

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
    parser = FlagParser(prog=PROGRAM, description=__doc__.partition("\n")[0])
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


def _run(arguments: argparse.Namespace) -> int:
    with command_line.quiet_imports():
        from engine.evaluation import evaluation_files
        from engine.inference.predictor import DataSettings, Predictor
        from engine.metrics import evaluation
        from engine.runs import report
        from engine.shards import dataset_checks, tfrecords

    settings = config.from_flags(EvaluateConfig, arguments)
    run = RunDirectory(arguments.run)
    run.require_trained()
    manifest = tfrecords.read_manifest(arguments.shards)
    dataset_checks.split_info(manifest, settings.split)
    check_same_format(DataSettings.of_run(run), manifest, arguments.shards)
    trained_on, data = run.read_environment()["data"], data_identity.describe(manifest)
    subject = evaluation_files.Subject(
        split=settings.split,
        shards=arguments.shards,
        data=data,
        model=run.model_digest(),
        threshold_rule=run.read_threshold().get("rule"),
        warnings=tuple(warnings_about(trained_on, data, settings.split)),
    )
    for warning in subject.warnings:
        progress.say(f"warning: {warning}")
    directory = run.evaluation(
        settings.name
        or evaluation_files.directory_name(settings.split, trained_on=trained_on, data=data)
    )
    with evaluation_files.held(directory, subject):
        progress.say("loading TensorFlow and the model ...")
        predictor = Predictor.load(run.path, batch_size=settings.batch_size)
        if run.model_digest() != subject.model:
            raise config.UserError(
                f"{run.model}: a training replaced the model while it was loaded; run the command again"
            )
        predictions = predict_split(predictor, arguments.shards, manifest, settings.split)
        result = evaluation.evaluate(
            predictions.labels,
            predictions.probabilities,
            predictions.patients,
            class_names=manifest.class_names,
            threshold=predictor.threshold,
            resamples=settings.resamples,
            seed=settings.seed,
            log_odds=predictions.log_odds,
        )
        shifted = None
        if settings.shifts:
            shifted = measure_shifts(predictor, arguments.shards, manifest, settings.split)
        evaluation_files.write_results(directory, result, predictions, subject, shifted)
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


def warnings_about(trained_on: Mapping[str, Any], data: Mapping[str, Any], split: str) -> list[str]:
    """What a reader of the figures must know about the examples they come from.

    Args:
        trained_on, data: the run's data set and this one, see `data_identity.describe`.
    """
    warnings = []
    if split == "train":
        warnings.append("the run was trained on this split; its figures say nothing of new images")
    if split == "validation":
        warnings.append(
            "the best epoch and the threshold were chosen on this split, which flatters its figures"
        )
    differing = data_identity.differences(trained_on, data)
    if trained_on.get("fingerprint", data["fingerprint"]) != data["fingerprint"]:
        warnings.append(
            f"these shards come from other images than the run was trained on ({differing[0]}); "
            "whether they share patients with its training split cannot be told"
        )
    elif differing:
        warnings.append(
            "these shards split the run's images in another way; what is tested here may have "
            f"been trained on ({'; '.join(differing)})"
        )
    return warnings


def predict_split(
    predictor: "Predictor", shards: Path, manifest: "Manifest", split: str
) -> "SplitPredictions":
    """Every example of a split once, with progress on standard error.

    Raises:
        UserError: there is no such split.
    """
    from engine.evaluation.evaluation_files import SplitPredictions
    from engine.pipeline import input_pipeline

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
    with (
        input_pipeline.damage_named(shards, manifest, split),
        progress.ProgressBar(f"evaluating {split}", total=total) as bar,
    ):
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
    """How good the run is on the split under each of `engine.evaluation.shifts`.

    Returns:
        `auroc`, `accuracy`, and for two classes `sensitivity` and `specificity`, by shift.
    """
    from engine.evaluation import shifts
    from engine.pipeline import input_pipeline

    dataset = input_pipeline.make_evaluation_dataset(
        shards, split=split, batch_size=predictor.batch_size
    )
    names = shifts.shift_names()
    outputs: dict[str, list[Outputs]] = {name: [] for name in names}
    labels = []
    total = manifest.splits[split].num_examples * len(names)
    with (
        input_pipeline.damage_named(shards, manifest, split),
        progress.ProgressBar(f"evaluating {split}, shifted", total=total) as bar,
    ):
        for images, truths in dataset.as_numpy_iterator():
            labels.append(truths)
            for name in names:
                outputs[name].append(predictor.outputs(shifts.apply(name, images)))
                bar.advance(len(truths))
    truth = np.concatenate(labels)
    return {
        name: _point_estimates(truth, parts, predictor.threshold) for name, parts in outputs.items()
    }


def _point_estimates(
    labels: np.ndarray, outputs: Sequence["Outputs"], threshold: float | None
) -> dict[str, float | None]:
    from engine.metrics import curves
    from engine.metrics.predictions import predict_labels

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
    """One row per shift."""
    from rich.console import Console

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else TABLE_WIDTH)
    heads = list(next(iter(shifted.values())))
    rows = [(name, *(_shown(row[head]) for head in heads)) for name, row in shifted.items()]
    console.print(_table(["images", *heads], rows))
    sys.stdout.flush()


def _texts(values: Iterable[bytes]) -> list[str]:
    return [value.decode("utf-8", errors="backslashreplace") for value in values]


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
