"""Figures of what was measured: bars for each suite, lines for sweeps, a waterfall of the stages."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from benchmarks.harness import Measurement
from benchmarks.reports import Report, number
from engine import files

_ENGINE, _OTHER = "#1f77b4", "#b0b0b0"


def draw(reports: Sequence[Report], directory: Path) -> list[Path]:
    """Draws all that the reports give; returns the files."""
    paths = []
    for report in reports:
        if report.measurements:
            paths.append(_saved(bars(report), directory / f"{report.suite}.png"))
        for group in sweeps(report):
            name = f"{report.suite}-{group.replace(' ', '-').replace(',', '')}.png"
            paths.append(_saved(_lines(report, group), directory / name))
    stages = stages_of(reports)
    if len(stages) > 1:
        paths.append(_saved(waterfall(stages), directory / "waterfall.png"))
    return paths


def bars(report: Report) -> plt.Figure:
    """Images/s of every row, the interval as a whisker, on a logarithmic axis."""
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


def sweeps(report: Report) -> list[str]:
    """The groups whose rows are called by a number, as `batch 64` or `1,000 images`."""
    groups = dict.fromkeys(row.group for row in report.measurements)
    found = []
    for group in groups:
        rows = [row for row in report.measurements if row.group == group]
        if len(rows) > 2 and all(_number_in(row.name) is not None for row in rows):
            found.append(group)
    return found


def stages_of(reports: Sequence[Report]) -> list[Measurement]:
    """The stages that an image goes through, in order, as far as they were measured."""
    wanted = (
        ("build", "engine.build_tfrecords"),
        ("input", "engine, streaming tier"),
        ("input", "engine, memory tier"),
        ("augment", "engine, fused"),
        ("step", "engine, default settings"),
        ("train", "real input, cached epochs"),
    )
    by_suite = {report.suite: report for report in reports}
    found = []
    for suite, name in wanted:
        rows = by_suite[suite].measurements if suite in by_suite else []
        found += [row for row in rows if row.name == name][:1]
    return found


def waterfall(stages: Sequence[Measurement]) -> plt.Figure:
    """Images/s stage by stage; the lowest bar is what limits the whole."""
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    speeds = [stage.images_per_second.median for stage in stages]
    slowest = min(speeds)
    colours = [_ENGINE if speed > slowest else "#d62728" for speed in speeds]
    axes.bar(range(len(stages)), speeds, color=colours)
    names = [stage.name.replace(", ", "\n") for stage in stages]
    axes.set_xticks(range(len(stages)), names, fontsize=8)
    for place, speed in enumerate(speeds):
        axes.text(place, speed * 1.1, number(speed), ha="center", fontsize=8)
    axes.set_yscale("log")
    axes.set_ylim(slowest / 3, max(speeds) * 3)
    axes.set_ylabel("images/s")
    axes.set_title("stage by stage; red is what limits", fontsize=10)
    return figure


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
