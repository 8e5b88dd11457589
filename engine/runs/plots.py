"""Figures from plain arrays, each written whole or not at all.

`formats` names what each is written as besides or instead of PNG, with that suffix in the place of `path`'s
(`figure_style.save_all`).

Figures are made with matplotlib's object interface on the Agg canvas: no display is needed, no
global state is touched, and a notebook's own settings and open figures stay as they are.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from engine.base.wording import shortened
from engine.runs.figure_style import (
    BLUE,
    BLUES,
    CLASS_COLOURS,
    INK,
    MUTED,
    ORANGE,
    SKY,
    legend,
    new_figure,
    save_all,
    styled,
)

LARGEST_LEGEND = 10  # classes; more would cover the curves, and up to so many stand beside them:
LARGEST_LEGEND_BESIDE = 20
LARGEST_ANNOTATED = 20  # classes; the cells of a larger confusion matrix hold no legible text


def roc(
    curves: Sequence[tuple[str, np.ndarray, np.ndarray]],
    path: Path,
    *,
    area: str = "undefined",
    class_areas: Sequence[str] = (),
    operating_point: tuple[float, float] | None = None,
    title: str = "ROC",
    formats: Sequence[str] = ("png",),
) -> None:
    """Receiver operating characteristic.

    Args:
        curves: (class name, false positive rate float[G], true positive rate float[G]).
        area: the AUROC with its interval, as the legend shows it.
        class_areas: of several curves, the AUROC of each, shown behind its name.
        operating_point: (false positive rate, true positive rate) at the stored threshold.
    """
    figure = _curve_figure(curves)
    axes = _axes(
        figure,
        title=title,
        xlabel="False positive rate (1 - specificity)",
        ylabel="True positive rate (sensitivity)",
    )
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":", label="chance (0.500)")
    _draw_curves(axes, curves, f"AUROC {area}", step=None, class_areas=class_areas)
    _draw_operating_point(axes, operating_point, "sensitivity {1:.3f}, specificity {2:.3f}")
    _square_unit_axes(axes)
    _curve_legend(axes, curves, "lower right")
    save_all(figure, path, formats)


def precision_recall(
    curves: Sequence[tuple[str, np.ndarray, np.ndarray]],
    path: Path,
    *,
    area: str = "undefined",
    class_areas: Sequence[str] = (),
    operating_point: tuple[float, float] | None = None,
    prevalence: float | None = None,
    title: str = "Precision-recall",
    formats: Sequence[str] = ("png",),
) -> None:
    """Precision over recall.

    Args:
        curves: (class name, recall float[G], precision float[G]).
        area: the average precision with its interval, as the legend shows it.
        class_areas: of several curves, the average precision of each, shown behind its name.
        operating_point: (recall, precision) at the stored threshold.
        prevalence: the positive fraction, which is what chance would give.
    """
    figure = _curve_figure(curves)
    axes = _axes(figure, title=title, xlabel="Recall (sensitivity)", ylabel="Precision")
    if prevalence is not None:
        label = f"chance ({prevalence:.3f})"
        axes.axhline(prevalence, color=MUTED, linewidth=1, linestyle=":", label=label)
    _draw_curves(axes, curves, f"average precision {area}", step="pre", class_areas=class_areas)
    _draw_operating_point(axes, operating_point, "recall {0:.3f}, precision {1:.3f}")
    _square_unit_axes(axes)
    _curve_legend(axes, curves, "lower left")
    save_all(figure, path, formats)


def confusion_matrix(
    matrix: np.ndarray,
    class_names: Sequence[str],
    path: Path,
    *,
    title: str = "Confusion matrix",
    formats: Sequence[str] = ("png",),
) -> None:
    """Counts and the percentage of each row, int[K, K]: rows the true class, columns the predicted.

    Cells are shaded by row percentage, so that a rare class is as legible as a common one.
    """
    matrix = np.asarray(matrix)
    count = len(class_names)
    fractions = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(0.62 * count + 2.6, 4.6, 14))
    figure = new_figure(side + 0.8, side)
    axes = _axes(figure, title=title, xlabel="Predicted class", ylabel="True class")
    axes.grid(False)
    shown = axes.imshow(fractions, cmap=BLUES, vmin=0, vmax=1)
    bar = figure.colorbar(shown, ax=axes, fraction=0.046, pad=0.03, format=PercentFormatter(1.0))
    bar.set_label("of the true class", color=MUTED, fontsize=9)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, colors=MUTED, length=0)
    _name_classes(axes, class_names)
    if count <= LARGEST_ANNOTATED:
        _annotate_cells(axes, matrix, fractions)
    # White lines between the cells.
    axes.set_xticks(np.arange(count + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(count + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    save_all(figure, path, formats)


def calibration(
    edges: np.ndarray,
    predicted: np.ndarray,
    observed: np.ndarray,
    limits: tuple[np.ndarray, np.ndarray],
    counts: np.ndarray,
    path: Path,
    *,
    error: float | None = None,
    subject: str = "the positive class",
    title: str = "Calibration",
    formats: Sequence[str] = ("png",),
) -> None:
    """A reliability diagram above the histogram of the probabilities.

    Args:
        edges: float[bins + 1]; `predicted`, `observed`: float[bins]; `counts`: int[bins].
        limits: of the 95 % interval of `observed`, low and high, float[bins] each.
        error: the expected calibration error, shown in the legend.
        subject: what the probability is of, named under the axis.
    """
    figure = new_figure(5.4, 6.2)
    rows = figure.add_gridspec(2, 1, height_ratios=[3.4, 1])
    axes = styled(figure.add_subplot(rows[0]), title=title, ylabel="Observed fraction")
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":", label="perfectly calibrated")
    filled = counts > 0
    # With its interval, a far-off bin of five images does not alarm, nor one without errors soothe.
    low, high = (limit[filled] for limit in limits)
    label = "observed, with 95 % interval"
    if error is not None:
        label += f"\nexpected calibration error {error:.3f}"
    axes.errorbar(
        predicted[filled],
        observed[filled],
        yerr=(observed[filled] - low, high - observed[filled]),
        color=BLUE,
        marker="o",
        markersize=5,
        linewidth=1.8,
        elinewidth=1,
        capsize=2,
        label=label,
        clip_on=False,
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    # Between the panels: within the axes it would hide the ends of intervals somewhere.
    legend(axes, location="upper left", anchor=(0, -0.06))
    below = styled(
        figure.add_subplot(rows[1]), xlabel=f"Predicted probability of {subject}", ylabel="Images"
    )
    below.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=SKY, edgecolor="white")
    below.set_xlim(0, 1)
    below.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    figure.align_ylabels()
    save_all(figure, path, formats)


def image_grid(
    images: np.ndarray,
    titles: Sequence[str] | None,
    path: Path,
    *,
    columns: int = 8,
    title: str | None = None,
    cell: float = 1.7,
    formats: Sequence[str] = ("png",),
) -> None:
    """Images in rows, each with a title of its own.

    Args:
        images: uint8[N, H, W, C], C being 1 or 3.
        titles: N short texts, or None.
        cell: the width of an image in inches, of 150 dots each.
    """
    images = np.asarray(images)
    count, height, width = images.shape[:3]
    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    head = (0.24 if titles is not None else 0.06) + 0.02
    figure = new_figure(
        cell * columns, rows * (cell * height / width + head) + (0.45 if title else 0)
    )
    for place, image in enumerate(images):
        axes = figure.add_subplot(rows, columns, place + 1)
        grey = image.shape[-1] == 1
        axes.imshow(
            image[..., 0] if grey else image, cmap="gray" if grey else None, vmin=0, vmax=255
        )
        axes.set_axis_off()
        if titles is not None:
            axes.set_title(shortened(titles[place], int(14 * cell)), fontsize=8, color=INK, pad=3)
    if title:
        figure.suptitle(title, fontsize=11, color=INK, fontweight="bold")
    save_all(figure, path, formats)


def _curve_figure(curves: Sequence[Any]) -> Figure:
    """A square, wider where the legend stands beside the curves."""
    beside = LARGEST_LEGEND < len(curves) <= LARGEST_LEGEND_BESIDE
    return new_figure(5.4 + (2.9 if beside else 0), 5.2)


def _curve_legend(axes: Axes, curves: Sequence[Any], location: str) -> None:
    if LARGEST_LEGEND < len(curves) <= LARGEST_LEGEND_BESIDE:
        legend(axes, "center left", anchor=(1.02, 0.5))
    else:
        legend(axes, location)


def _axes(figure: Figure, *position: int, **texts: str) -> Axes:
    return styled(figure.add_subplot(*position), **texts)


def _draw_curves(
    axes: Axes,
    curves: Sequence[tuple[str, np.ndarray, np.ndarray]],
    area_text: str,
    step: str | None,
    class_areas: Sequence[str] = (),
) -> None:
    """One curve with its area; several with their names; many thin ones, too many without a legend."""
    style: dict[str, Any] = {"clip_on": False, "zorder": 3}
    if step:
        style["drawstyle"] = "steps-" + step
    for place, (name, x, y) in enumerate(curves):
        colour = CLASS_COLOURS[place % len(CLASS_COLOURS)]
        dashes = ("-", "--", "-.")[place // len(CLASS_COLOURS) % 3]
        named = len(curves) <= LARGEST_LEGEND_BESIDE
        label = area_text if len(curves) == 1 else shortened(name, 24) if named else None
        if label is not None and len(curves) > 1 and class_areas:
            label += f" ({class_areas[place]})"
        axes.plot(
            x,
            y,
            color=colour,
            linestyle=dashes,
            label=label,
            linewidth=2 if len(curves) <= LARGEST_LEGEND else 0.9,
            **style,
        )
    if len(curves) > 1 and area_text:
        axes.plot([], [], color="none", label=f"mean {area_text}")


def _draw_operating_point(axes: Axes, point: tuple[float, float] | None, template: str) -> None:
    if point is None or not np.isfinite(point).all():
        return
    label = "threshold: " + template.format(point[0], point[1], 1 - point[0])
    axes.plot(
        *point,
        marker="o",
        markersize=8,
        color=ORANGE,
        markeredgecolor=INK,
        linestyle="none",
        label=label,
        zorder=4,
        clip_on=False,
    )


def _square_unit_axes(axes: Axes) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_aspect("equal")


def _name_classes(axes: Axes, class_names: Sequence[str]) -> None:
    names = [shortened(name, 20) for name in class_names]
    fits = 12 if len(names) <= 4 else 7  # letters below a cell
    crowded = max(len(name) for name in names) > fits
    size = 9 if len(names) <= LARGEST_ANNOTATED else max(3.0, 180 / len(names))
    places = np.arange(len(names))
    axes.set_xticks(places, names, fontsize=size, color=INK)
    axes.set_yticks(places, names, fontsize=size, color=INK)
    if crowded:
        for label in axes.get_xticklabels():
            label.set_rotation(45)
            label.set_horizontalalignment("right")
            label.set_rotation_mode("anchor")


def _annotate_cells(axes: Axes, matrix: np.ndarray, fractions: np.ndarray) -> None:
    count = len(matrix)
    size = 13 if count <= 3 else 10 if count <= 6 else 7.5 if count <= 12 else 6
    for row, column in np.ndindex(count, count):
        dark = (
            _luminance(BLUES(fractions[row, column])) < 0.18
        )  # white on it is the more legible one
        axes.text(
            column,
            row,
            f"{matrix[row, column]:,}\n{fractions[row, column]:.1%}",
            ha="center",
            va="center",
            fontsize=size,
            color="white" if dark else "black",
            linespacing=1.35,
        )


def _luminance(colour: Sequence[float]) -> float:
    """Relative luminance of an sRGB colour, each part from 0 to 1 (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
