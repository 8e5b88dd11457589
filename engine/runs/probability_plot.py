"""The figure of how probabilities are distributed in each true class, with the threshold."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from engine.base.wording import shortened
from engine.runs.figure_style import (
    CLASS_COLOURS,
    INK,
    legend,
    new_figure,
    save_all,
    styled,
)

MOST_PANELS = 20  # of more classes, those with the lowest mean are drawn
_BINS = 40
_COLUMNS = 4

Array = np.ndarray


def draw(
    labels: Array,
    probabilities: Array,
    class_names: Sequence[str],
    path: Path,
    *,
    threshold: float | None = None,
    title: str = "Probabilities",
    formats: Sequence[str] = ("png",),
) -> None:
    """Draws one histogram per true class, all over the same bins, counts by their square roots.

    Of two classes, the probability is that of the positive one; of more, that which an image was given for
    its own class.

    Args:
        labels: int[N].
        probabilities: float[N], or float[N, K] with more than two classes.
        threshold: of two classes, drawn as a line.
    """
    if probabilities.ndim == 1:
        figure = _of_two(labels, probabilities, class_names, threshold, title)
    else:
        figure = _of_more(labels, probabilities, class_names, title)
    save_all(figure, path, formats)


def _of_two(
    labels: Array,
    probabilities: Array,
    class_names: Sequence[str],
    threshold: float | None,
    title: str,
) -> Figure:
    figure = new_figure(5.6, 4.6)
    top, bottom = figure.subplots(2, 1, sharex=True)
    for axes, label in ((top, 1), (bottom, 0)):
        own = probabilities[labels == label]
        _histogram(axes, own, CLASS_COLOURS[label], f"{class_names[label]}, {len(own):,} images")
        if threshold is not None:
            right = own >= threshold if label else own < threshold
            share = f"{right.mean():.1%} on its side" if len(own) else "no image"
            axes.axvline(
                threshold,
                color=INK,
                linewidth=1.2,
                linestyle="--",
                label=f"threshold {threshold:.3f}: {share}",
            )
        legend(axes, "upper center")
    styled(top, title=title, ylabel="Images (root scale)")
    styled(
        bottom, xlabel=f"Predicted probability of {class_names[1]}", ylabel="Images (root scale)"
    )
    figure.align_ylabels()
    return figure


def _of_more(labels: Array, probabilities: Array, class_names: Sequence[str], title: str) -> Figure:
    own = {k: probabilities[labels == k, k] for k in range(len(class_names))}
    shown = list(own)
    if len(shown) > MOST_PANELS:
        there = [k for k in shown if len(own[k])]
        shown = sorted(sorted(there, key=lambda k: float(own[k].mean()))[:MOST_PANELS])
        title += f", the {len(shown)} classes with the lowest mean"
    columns = min(_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure = new_figure(2.5 * columns + 0.4, 2.1 * rows + 0.9)
    for place, k in enumerate(shown):
        axes = styled(
            figure.add_subplot(rows, columns, place + 1), title=shortened(class_names[k], 20)
        )
        axes.title.set_fontsize(9.5)
        _histogram(axes, own[k], CLASS_COLOURS[k % len(CLASS_COLOURS)])
        note = f"{len(own[k]):,} images"
        if len(own[k]):
            note += f"\nmedian {np.median(own[k]):.2f}"
        axes.annotate(
            note,
            (0.04, 0.95),
            xycoords="axes fraction",
            va="top",
            fontsize=8,
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5},
        )
    figure.suptitle(title, fontsize=11, color=INK, weight="bold")
    figure.supxlabel(
        "Probability that images were given for their true class", fontsize=9.5, color=INK
    )
    figure.supylabel("Images (square-root scale)", fontsize=9.5, color=INK)
    return figure


def _histogram(axes: Axes, values: Array, colour: str, label: str | None = None) -> None:
    edges = np.linspace(0, 1, _BINS + 1)
    counts = np.histogram(values, edges)[0]
    axes.bar(
        edges[:-1],
        counts,
        width=np.diff(edges),
        align="edge",
        color=colour,
        edgecolor="white",
        linewidth=0.4,
        label=label,
        zorder=2,
    )
    axes.set_xlim(0, 1)
    # By square roots, the few images on the wrong side show beside the many on the right one.
    axes.set_yscale("function", functions=(_root, np.square))
    # Room above the tallest bar, which legends and notes would cover.
    axes.set_ylim(0, max(1, 1.9 * counts.max()))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))


def _root(values: Array) -> Array:
    return np.sqrt(np.maximum(values, 0))
