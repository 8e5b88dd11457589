"""A picture of an image file beside the evidence found in it, at the file's own aspect and size.

Colours are laid over the image, more opaque where the evidence is stronger; the bar beside them shows both over
middle grey, and says what the strongest colour stands for.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from engine.base import wording
from engine.explaining import overlay
from engine.images.boxes import Box
from engine.runs import figure_style

_PANEL = 3.2  # inches of the longer side of an image
_FEWEST_DOTS = 480  # along the longer side, to which smaller images are enlarged
_TITLE, _GAP, _BAR, _LABELS, _EDGE = 0.28, 0.1, 0.12, 0.62, 0.06  # inches
_NARROWEST = 1.6  # inches, so that titles fit above tall images
_LETTERS_PER_INCH = 15
_BAR_STEPS = 128
_BOX_COLOURS = ("#000000", "#56B4E9")


def draw(
    path: Path,
    image: np.ndarray,
    evidence: np.ndarray,
    *,
    caption: str,
    subject: str,
    unit: str,
    limit: float,
    is_own: bool = True,
    boxes: Sequence[Box] = (),
    formats: Sequence[str] = ("png",),
) -> None:
    """Draws an image beside itself under its evidence.

    Args:
        path: ends in `.png`; other formats stand beside it.
        image: uint8[H, W, 1 or 3], upright.
        evidence: float32[H, W], not negative, in `unit`.
        caption: above the image.
        subject: the class that the evidence is for.
        limit: what the strongest colour stands for; stronger evidence is drawn as that.
        is_own: whether that is the image's own strongest place, as the bar then says.
        boxes: outlined on the image, in its pixels.
    """
    share = np.clip(evidence / limit, 0, 1) if limit > 0 else np.zeros_like(evidence)
    figure, panels, bar = _layout(image.shape[:2])
    shown = overlay.as_rgb(image), overlay.overlay(image, share)
    titles = caption, f"evidence for {subject}" if evidence.any() else f"no evidence for {subject}"
    for axes, pixels, title in zip(panels, shown, titles, strict=True):
        axes.imshow(pixels, interpolation="antialiased")
        axes.set_axis_off()
        width = max(axes.get_position().width * figure.get_figwidth(), _NARROWEST)
        shortened = wording.shortened(title, int(_LETTERS_PER_INCH * width))
        axes.set_title(shortened, fontsize=8, color=figure_style.INK, pad=3)
        for box in boxes:
            _outline(axes, box)
    _draw_bar(bar, limit, unit, is_own=is_own)
    figure_style.save_all(figure, path, formats)


def _layout(size: tuple[int, int]) -> tuple[Figure, list[Axes], Axes]:
    """A figure with two panels whose dots are the image's pixels (or several, of a small image), and a bar."""
    longer = max(size)
    times = max(1, -(-_FEWEST_DOTS // longer))
    height, width = (times * side for side in size)
    per_inch = longer * times / _PANEL

    def dots(inches: float) -> int:
        return round(inches * per_inch)

    # In whole dots, or pixels of the image would fall between those of the picture.
    room = max(width, dots(_NARROWEST))
    across = 2 * dots(_EDGE) + 2 * room + dots(_GAP) + dots(_BAR) + dots(_LABELS)
    down = height + dots(_TITLE) + dots(_EDGE)
    figure = figure_style.new_figure(across / per_inch, down / per_inch, dots_per_inch=per_inch)
    figure.set_layout_engine("none")

    def axes(left: int, wide: int) -> Axes:
        place = (left / across, dots(_EDGE) / down, wide / across, height / down)
        return figure.add_axes(place)

    lefts = [dots(_EDGE) + index * (room + dots(_GAP)) + (room - width) // 2 for index in (0, 1)]
    bar = dots(_EDGE) + 2 * room + dots(_GAP) + dots(_GAP / 2)
    return figure, [axes(left, width) for left in lefts], axes(bar, dots(_BAR))


def _draw_bar(axes: Axes, limit: float, unit: str, *, is_own: bool) -> None:
    """What the colours stand for: as laid over middle grey."""
    steps = np.linspace(1, 0, _BAR_STEPS)[:, None]
    shown = overlay.overlay(np.full((_BAR_STEPS, 1, 1), 128, np.uint8), steps)
    axes.imshow(shown, aspect="auto", extent=(0, 1, 0, 1))
    top = f"{limit:.2g}" + ("" if is_own else " or more")
    if limit > 0:
        axes.set_yticks([0, 0.5, 1], ["0", f"{limit / 2:.2g}", top])
    else:
        axes.set_yticks([0, 1], ["0", "0: none"])
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.set_xticks([])
    axes.tick_params(labelsize=6, colors=figure_style.MUTED, length=2, pad=1)
    scale = "up to this image's strongest" if is_own else "one scale for all images"
    axes.set_ylabel(f"{unit}\n{scale}", fontsize=6, color=figure_style.MUTED, labelpad=2)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _outline(axes: Axes, box: Box) -> None:
    """A line that shows on bright and on dark."""
    for colour, width in zip(_BOX_COLOURS, (1.6, 0.8), strict=True):
        axes.add_patch(
            Rectangle(
                (box.x - 0.5, box.y - 0.5),
                box.width,
                box.height,
                fill=False,
                edgecolor=colour,
                linewidth=width,
            )
        )
