"""The figures of an inspection's page."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from engine.inspection.image_table import ImageTable
from engine.inspection.shortcuts import Probe
from engine.runs.figure_style import (
    BLUE,
    CLASS_COLOURS,
    INK,
    MUTED,
    legend,
    new_figure,
    save,
    styled,
)

MOST_CLASSES = 6  # told apart by colour; the others are drawn in grey together
MOST_POINTS = 4000  # of a class, in a scatter figure
MOST_PROBES = 20
BINS = 32
LARGEST_RATIO = (
    20  # of the largest side to the smallest, above which sizes are drawn on logarithmic axes
)
FAR = 8  # ranges that reach so much farther than 98 % of the images are cut
_OTHERS = "other classes"


def sizes(table: ImageTable, path: Path) -> None:
    """Width over height, a point per image, beside the histogram of the aspect ratio."""
    figure = new_figure(9.2, 4.4)
    columns = figure.add_gridspec(1, 2, width_ratios=[1.25, 1])
    axes = styled(
        figure.add_subplot(columns[0]),
        title="Size of images",
        xlabel="Width, pixels",
        ylabel="Height, pixels",
    )
    width, height = table.measures["width"], table.measures["height"]
    random = np.random.default_rng(0)
    for name, own, colour in _classes(table):
        places = np.flatnonzero(own & ~np.isnan(width))
        if len(places) > MOST_POINTS:
            places = random.choice(places, MOST_POINTS, replace=False)
        axes.scatter(
            width[places],
            height[places],
            s=11,
            color=colour,
            alpha=0.45,
            linewidths=0,
            label=f"{name} ({own.sum():,})",
            rasterized=True,
        )
    smallest, largest = (np.array([f(width), f(height)]) for f in (np.nanmin, np.nanmax))
    ends = [smallest.min() * 0.9, largest.max() * 1.1]
    axes.plot(ends, ends, color=MUTED, linewidth=1, linestyle=":")
    if (largest / smallest).max() > LARGEST_RATIO:
        axes.set_xscale("log")
        axes.set_yscale("log")
        smallest = smallest * 0.9
    else:
        smallest = np.zeros(2)
    axes.set_xlim(smallest[0], largest[0] * 1.06)
    axes.set_ylim(smallest[1], largest[1] * 1.06)
    legend(axes, "upper left")
    ratios = styled(
        figure.add_subplot(columns[1]),
        title="Aspect ratio",
        xlabel="Width / height",
        ylabel="Share of the class",
    )
    _histograms(ratios, table, "aspect ratio", np.ones(len(table), bool))
    save(figure, path)


def tones(table: ImageTable, path: Path) -> None:
    """Histograms of brightness and contrast by class, a column for each split."""
    splits = table.splits
    # Side by side where there is one split, else a row for each measure.
    rows = 1 if len(splits) == 1 else 2
    columns = 2 if rows == 1 else len(splits)
    figure = new_figure(max(8.6, 3.0 * columns), 0.4 + 2.8 * rows)
    split_labels = table.split_labels
    titles = {"brightness": "Mean grey level", "contrast": "Standard deviation of grey levels"}
    for measure, (name, label) in enumerate(titles.items()):
        first: Axes | None = None
        for column, split in enumerate(splits):
            own = split_labels == column
            axes = styled(
                figure.add_subplot(rows, columns, measure * len(splits) + column + 1, sharey=first),
                title=f"{name.capitalize()}{', ' + split if split else ''}",
                xlabel=label,
                ylabel="" if column else "Share of the class",
            )
            first = first or axes
            _histograms(axes, table, name, own)
            if not measure and not column:
                legend(axes, "best")
    save(figure, path)


def _histograms(axes: Axes, table: ImageTable, name: str, chosen: np.ndarray) -> None:
    """The distribution of a measure in each class, over bins that all share; each sums to 1."""
    values = table.measures[name]
    known = values[~np.isnan(values)]
    low, high = float(known.min()), float(known.max())
    within = np.quantile(known, [0.01, 0.99])
    if (
        high - low > FAR * (within[1] - within[0]) > 0
    ):  # a few far outliers: the last bars hold them
        low, high = map(float, within)
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    for class_name, own, colour in _classes(table):
        members = values[own & chosen & ~np.isnan(values)]
        if not len(members):
            continue
        shares = np.histogram(np.clip(members, low, high), edges)[0] / len(members)
        label = f"{class_name} ({len(members):,})"
        axes.stairs(shares, edges, color=colour, linewidth=1.6, label=label)
        axes.stairs(shares, edges, color=colour, alpha=0.18, fill=True)
    axes.set_ylim(bottom=0)


def probes(found: Sequence[Probe], path: Path, *, title: str) -> None:
    """AUROC of single measures with their intervals, the strongest on top."""
    shown = list(found[:MOST_PROBES])
    several = len({probe.subject for probe in found}) > 1
    figure = new_figure(7.6, 1.3 + 0.27 * len(shown))
    axes = styled(
        figure.add_subplot(), title=title, xlabel="AUROC of the measure alone, 95 % interval"
    )
    places = np.arange(len(shown))[::-1]
    for place, probe in zip(places, shown, strict=True):
        colour = CLASS_COLOURS[1] if probe.is_notable else BLUE
        value, low, high = probe.auroc.value, probe.auroc.low, probe.auroc.high
        axes.plot([low, high], [place, place], color=colour, linewidth=2, solid_capstyle="round")
        axes.plot([value], [place], color=colour, marker="o", markersize=6)
    names = [
        f"{probe.measure}, {'more' if probe.is_higher else 'less'} in {_short(probe.subject)}"
        if several
        else probe.measure
        for probe in shown
    ]
    axes.set_yticks(places, names, fontsize=8.5, color=INK)
    axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=":")
    axes.set_xlim(min([0.5, *(probe.auroc.low or 0.5 for probe in shown)]) - 0.03, 1.01)
    axes.set_ylim(-0.7, len(shown) - 0.3)
    save(figure, path)


def images_per_patient(counts: dict[int, int], path: Path) -> None:
    """How many patients have one image, two, ...; the last bar holds all that have more."""
    figure = new_figure(5.6, 3.2)
    axes = styled(
        figure.add_subplot(),
        title="Images per patient",
        xlabel="Images of one patient",
        ylabel="Patients",
    )
    largest = max(counts)
    last = min(largest, 20)
    heights = [
        sum(n for size, n in counts.items() if size == k or (k == last and size > last))
        for k in range(1, last + 1)
    ]
    labels = [str(k) for k in range(1, last)] + [f"{last}+" if largest > last else str(last)]
    axes.bar(range(1, last + 1), heights, color=BLUE)
    axes.set_xticks(range(1, last + 1), labels)
    save(figure, path)


def _classes(table: ImageTable) -> list[tuple[str, np.ndarray, str]]:
    """Name, bool[N] and colour of each class with images; the rarest of very many together, in grey."""
    labels = table.labels
    counts = np.bincount(labels, minlength=len(table.class_names))
    present = [k for k in range(len(counts)) if counts[k]]
    if len(present) > MOST_CLASSES:
        present = sorted(sorted(present, key=lambda k: -counts[k])[: MOST_CLASSES - 1])
    found = [
        (_short(table.class_names[k]), labels == k, CLASS_COLOURS[place % len(CLASS_COLOURS)])
        for place, k in enumerate(present)
    ]
    rest = ~np.isin(labels, present)
    return [*found, (_OTHERS, rest, MUTED)] if rest.any() else found


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:22]}…"
