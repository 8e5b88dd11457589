"""`report.md`: what was trained, on what, how fast and how well, from the files of a run.

Each part is written from one file and left out where that file is not there yet, so that the report
can be made again at any time: after training, and after every evaluation.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.base import files
from engine.base.progress import format_duration
from engine.runs.run_directory import RunDirectory

SPLITS = ("test", "validation", "train")  # the one that counts first
_METRICS = {
    "auroc": "AUROC",
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "balanced_accuracy": "Balanced accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "average_precision": "Average precision",
    "brier": "Brier score",
}
_CLASS_METRICS = ("auroc", "sensitivity", "specificity", "precision", "f1")
_FIGURES = {
    "roc.png": "ROC",
    "precision_recall.png": "Precision-recall",
    "confusion_matrix.png": "Confusion matrix",
    "calibration.png": "Calibration",
}
Json = Mapping[str, Any]


def write_report(run: RunDirectory | Path | str) -> Path:
    """Writes `report.md` into a run directory, from what is there; returns its path."""
    run = run if isinstance(run, RunDirectory) else RunDirectory(run)
    files.write_text(run.report, render(run))
    return run.report


def render(run: RunDirectory) -> str:
    """The report as Markdown, its figures linked relative to the run directory."""
    environment = _read(run.environment)
    parts = [
        f"# Report: {markdown_text(run.path.resolve().name)}",
        "> **Not for diagnosis.** This is a measurement of a research model on one data set. It says "
        "nothing of patients, devices or hospitals that the data set does not hold.",
        *_results(run),
        *_data(_mapping(environment.get("data"))),
        *_training(run, environment),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


# --- how well -----------------------------------------------------------------------------------


def _results(run: RunDirectory) -> list[str]:
    parts, model = [], run.model_digest()
    for name in _evaluations(run):
        metrics = _read(run.evaluation(name) / "metrics.json")
        if metrics:
            parts += _evaluation_results(run, name, metrics, model)
    if not parts:
        parts = ["Not evaluated yet: `python -m engine.evaluate RUN SHARDS` measures it."]
    return ["## How well", *parts]


def _evaluations(run: RunDirectory) -> list[str]:
    directory = run.evaluations
    names = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
    return [s for s in SPLITS if s in names] + sorted(names - set(SPLITS))


def _evaluation_results(
    run: RunDirectory, name: str, metrics: Json, model: str | None
) -> list[str]:
    """The section of one evaluation; `model` is the digest of the run's model as it is now."""
    classes = [markdown_text(name) for name in metrics.get("class_names", [])]
    patients = metrics.get("num_patients")
    counted = f"{metrics.get('num_examples', 0):,} images"
    if patients:
        counted += f" of {patients:,} patients"
    estimates = [(title, metrics[name]) for name, title in _METRICS.items() if name in metrics]
    if isinstance(metrics.get("loss_interval"), Mapping):
        estimates.append(("Loss (cross-entropy)", metrics["loss_interval"]))
    return [
        f"### {_title(name, metrics)}: {counted}",
        _out_of_date(metrics, model),
        _measured_on(metrics),
        _warnings(metrics.get("warnings")),
        _decision(metrics, classes),
        markdown_table(
            ("metric", "value", "95 % interval"),
            [(title, _number(e.get("value")), _interval(e)) for title, e in estimates],
        ),
        _about_intervals(metrics),
        _class_table(metrics),
        _confusion(metrics, classes),
        _calibration(metrics),
        _shifts(run, name),
        _figures(run, name),
    ]


def _title(name: str, metrics: Json) -> str:
    split = str(metrics.get("split", name))
    if name == split:
        return f"{markdown_text(split).capitalize()} split"
    return f"{markdown_text(name)} ({markdown_text(split)} split)"


def _out_of_date(metrics: Json, model: str | None) -> str:
    if model is None or metrics.get("model") == model:
        return ""
    measured = metrics.get("model")
    which = f"model `{measured[:12]}`" if measured else "a model that is not named"
    return (
        f"> **Out of date:** these figures are of {which}, the run's model is now `{model[:12]}`. "
        "Measure it with `python -m engine.evaluate`."
    )


def _measured_on(metrics: Json) -> str:
    data = _mapping(metrics.get("data"))
    if not data:
        return ""
    return (
        f"Measured on `{data.get('shards')}`: fingerprint of the images "
        f"`{str(data.get('fingerprint'))[:12]}`, of the shards `{str(data.get('identity'))[:12]}`."
    )


