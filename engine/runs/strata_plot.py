"""The figure of an evaluation's strata: AUROC in each and within them, and the shortcut probes."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from engine.base.wording import shortened
from engine.metrics.estimate import Estimate
from engine.metrics.strata_results import StrataResults
from engine.runs.figure_style import (
    BLUE,
    INK,
    MUTED,
    VERMILION,
    new_figure,
    save_all,
    styled,
)

_MOST_ROWS = 30  # of a panel; of the probes the strongest are drawn
_ROW_INCHES, _AROUND_INCHES = 0.3, 1.1

Row = tuple[str, Estimate]


def draw(
    columns: Sequence[StrataResults],
    path: Path,
    *,
    title: str = "Strata",
    formats: Sequence[str] = ("png",),
) -> None:
    """Draws each column as a row of two panels: figures with intervals, and 0.5 as a line."""
    panels = [(column, _strata_rows(column), _probe_rows(column)) for column in columns]
    heights = [
        _AROUND_INCHES + _ROW_INCHES * max(len(strata), len(probes)) for _, strata, probes in panels
    ]
    figure: Figure = new_figure(9.6, sum(heights))
    grid = figure.add_gridspec(len(panels), 2, height_ratios=heights)
    for place, (column, strata, probes) in enumerate(panels):
        left = styled(
            figure.add_subplot(grid[place, 0]), title=f"{title}, by {column.column}", xlabel="AUROC"
        )
        _draw_rows(left, strata, BLUE)
        right = styled(
            figure.add_subplot(grid[place, 1]),
            title="Shortcut probe within a class",
            xlabel="AUROC for the stratum (0.5 is good)",
        )
        _draw_rows(right, probes, VERMILION)
    save_all(figure, path, formats)


def _strata_rows(column: StrataResults) -> list[Row]:
    rows = [
        (f"{shortened(each.name, 24)} ({each.num_examples:,})", each.metrics["auroc"])
        for each in column.strata[:_MOST_ROWS]
    ]
    return [*rows, ("within strata", column.within)]


def _probe_rows(column: StrataResults) -> list[Row]:
    drawn = column.probes
    if len(drawn) > _MOST_ROWS:
        drawn = tuple(sorted(drawn, key=lambda probe: -probe.strength)[:_MOST_ROWS])
    return [
        (f"{shortened(probe.class_name, 18)}: {shortened(probe.stratum, 20)}", probe.auroc)
        for probe in drawn
    ]


def _draw_rows(axes: Axes, rows: Sequence[Row], colour: str) -> None:
    """A dot and its interval for each row, the first on top; undefined ones are named in words."""
    for place, (_, estimate) in enumerate(rows):
        if estimate.value is None:
            axes.text(0.5, place, " undefined", color=MUTED, fontsize=8.5, va="center")
            continue
        if estimate.low is not None and estimate.high is not None:
            axes.plot([estimate.low, estimate.high], [place, place], color=colour, linewidth=1.6)
        axes.plot([estimate.value], [place], "o", color=colour, markersize=5, clip_on=False)
    axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=":", zorder=1)
    axes.set_xlim(0, 1)
    axes.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [label for label, _ in rows], color=INK)
