"""A picture of what a layer gives for one image: its channels side by side, at the image's own aspect."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from PIL import Image

from engine.explaining.mosaic import corner, mosaic
from engine.images import geometry
from engine.images.format import ImageFormat
from engine.runs import figure_style

CHANNELS = 64
_COLUMNS = 8
_TILE = 72  # pixels of the longer side
_GAP = 6
_COLOURS = "viridis"


def draw(
    features: np.ndarray,
    path: Path,
    *,
    layer: str,
    image_format: ImageFormat,
    size: tuple[int, int],
    subject: str,
    formats: Sequence[str] = ("png",),
) -> None:
    """Draws the 64 channels of a feature map that vary most over the image, in their order.

    Args:
        features: float32[h, w, C].
        layer: what gave it.
        image_format: how the network's input was made of the image, whose (height, width) is `size`: padding
            is cut off.
        subject: the image's name.
    """
    height, width, count = features.shape
    varying = np.sort(np.argsort(-features.std(axis=(0, 1)), kind="stable")[:CHANNELS])
    scale = _TILE / max(size)
    tile = max(4, round(size[0] * scale)), max(4, round(size[1] * scale))
    tiles = [_tile(features[..., channel], image_format, size, tile) for channel in varying]
    columns = min(_COLUMNS, len(tiles))
    shown = mosaic(tiles, columns=columns, gap=_GAP)
    inches = (
        shown.shape[1] / figure_style.DOTS_PER_INCH * 1.5,
        shown.shape[0] / figure_style.DOTS_PER_INCH * 1.5,
    )
    figure = figure_style.new_figure(max(3.4, inches[0]) + 1.0, inches[1] + 0.7)
    axes = figure.add_subplot()
    axes.set_axis_off()
    some = f"{count:,}" if len(tiles) == count else f"the {len(tiles)} of {count:,} that vary most"
    title = f"{subject}\n{layer}: {height} x {width}, channels: {some}"
    axes.set_title(title, fontsize=9, color=figure_style.INK, loc="left", pad=4)
    axes.imshow(shown, cmap=_COLOURS, vmin=0, vmax=1, interpolation="nearest")
    for index, channel in enumerate(varying):
        top, left = corner(index, tile, columns=columns, gap=_GAP)
        axes.text(
            left, top + tile[0] - 0.5, str(channel), fontsize=4, color=figure_style.MUTED, va="top"
        )
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 1), _COLOURS),
        ax=axes,
        fraction=0.03,
        pad=0.02,
        ticks=[0, 1],
        shrink=0.8,
    )
    bar.set_ticklabels(["lowest", "highest"])
    bar.set_label("by each channel's own range", fontsize=7, color=figure_style.MUTED)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7, colors=figure_style.MUTED, length=0)
    figure_style.save_all(figure, path, formats)


def _tile(
    channel: np.ndarray, image_format: ImageFormat, size: tuple[int, int], tile: tuple[int, int]
) -> np.ndarray:
    """float32[*tile] in [0, 1]: what lies on the image, places as squares of their own."""
    low, high = float(channel.min()), float(channel.max())
    relative = (channel - low) / (high - low) if high > low else np.zeros_like(channel)
    part = geometry.part_of(relative.shape, image_format, size)
    coarse = Image.fromarray(relative.astype(np.float32))
    return np.asarray(coarse.resize(tile[::-1], Image.Resampling.NEAREST, box=part))
