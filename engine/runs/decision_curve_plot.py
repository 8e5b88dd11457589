"""The figure of decision curves: what acting on the model is worth, against calling all and calling none."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from engine.base.wording import shortened
from engine.metrics.decision_curve import DecisionCurve
from engine.runs.figure_style import (
    BLUE,
    INK,
    MUTED,
    ORANGE,
    legend,
    new_figure,
    save_all,
    styled,
)

_COLUMNS = 4  # of panels, one per class
_BELOW = 0.35  # how far below 0 the axis reaches, as a share of the height above it


def draw(
    curves: Sequence[DecisionCurve],
    path: Path,
    *,
    title: str = "Decision curve",
    formats: Sequence[str] = ("png",),
) -> None:
    """Draws one panel per curve; of no curve, nothing is written."""
    if not curves:
        return
    if len(curves) == 1:
        figure = new_figure(5.6, 5.3)
        axes = styled(
            figure.add_subplot(),
            title=title,
            xlabel=f"Threshold probability of {shortened(curves[0].class_name, 24)}",
            ylabel="Net benefit",
        )
        _draw(axes, curves[0])
        legend(axes, "upper left", anchor=(0, -0.13))  # within the axes it would hide curves
        save_all(figure, path, formats)
        return
    columns = min(_COLUMNS, len(curves))
    rows = -(-len(curves) // columns)
    figure = new_figure(2.7 * columns + 0.4, 2.5 * rows + 1.0)
    panels = [figure.add_subplot(rows, columns, place + 1) for place in range(len(curves))]
    for axes, curve in zip(panels, curves, strict=True):
        styled(axes, title=shortened(curve.class_name, 20))
        axes.title.set_fontsize(9.5)
        _draw(axes, curve)
    figure.suptitle(
        f"{title}, each class against the others\n"
        "solid: model, with 95 % interval; dashed: call all; dotted: call none",
        fontsize=10,
        color=INK,
    )
    figure.supxlabel("Threshold probability of the class", fontsize=9.5, color=INK)
    figure.supylabel("Net benefit", fontsize=9.5, color=INK)
    save_all(figure, path, formats)


def _draw(axes: Axes, curve: DecisionCurve) -> None:
    """The model with its interval, calling all, and calling none as 0."""
    thresholds = curve.thresholds
    if curve.low is not None and curve.high is not None:
        axes.fill_between(
            thresholds, curve.low, curve.high, color=BLUE, alpha=0.15, linewidth=0, zorder=2
        )
    axes.plot(thresholds, curve.net_benefit, color=BLUE, linewidth=2, label="model", zorder=3)
    axes.plot(
        thresholds, curve.treat_all, color=ORANGE, linestyle="--", linewidth=1.5, label="call all"
    )
    axes.axhline(0, color=MUTED, linewidth=1, linestyle=":", label="call none")
    top = max(curve.prevalence, max(curve.net_benefit), 1e-3)
    axes.set_xlim(0, 1)
    axes.set_ylim(-_BELOW * top, 1.12 * top)