def _decision(metrics: Json, classes: Sequence[str]) -> str:
    threshold = metrics.get("threshold")
    if threshold is None:
        return (
            "The class with the largest probability is predicted. Accuracy counts those hits; the "
            "other rates are means over the classes, each against the rest."
        )
    rule = metrics.get("threshold_rule")
    chosen = f", chosen on validation by the rule `{rule}`" if rule else ", which was not chosen"
    positive = classes[1] if len(classes) > 1 else "positive"
    return f"{positive} is predicted from a probability of **{threshold:.4f}** on{chosen}."


def _about_intervals(metrics: Json) -> str:
    resamples = metrics.get("num_resamples")
    if not resamples:
        return ""
    return (
        "Intervals are over patients: Clopper-Pearson on the effective number of patients for rates and "
        f"AUROC; from {resamples:,} bootstrap resamples for the others, BCa for loss and Brier score."
    )


def _shifts(run: RunDirectory, name: str) -> str:
    """How the figures hold up on changed images, if that was measured."""
    shifted = _read(run.evaluation(name) / "shifts.json")
    if not shifted:
        return ""
    heads = list(next(iter(shifted.values())))
    rows = [
        (markdown_text(shift), *(_number(row[head]) for head in heads))
        for shift, row in shifted.items()
    ]
    return (
        "The same images, changed as another scanner or another export might have:\n\n"
        + markdown_table(("images", *heads), rows)
        + "\n\n"
        + f"Lowest under any change: {markdown_text(worst_of(shifted))}."
    )


def worst_of(shifted: Json, places: int = 4) -> str:
    """The lowest of each metric over the shifts, and under which: `AUROC 0.9012 (noisy), ...`.

    Args:
        shifted: shift -> metric -> value or None, as in `shifts.json`; `none` does not count.
        places: decimals.
    """
    rows = {name: row for name, row in shifted.items() if name != "none"}
    parts = []
    for metric in next(iter(rows.values()), {}):
        known = {name: row[metric] for name, row in rows.items() if row[metric] is not None}
        if known:
            lowest = min(known, key=lambda name: known[name])
            title = "AUROC" if metric == "auroc" else metric
            parts.append(f"{title} {known[lowest]:.{places}f} ({lowest})")
    return ", ".join(parts)


def _class_table(metrics: Json) -> str:
    rows = [
        (
            markdown_text(name),
            *(_number(_mapping(row.get(metric)).get("value")) for metric in _CLASS_METRICS),
        )
        for name, row in _mapping(metrics.get("per_class")).items()
    ]
    return markdown_table(("class", *(_METRICS[m] for m in _CLASS_METRICS)), rows) if rows else ""


def _confusion(metrics: Json, classes: Sequence[str]) -> str:
    matrix = metrics.get("confusion_matrix")
    if not matrix or len(matrix) > 10:
        return ""
    rows = [
        (f"**{name}**", *(f"{n:,}" for n in row)) for name, row in zip(classes, matrix, strict=True)
    ]
    return markdown_table(("true class", *(f"predicted {name}" for name in classes)), rows)


def _calibration(metrics: Json) -> str:
    error = metrics.get("expected_calibration_error")
    return "" if error is None else f"Expected calibration error: {error:.3f}."


def _figures(run: RunDirectory, name: str) -> str:
    directory = run.evaluation(name)
    links = [
        _image(title, directory / file, run)
        for file, title in _FIGURES.items()
        if (directory / file).is_file()
    ]
    listed = directory / "predictions.csv"
    if listed.is_file():
        links.append(f"Every image: [{listed.name}]({_link(listed, run)})")
    return "\n\n".join(links)


# --- on what ------------------------------------------------------------------------------------


def _data(data: Json) -> list[str]:
    if not data:
        return []
    size = "x".join(str(side) for side in data.get("image_size", ()))
    facts = [
        ("Classes", ", ".join(markdown_text(name) for name in data.get("class_names", ()))),
        ("Images", f"{size} pixels, {data.get('channels', '?')} channel(s)" if size else ""),
        ("Shards", f"`{data['shards']}`" if data.get("shards") else ""),
        ("Fingerprint", f"`{data['fingerprint']}`" if data.get("fingerprint") else ""),
        ("Identity", f"`{data['identity']}`" if data.get("identity") else ""),
        ("Groups kept together", f"`{data['group_by']}`" if data.get("group_by") else ""),
    ]
    return ["## On what", _facts(facts), _class_counts(data), _warnings(data.get("warnings"))]


