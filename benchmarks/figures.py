"""Figures of the results: bars per suite, lines for sweeps, and a waterfall of the stages."""

import dataclasses
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from benchmarks import outcomes
from benchmarks.reports import Report, number
from engine.base import files

_ENGINE, _OTHER, _LIMIT, _WHOLE = "#1f77b4", "#b0b0b0", "#d62728", "#2f4b5c"


@dataclasses.dataclass(frozen=True)
class Stage:
    """One bar of the waterfall.

    Attributes:
        kind: `once` (before all training), `epoch` (every image, every epoch) or `whole` (training).
    """

    name: str
    images_per_second: float
    kind: str


# Suite and row that measure each stage, in the order an image goes through them.
_STAGES = (
    ("build", "engine.build_tfrecords", "build\n(once)", "once"),
    ("input", "engine, streaming tier", "input,\nstreaming tier", "epoch"),
    ("input", "engine, memory tier", "input,\nmemory tier", "epoch"),
    ("augment", "engine, default settings", "augmentation", "epoch"),
    ("step", "engine, no augmentation", "network", "epoch"),
    ("train", "real input, cached epochs", "training,\nall of it", "whole"),
)


def draw(reports: Sequence[Report], directory: Path, *, earlier: Path | None = None) -> list[Path]:
    """Draws all figures of the reports; returns the files.

    Args:
        earlier: a directory with results of other suites, whose stages the waterfall includes.
    """
    paths = []
    for report in reports:
        if report.outcomes:
            paths.append(_saved(reached(report), directory / f"{report.suite}.png"))
        if report.measurements:
            paths.append(_saved(bars(report), directory / f"{report.suite}.png"))
        for group in sweeps(report):
            name = f"{report.suite}-{group.replace(' ', '-').replace(',', '')}.png"
            paths.append(_saved(_lines(report, group), directory / name))
    stages = stages_of({**(stored_speeds(earlier) if earlier else {}), **_speeds(reports)})
    if sum(stage.kind == "epoch" for stage in stages) > 1:
        paths.append(_saved(waterfall(stages), directory / "waterfall.png"))
    return paths


