"""`report.md`: what was trained, on what, how fast and how well, from the files of a run.

Each part is made from one file and omitted if that file does not exist yet, so that the report can be
written at any time: after training, and after every evaluation.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.base import files
from engine.base.progress import format_duration
from engine.metrics.estimate import number_text
from engine.runs import ensemble, evaluation_report, markdown
from engine.runs.run_directory import RunDirectory

Json = Mapping[str, Any]


def write_report(run: RunDirectory | Path | str) -> Path:
    """Writes `report.md` from the files of a run directory; returns its path."""
    run = run if isinstance(run, RunDirectory) else ensemble.opened(run)
    files.write_text(run.report, render(run))
    return run.report


def render(run: RunDirectory) -> str:
    """The report as Markdown, its figures linked relative to the run directory."""
    environment = _read(run.environment)
    parts = [
        f"# Report: {markdown.text(run.path.resolve().name)}",
        "> **Not for diagnosis.** This is a measurement of a research model on one data set. It says "
        "nothing about patients, devices or hospitals that are not in the data set.",
        "## How well",
        *evaluation_report.sections(run),
        *_data(_mapping(environment.get("data"))),
        *_members(run),
        *_training(run, environment),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


# --- on what ------------------------------------------------------------------------------------


def _data(data: Json) -> list[str]:
    if not data:
        return []
    size = "x".join(str(side) for side in data.get("image_size", ()))
    facts = [
        ("Classes", ", ".join(markdown.text(name) for name in data.get("class_names", ()))),
        ("Images", f"{size} pixels, {data.get('channels', '?')} channel(s)" if size else ""),
        ("Shards", f"`{data['shards']}`" if data.get("shards") else ""),
        ("Fingerprint", f"`{data['fingerprint']}`" if data.get("fingerprint") else ""),
        ("Identity", f"`{data['identity']}`" if data.get("identity") else ""),
        ("Groups kept together", f"`{data['group_by']}`" if data.get("group_by") else ""),
    ]
    return ["## On what", markdown.facts(facts), _class_counts(data), _warnings(data)]


def _class_counts(data: Json) -> str:
    splits = _mapping(data.get("splits"))
    names = [str(name) for name in data.get("class_names", ())]
    rows = []
    for split, info in splits.items():
        counts = _mapping(_mapping(info).get("class_counts"))
        total = _mapping(info).get("num_examples", sum(counts.values()))
        rows.append((split, *(f"{counts.get(name, 0):,}" for name in names), f"{total:,}"))
    return markdown.table(("split", *map(markdown.text, names), "all"), rows) if rows else ""


# --- several seeds ------------------------------------------------------------------------------


def _members(run: RunDirectory) -> list[str]:
    """The runs of an ensemble."""
    if not run.members:
        return []
    rows = []
    for member in run.members:
        training = _read(member.training_summary)
        link = markdown.link(member.report, run.path)
        name = markdown.text(member.path.name)
        rows.append(
            (
                f"[{name}]({link})" if member.report.is_file() else name,
                _best(training),
                format_duration(training["seconds"]) if "seconds" in training else "",
            )
        )
    return [
        "## Members",
        f"The average of the log-odds of {len(run.members)} runs, which differ in their seed:",
        markdown.table(("run", "best epoch", "trained in"), rows),
    ]


# --- what and how fast --------------------------------------------------------------------------


def _training(run: RunDirectory, environment: Json) -> list[str]:
    settings, training = _read(run.config), _read(run.training_summary)
    runtime = _mapping(environment.get("runtime"))
    packages = _mapping(environment.get("packages"))
    facts = [
        ("Network", _network(settings, training)),
        ("Speed", _speed(training)),
        ("Best epoch", _best(training)),
        ("Head refitted", _refitted(training)),
        ("Ran on", markdown.text(runtime.get("summary", ""))),
        ("Resumed", _resumed(environment)),
        (
            "Versions",
            ", ".join(f"{markdown.text(k)} {markdown.text(v)}" for k, v in packages.items()),
        ),
        ("Source", f"`{environment['git_commit']}`" if environment.get("git_commit") else ""),
    ]
    history = (
        markdown.image("History", run.history_figure, run.path)
        if run.history_figure.is_file()
        else ""
    )
    listed = [(f"`{name}`", f"`{_shown(value)}`") for name, value in settings.items()]
    table = markdown.table(("setting", "value"), listed) if listed else ""
    folded = f"<details><summary>All settings</summary>\n\n{table}\n\n</details>" if table else ""
    parts = [part for part in (markdown.facts(facts), history, folded) if part]
    return ["## How it was trained", *parts] if parts else []


def _network(settings: Json, training: Json) -> str:
    parameters = training.get("parameters")
    size = f", {parameters:,} parameters" if isinstance(parameters, int) else ""
    return f"{markdown.text(settings['model'])}{size}" if settings.get("model") else ""


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
    sessions = [_mapping(session) for session in environment.get("resumed", ())]
    if not sessions:
        return ""
    hosts = ", ".join(sorted({markdown.text(session.get("host", "?")) for session in sessions}))
    return f"{len(sessions)} times, on {hosts}" if len(sessions) > 1 else f"once, on {hosts}"


def _best(training: Json) -> str:
    if training.get("best_epoch") is None:
        return ""
    value = training.get("best_value")
    reached = f", {markdown.text(training.get('monitor', 'monitored metric'))} {number_text(value)}"
    return f"{training['best_epoch']}{reached if value is not None else ''}"


def _refitted(training: Json) -> str:
    told = _mapping(training.get("refit_head"))
    before, after = _mapping(told.get("before")), _mapping(told.get("after"))
    changes = ", ".join(
        f"{markdown.text(name)} {number_text(before[name])} to {number_text(after[name])}"
        for name in before
        if before[name] is not None and after.get(name) is not None
    )
    if not told.get("kept"):
        return f"no better: the head of the epoch stays ({changes})" if changes else ""
    return changes


def _warnings(data: Json) -> str:
    lines = data.get("warnings")
    return markdown.warnings(lines if isinstance(lines, (list, tuple)) else ())


def _shown(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("`", "'")


def _mapping(value: Any) -> Json:
    return value if isinstance(value, Mapping) else {}


def _read(path: Path) -> Json:
    """The JSON object in a file; empty where the file is absent or damaged."""
    try:
        return _mapping(files.read_json(path))
    except (OSError, ValueError):
        return {}