def _class_counts(data: Json) -> str:
    splits = _mapping(data.get("splits"))
    names = [str(name) for name in data.get("class_names", ())]
    rows = []
    for split, info in splits.items():
        counts = _mapping(_mapping(info).get("class_counts"))
        total = _mapping(info).get("num_examples", sum(counts.values()))
        rows.append((split, *(f"{counts.get(name, 0):,}" for name in names), f"{total:,}"))
    return markdown_table(("split", *map(markdown_text, names), "all"), rows) if rows else ""


# --- what and how fast --------------------------------------------------------------------------


def _training(run: RunDirectory, environment: Json) -> list[str]:
    settings, training = _read(run.config), _read(run.training_summary)
    runtime = _mapping(environment.get("runtime"))
    packages = _mapping(environment.get("packages"))
    facts = [
        ("Network", _network(settings, training)),
        ("Speed", _speed(training)),
        ("Best epoch", _best(training)),
        ("Ran on", markdown_text(runtime.get("summary", ""))),
        ("Resumed", _resumed(environment)),
        (
            "Versions",
            ", ".join(f"{markdown_text(k)} {markdown_text(v)}" for k, v in packages.items()),
        ),
        ("Source", f"`{environment['git_commit']}`" if environment.get("git_commit") else ""),
    ]
    history = _image("History", run.history_figure, run) if run.history_figure.is_file() else ""
    listed = [(f"`{name}`", f"`{_shown(value)}`") for name, value in settings.items()]
    table = markdown_table(("setting", "value"), listed) if listed else ""
    folded = f"<details><summary>All settings</summary>\n\n{table}\n\n</details>" if table else ""
    parts = [part for part in (_facts(facts), history, folded) if part]
    return ["## How it was trained", *parts] if parts else []


def _network(settings: Json, training: Json) -> str:
    parameters = training.get("parameters")
    size = f", {parameters:,} parameters" if isinstance(parameters, int) else ""
    return f"{markdown_text(settings['model'])}{size}" if settings.get("model") else ""


def _speed(training: Json) -> str:
    speed, seconds = training.get("images_per_second"), training.get("seconds")
    if speed is None:
        return ""
    text = f"{speed:,.0f} images/s in training steps"
    if seconds is not None:
        text += (
            f"; {format_duration(seconds)} for {training.get('epochs', '?')} epochs, with loading, "
            "validating and saving"
        )
    return text


def _resumed(environment: Json) -> str:
    sessions = [_mapping(one) for one in environment.get("resumed", ())]
    if not sessions:
        return ""
    hosts = ", ".join(sorted({markdown_text(one.get("host", "?")) for one in sessions}))
    return f"{len(sessions)} times, on {hosts}" if len(sessions) > 1 else f"once, on {hosts}"


def _best(training: Json) -> str:
    if training.get("best_epoch") is None:
        return ""
    value = training.get("best_value")
    reached = f", {markdown_text(training.get('monitor', 'monitored metric'))} {_number(value)}"
    return f"{training['best_epoch']}{reached if value is not None else ''}"


def _warnings(lines: Any) -> str:
    listed = lines if isinstance(lines, (list, tuple)) else ()
    return "\n".join(f"- **Warning:** {markdown_text(line)}." for line in listed)


# --- Markdown -----------------------------------------------------------------------------------


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in facts if value)


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _image(title: str, path: Path, run: RunDirectory) -> str:
    return f"![{title}]({_link(path, run)})"


def _link(path: Path, run: RunDirectory) -> str:
    return Path(os.path.relpath(path, run.path)).as_posix().replace(" ", "%20")


def markdown_text(value: Any) -> str:
    """Text in which nothing is taken for Markdown's table bars, emphasis or HTML."""
    text = " ".join(str(value).split())
    for character in "\\|*_<>`[]":
        text = text.replace(character, "\\" + character)
    return text


def _shown(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("`", "'")


def _number(value: Any) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _interval(estimate: Json) -> str:
    if estimate.get("low") is None or estimate.get("high") is None:
        return markdown_text(estimate.get("reason") or "")
    return f"{estimate['low']:.4f} to {estimate['high']:.4f}"


def _mapping(value: Any) -> Json:
    return value if isinstance(value, Mapping) else {}


def _read(path: Path) -> Json:
    """The JSON object in a file; empty where the file is absent or damaged."""
    try:
        return _mapping(files.read_json(path))
    except (OSError, ValueError):
        return {}