def bars(report: Report) -> plt.Figure:
    """Images/s of every row, with the interval as a whisker, on a logarithmic axis."""
    rows = report.measurements[::-1]
    figure, axes = plt.subplots(figsize=(8, 1 + 0.32 * len(rows)), layout="constrained")
    speeds = [row.images_per_second for row in rows]
    medians = [speed.median for speed in speeds]
    whiskers = [
        [speed.median - speed.low for speed in speeds],
        [speed.high - speed.median for speed in speeds],
    ]
    labels = [f"{row.group}: {row.name}" if row.group else row.name for row in rows]
    colours = [_ENGINE if "engine" in label else _OTHER for label in labels]
    axes.barh(range(len(rows)), medians, xerr=whiskers, color=colours, ecolor="black")
    axes.set_yticks(range(len(rows)), labels, fontsize=8)
    for place, speed in enumerate(speeds):
        axes.text(speed.high * 1.05, place, number(speed.median), va="center", fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(min(medians) / 3, max(medians) * 4)
    axes.set_xlabel("images/s")
    axes.set_title(report.question, fontsize=10)
    return figure


def reached(report: Report) -> plt.Figure:
    """The AUROC of every training on every set: a dot per seed, a line at the median."""
    names = outcomes.ranked(report.outcomes)[::-1]
    sets = outcomes.set_names(report.outcomes)
    width, height = 2.4 + 2.6 * len(sets), 1.3 + 0.32 * len(names)
    figure, panels = plt.subplots(
        1, len(sets), figsize=(width, height), layout="constrained", sharey=True, squeeze=False
    )
    for axes, set_name in zip(panels[0], sets, strict=True):
        for place, name in enumerate(names):
            median = outcomes.of(report.outcomes, name, set_name).get("auroc")
            values = [
                outcome.auroc
                for outcome in report.outcomes
                if (outcome.candidate, outcome.set_name) == (name, set_name)
            ]
            axes.plot(values, [place] * len(values), "o", color=_ENGINE, alpha=0.6, clip_on=False)
            if median is not None:
                axes.vlines(median.median, place - 0.3, place + 0.3, color="black")
        axes.set_title(textwrap.fill(set_name, 32), fontsize=10)
        axes.set_xlabel("AUROC")
        axes.grid(axis="x", color="#e0e0e0")
    panels[0][0].set_yticks(range(len(names)), names, fontsize=8)
    panels[0][0].set_ylim(-0.6, len(names) - 0.4)
    return figure


def sweeps(report: Report) -> list[str]:
    """The groups whose rows are named by a number, such as `batch 64` or `1,000 images`."""
    groups = dict.fromkeys(row.group for row in report.measurements)
    found = []
    for group in groups:
        rows = [row for row in report.measurements if row.group == group]
        if len(rows) > 2 and all(_number_in(row.name) is not None for row in rows):
            found.append(group)
    return found


def stored_speeds(directory: Path) -> dict[str, dict[str, float]]:
    """Images/s by suite and row, from the results in a directory."""
    results = [files.read_json(path) for path in sorted(directory.glob("*.json"))]
    return {
        result["suite"]: _first_of_each(
            (row["name"], row["images_per_second"]) for row in result["rows"]
        )
        for result in results
    }


def _speeds(reports: Sequence[Report]) -> dict[str, dict[str, float]]:
    return {
        report.suite: _first_of_each(
            (row.name, row.images_per_second.median) for row in report.measurements
        )
        for report in reports
    }


def _first_of_each(rows: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Speed by name; for a name in several groups the first, which is the default network's."""
    speeds: dict[str, float] = {}
    for name, speed in rows:
        speeds.setdefault(name, speed)
    return speeds


def stages_of(speeds: Mapping[str, Mapping[str, float]]) -> list[Stage]:
    """The stages that an image passes through, in order, if they were measured.

    Args:
        speeds: images/s by suite and row.
    """
    return [
        Stage(title, speeds[suite][row], kind)
        for suite, row, title, kind in _STAGES
        if row in speeds.get(suite, {})
    ]


def waterfall(stages: Sequence[Stage]) -> plt.Figure:
    """Images/s of each stage; of those that run every epoch, the slowest limits training."""
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    slowest = min(stage.images_per_second for stage in stages if stage.kind == "epoch")
    speeds = [stage.images_per_second for stage in stages]
    colours = [_colour(stage, slowest) for stage in stages]
    axes.bar(range(len(stages)), speeds, color=colours)
    axes.set_xticks(range(len(stages)), [stage.name for stage in stages], fontsize=8)
    for place, speed in enumerate(speeds):
        axes.text(place, speed * 1.1, number(speed), ha="center", fontsize=8)
    axes.set_yscale("log")
    axes.set_ylim(min(speeds) / 3, max(speeds) * 3)
    axes.set_ylabel("images/s")
    axes.set_title("Images/s by stage; red marks the stage that limits training", fontsize=10)
    return figure


def _colour(stage: Stage, slowest: float) -> str:
    if stage.kind == "epoch":
        return _ENGINE if stage.images_per_second > slowest else _LIMIT
    return _WHOLE if stage.kind == "whole" else _OTHER


def _lines(report: Report, group: str) -> plt.Figure:
    rows = [row for row in report.measurements if row.group == group]
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    numbers = [_number_in(row.name) or 0 for row in rows]
    speeds = [row.images_per_second for row in rows]
    axes.plot(numbers, [speed.median for speed in speeds], marker="o", color=_ENGINE)
    axes.fill_between(
        numbers, [s.low for s in speeds], [s.high for s in speeds], color=_ENGINE, alpha=0.2
    )
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel(group)
    axes.set_ylabel("images/s")
    axes.set_title(report.question, fontsize=10)
    return figure


def _number_in(name: str) -> int | None:
    words = [word.replace(",", "") for word in name.split()]
    return next((int(word) for word in words if word.isdigit()), None)


def _saved(figure: plt.Figure, path: Path) -> Path:
    with files.written_aside(path) as aside:
        figure.savefig(aside, dpi=120)
    plt.close(figure)
    return path
