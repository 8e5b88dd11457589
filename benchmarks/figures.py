"""Figures of the results: bars per suite, lines for sweeps, and a waterfall of the stages.

They look as the engine's own figures do (`engine.runs.figure_style`). What is the engine's, and what limits
training, is told by more than its colour: by hatching and by a legend.
"""

import dataclasses
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from benchmarks import outcomes
from benchmarks.harness import Measurement
from benchmarks.reports import Report, number
from engine.base import files
from engine.runs.figure_style import BLUE, INK, MUTED, SKY, VERMILION, legend, new_figure, styled
from engine.runs.figure_style import save as write

ENGINE, OTHER, INTERVAL = BLUE, "#B8B8B8", "#444444"
_HATCH = "///"  # of what limits training
_LEAST_SPAN = 0.01  # of an AUROC axis: seeds that differ by less look as alike as they are
_ROW = 0.27  # inches, of a bar


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
            paths.append(_saved(lines(report, group), directory / name))
    stages = stages_of({**(stored_speeds(earlier) if earlier else {}), **_speeds(reports)})
    if sum(stage.kind == "epoch" for stage in stages) > 1:
        paths.append(_saved(waterfall(stages), directory / "waterfall.png"))
    return paths


def bars(report: Report) -> Figure:
    """Images/s of every row, by group, with the interval as a whisker, on a logarithmic axis.

    Sweeps, which have figures of their own, are left out if other rows remain.
    """
    swept = set(sweeps(report))
    rows = [row for row in report.measurements if row.group not in swept] or report.measurements
    places, heads = _places(rows)
    height = 0.9 + _ROW * (max(places) + 1.4)
    figure = new_figure(8.4, height)
    axes = styled(figure.add_subplot(), xlabel="images/s, logarithmic; lines: 90 % intervals")
    _titled(figure, report.question)
    draw_bars(
        axes,
        [(row.name, *_limits(row)) for row in rows],
        places=places,
        engine=["engine" in row.name or row.group == "engine" for row in rows],
    )
    for place, head in heads:
        # A group's name stands above its rows, where their names end.
        axes.annotate(
            head,
            (0, place),
            xycoords=("axes fraction", "data"),
            xytext=(-4, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=8.5,
            fontweight="bold",
            color=INK,
        )
    axes.set_ylim(max(places) + 0.7, -0.7)
    return figure


def draw_bars(
    axes: Axes,
    rows: Sequence[tuple[str, float, float, float]],
    *,
    places: Sequence[float],
    engine: Sequence[bool],
) -> None:
    """Horizontal bars with names, whiskers and numbers, on a logarithmic axis of images/s.

    Args:
        rows: name, low, median and high of each.
        places: where each stands, from the top.
        engine: which are the engine's own.
    """
    for (_, low, median, high), place, own in zip(rows, places, engine, strict=True):
        axes.barh(place, median, height=0.72, color=ENGINE if own else OTHER)
        axes.hlines(place, low, high, color=INTERVAL, linewidth=1.4)
        axes.text(high * 1.1, place, number(median), va="center", fontsize=8, color=INK)
    axes.set_yticks(places, [name for name, *_ in rows], fontsize=8.5, color=INK)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.set_xscale("log")
    lows, highs = [low for _, low, _, _ in rows], [high for *_, high in rows]
    axes.set_xlim(min(lows) / 2.5, max(highs) * 4)
    plain_numbers(axes)
    if any(engine) and not all(engine):
        handles = [Patch(color=ENGINE, label="engine"), Patch(color=OTHER, label="other rows")]
        axes.legend(
            handles=handles,
            fontsize=8.5,
            frameon=False,
            ncols=2,
            loc="lower right",
            bbox_to_anchor=(1, 1),  # above the bars, which may reach anywhere
        )


def plain_numbers(axes: Axes) -> None:
    """Writes a logarithmic x axis as `1,000`, `10,000`."""
    axes.xaxis.set_major_locator(LogLocator(numticks=8))
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _plain(value: float, _: object) -> str:
    """`0.5`, `1,000,000`."""
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _places(rows: Sequence[Measurement]) -> tuple[list[float], list[tuple[float, str]]]:
    """Where each row stands from the top, and where the heads of the groups stand."""
    places: list[float] = []
    heads: list[tuple[float, str]] = []
    place, group = -1.0, ""
    for row in rows:
        if row.group and row.group != group:
            place += 1.3 if places else 1
            heads.append((place, row.group))
        place += 1
        places.append(place)
        group = row.group
    return places, heads


def _limits(row: Measurement) -> tuple[float, float, float]:
    speed = row.images_per_second
    return speed.low, speed.median, speed.high


def reached(report: Report) -> Figure:
    """The AUROC of every training on every set: a dot per seed, a line at the median."""
    names = outcomes.ranked(report.outcomes)[::-1]
    sets = outcomes.set_names(report.outcomes)
    figure = new_figure(2.2 + 2.4 * len(sets), 1.5 + 0.36 * len(names))
    panels = np.atleast_1d(figure.subplots(1, len(sets), sharey=True))
    for axes, set_name in zip(panels, sets, strict=True):
        styled(axes, title=textwrap.fill(set_name, 24), xlabel="AUROC")
        found = [outcome for outcome in report.outcomes if outcome.set_name == set_name]
        for place, name in enumerate(names):
            median = outcomes.of(report.outcomes, name, set_name).get("auroc")
            values = [outcome.auroc for outcome in found if outcome.candidate == name]
            axes.plot(values, [place] * len(values), "o", color=BLUE, alpha=0.7, clip_on=False)
            if median is not None:
                axes.vlines(median.median, place - 0.3, place + 0.3, color=INK, zorder=3)
        axes.grid(axis="y", visible=False)
        axes.set_xlim(_auroc_limits([each.auroc for each in found if each.auroc is not None]))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    panels[0].set_yticks(range(len(names)), names, fontsize=8.5, color=INK)
    panels[0].set_ylim(-0.6, len(names) - 0.4)
    _titled(figure, f"{report.question}; a dot per seed, a line at the median")
    return figure


def _auroc_limits(values: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis that shows all values, and never less than `_LEAST_SPAN`."""
    low, high = min(values, default=0.5), max(values, default=1.0)
    margin = max(0.08 * (high - low), (_LEAST_SPAN - (high - low)) / 2)
    if high + margin > 1:
        return min(low - margin, 1 - _LEAST_SPAN), 1.0
    return low - margin, high + margin


def sweeps(report: Report) -> list[str]:
    """The groups whose rows are named by different numbers, such as `batch 64` or `1,000 images`."""
    groups = dict.fromkeys(row.group for row in report.measurements)
    found = []
    for group in groups:
        rows = [row for row in report.measurements if row.group == group]
        numbers = [_number_in(row.name) for row in rows]
        if len(rows) > 2 and None not in numbers and len(set(numbers)) == len(numbers):
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


def limiting(stages: Sequence[Stage]) -> Stage | None:
    """The slowest of the stages that run every epoch; None where only one of them was measured.

    The tiers of the input are alternatives, of which the memory tier is the default.
    """
    inputs = [stage for stage in stages if stage.name.startswith("input")]
    others = [stage for stage in stages if stage.kind == "epoch" and stage not in inputs]
    compared = [*inputs[-1:], *others]
    return min(compared, key=lambda each: each.images_per_second) if len(compared) > 1 else None


def waterfall(stages: Sequence[Stage]) -> Figure:
    """Images/s of each stage; of those that run every epoch, the slowest limits training."""
    figure = new_figure(8.4, 4.4)
    axes = styled(figure.add_subplot(), title="Images/s by stage", ylabel="images/s, logarithmic")
    limit = limiting(stages)
    speeds = [stage.images_per_second for stage in stages]
    labelled: set[str] = set()
    for place, stage in enumerate(stages):
        colour, label = _WATERFALL["limit" if stage is limit else stage.kind]
        axes.bar(
            place,
            stage.images_per_second,
            width=0.7,
            color=colour,
            hatch=_HATCH if stage is limit else None,
            edgecolor="white",
            label=None if label in labelled else label,
        )
        labelled.add(label)
        axes.text(
            place,
            stage.images_per_second * 1.12,
            number(stage.images_per_second),
            ha="center",
            fontsize=8.5,
            color=INK,
        )
    axes.set_xticks(range(len(stages)), [stage.name for stage in stages], color=INK)
    axes.grid(axis="x", visible=False)
    axes.set_yscale("log")
    axes.set_ylim(min(speeds) / 3, max(speeds) * 4)
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    axes.yaxis.set_minor_formatter(NullFormatter())
    legend(axes, "upper right")
    return figure


_WATERFALL = {
    "once": (OTHER, "once, before all training"),
    "epoch": (ENGINE, "every image, every epoch"),
    "limit": (VERMILION, "the slowest of these: it limits training"),
    "whole": (MUTED, "training, all of it"),
}


def lines(report: Report, group: str) -> Figure:
    """Images/s over what a sweep varies, with the interval as a band."""
    rows = [row for row in report.measurements if row.group == group]
    figure = new_figure(6.2, 4.2)
    axes = styled(figure.add_subplot(), xlabel=group, ylabel="images/s")
    _titled(figure, report.question)
    numbers = [_number_in(row.name) or 0 for row in rows]
    low, median, high = zip(*map(_limits, rows), strict=True)
    axes.fill_between(numbers, low, high, color=SKY, alpha=0.35, linewidth=0, label="90 % interval")
    axes.plot(numbers, median, marker="o", color=ENGINE, label="median")
    axes.set_xscale("log")
    axes.set_xticks(numbers, [f"{value:,}" for value in numbers])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()
    axes.set_ylim(0, max(high) * 1.1)
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    legend(axes, "lower right")
    return figure


def _titled(figure: Figure, text: str) -> None:
    """A title over the whole width, however wide the names beside the axes are."""
    width = figure.get_size_inches()[0]
    figure.suptitle(
        textwrap.fill(text[:1].upper() + text[1:], int(width * 10.5)),
        x=0.02,
        ha="left",
        fontsize=11,
        fontweight="bold",
        color=INK,
    )


def _number_in(name: str) -> int | None:
    words = [word.replace(",", "") for word in name.split()]
    return next((int(word) for word in words if word.isdigit()), None)


def _saved(figure: Figure, path: Path) -> Path:
    write(figure, path)
    return path
