"""The figure of a comparison: the ROC curves of several runs in one."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.runs.figure_style import CLASS_COLOURS, INK, MUTED, legend, new_figure, save_all, styled

_DASHES = ("-", "--", "-.", ":")
_LONGEST = 40  # characters of a name
_LEGEND_ROW = 0.19  # inches


@dataclasses.dataclass(frozen=True)
class Curve:
    """The curve of one run.

    Attributes:
        false_rate, true_rate: float[G].
        area: the AUROC with its interval, as the legend shows it.
        point: false and true positive rate at the run's threshold, if it has one.
    """

    name: str
    false_rate: np.ndarray
    true_rate: np.ndarray
    area: str
    point: tuple[float, float] | None = None


def roc(
    curves: Sequence[Curve],
    path: Path,
    *,
    title: str = "ROC",
    formats: Sequence[str] = ("png",),
) -> None:
    """Draws all curves, each in a colour and dashes of its own, with a dot at its threshold."""
    figure = new_figure(5.8, 5.6 + _LEGEND_ROW * len(curves))
    axes = styled(
        figure.add_subplot(),
        title=title,
        xlabel="False positive rate (1 - specificity)",
        ylabel="True positive rate (sensitivity)",
    )
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":", label="chance (0.500)")
    for place, curve in enumerate(curves):
        colour = CLASS_COLOURS[place % len(CLASS_COLOURS)]
        # Curves that lie on each other stay visible: dashes differ too, from the first on.
        axes.plot(
            curve.false_rate,
            curve.true_rate,
            color=colour,
            linestyle=_DASHES[place % len(_DASHES)],
            linewidth=1.8,
            label=f"{_shortened(curve.name)}: {curve.area}",
            clip_on=False,
            zorder=3 + place,
        )
        if curve.point is not None:
            axes.plot(
                *curve.point,
                marker="o",
                markersize=7,
                color=colour,
                markeredgecolor=INK,
                linestyle="none",
                clip_on=False,
                zorder=30,
            )
    if any(curve.point is not None for curve in curves):
        axes.plot(
            [],
            [],
            marker="o",
            markersize=6,
            color="white",
            markeredgecolor=INK,
            linestyle="none",
            label="at the run's threshold",
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_aspect("equal")
    # Below the axes: many runs would cover the curves.
    legend(axes, "upper left", anchor=(0, -0.13))
    save_all(figure, path, formats)


def _shortened(name: str) -> str:
    """Its end, where names of runs differ."""
    return name if len(name) <= _LONGEST else "…" + name[1 - _LONGEST :]
