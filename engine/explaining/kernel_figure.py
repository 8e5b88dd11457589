"""A picture of a convolution's kernels, each relative to its own largest weight.

One input channel: blue below zero, red above, white at it. Three: as colours around grey, as the first layer of a
network for colour images sees them. More: a row for each of the first filters, with its part for each of the first
channels.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from engine.explaining.mosaic import corner, mosaic
from engine.inference.kernels import Kernels
from engine.runs import figure_style

_COLUMNS = 8
_MOST_FILTERS = 256
_MOST_PARTS = 12  # filters, and channels of each, where there are many channels
_TILE = 0.62  # inches
_COLOURS = "RdBu_r"  # parted evenly around white, for colour-blind readers too (ColorBrewer)
_TINY = 1e-12


def draw(kernels: Kernels, path: Path, *, formats: Sequence[str] = ("png",)) -> None:
    """Draws the kernels of a layer, at most 256 of them, under their numbers from 0 on.

    Args:
        kernels: of one, three, or many input channels.
        formats: see `figure_style.save_all`.
    """
    height, width, channels, count = kernels.values.shape
    size = f"{height} x {width}"
    if channels in (1, 3):
        shown = min(count, _MOST_FILTERS)
        tiles = [_relative(kernels.values[..., index]) for index in range(shown)]
        names, columns = [str(index) for index in range(shown)], min(_COLUMNS, shown)
        some = f"{count:,}" if shown == count else f"{shown} of {count:,}"
        title = f"{some} filters of {size}"
    else:
        rows, columns = min(count, _MOST_PARTS), min(channels, _MOST_PARTS)
        tiles, names = [], []
        for index in range(rows):
            parts = _relative(kernels.values[..., :columns, index])
            tiles += [parts[..., part : part + 1] for part in range(columns)]
            names += [f"{index}:{part}" for part in range(columns)]
        title = f"{rows} of {count:,} filters of {size}, {columns} of {channels:,} channels"
    _draw_tiles(
        tiles, names, path, columns=columns, title=f"{kernels.layer}\n{title}", formats=formats
    )


def _draw_tiles(
    tiles: Sequence[np.ndarray],
    names: Sequence[str],
    path: Path,
    *,
    columns: int,
    title: str,
    formats: Sequence[str],
) -> None:
    """Args: tiles: float[h, w, 1 or 3] in [-1, 1]."""
    height, width, channels = tiles[0].shape
    gap = max(1, round(max(height, width) / 6))
    rows = -(-len(tiles) // columns)
    inches = _TILE * (1 + gap / max(height, width))
    figure = figure_style.new_figure(
        max(3.4, columns * inches * width / max(height, width)) + 0.9,
        rows * inches * height / max(height, width) + 0.7,
    )
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_title(title, fontsize=9, color=figure_style.INK, loc="left", pad=4)
    if channels == 3:
        shown = mosaic([(tile + 1) / 2 for tile in tiles], columns=columns, gap=gap, background=1)
        axes.imshow(shown, interpolation="nearest")
        note = "colours around grey (0)"
        axes.text(
            0,
            -0.01,
            f"{note}, each filter relative to its largest weight",
            fontsize=7,
            color=figure_style.MUTED,
            transform=axes.transAxes,
            va="top",
        )
    else:
        flat = [tile[..., 0] for tile in tiles]
        shown = mosaic(flat, columns=columns, gap=gap)
        axes.imshow(shown, cmap=_COLOURS, vmin=-1, vmax=1, interpolation="nearest")
        _add_bar(figure, axes)
    for index, name in enumerate(names):
        top, left = corner(index, tiles[0].shape, columns=columns, gap=gap)
        axes.text(
            left - 0.5, top + height - 0.4, name, fontsize=4.5, color=figure_style.MUTED, va="top"
        )
    figure_style.save_all(figure, path, formats)


def _add_bar(figure: Figure, axes: Axes) -> None:
    mappable = ScalarMappable(Normalize(-1, 1), _COLOURS)
    bar = figure.colorbar(mappable, ax=axes, fraction=0.04, pad=0.02, ticks=[-1, 0, 1], shrink=0.8)
    bar.set_label("weight, relative to the filter's largest", fontsize=7, color=figure_style.MUTED)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7, colors=figure_style.MUTED, length=0)


def _relative(values: np.ndarray) -> np.ndarray:
    """In [-1, 1]; zeros of a kernel without weights."""
    found: np.ndarray = values / max(float(np.abs(values).max()), _TINY)
    return found
