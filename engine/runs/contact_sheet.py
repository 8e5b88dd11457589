"""Contact sheets: images in pairs with their evidence, each with a caption, on one page.

Drawn by Pillow in the type and colours of the other figures: matplotlib takes 1 s for such a page, ten times
as long. Always PNG, as photographs gain nothing by other formats.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from engine.base import files
from engine.runs.figure_style import INK, MUTED

# All in pixels.
_CELL = 224  # the width of an image
_GAP, _BETWEEN = 6, 42  # within a pair, and between pairs
_MARGIN, _HEAD = 36, 104  # around all, and for the title
_TITLE, _NOTE, _CAPTION = 26, 19, 17  # sizes of type
_LINE = 24  # of a caption


@dataclasses.dataclass(frozen=True)
class Entry:
    """One image.

    Attributes:
        image: uint8[H, W, 1 or 3].
        beside: uint8[H, W, 3], the image under its evidence; None without any.
        caption: lines below it; one that is too long loses its beginning.
    """

    image: np.ndarray
    beside: np.ndarray | None
    caption: Sequence[str]


def draw(
    entries: Sequence[Entry], path: Path, *, title: str, note: str = "", columns: int = 4
) -> None:
    """Draws the entries in rows, as a PNG.

    Args:
        entries: one or more, of images of one size.
        note: a line below the title.
        columns: entries per row; fewer where there are fewer.
    """
    paired = any(entry.beside is not None for entry in entries)
    columns = min(columns, len(entries))
    height, width = entries[0].image.shape[:2]
    tall = max(1, round(_CELL * height / width))
    across = 2 * _CELL + _GAP if paired else _CELL
    down = tall + _LINE * (max(len(entry.caption) for entry in entries) + 1)
    rows = -(-len(entries) // columns)
    body = columns * across + (columns - 1) * _BETWEEN
    head = max(_type(_TITLE, bold=True).getlength(title), _type(_NOTE).getlength(note))
    size = (2 * _MARGIN + max(body, round(head)), _HEAD + rows * down + _MARGIN // 2)
    page = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(page)
    pen.text((_MARGIN, 22), title, INK, _type(_TITLE, bold=True))
    pen.text((_MARGIN, 60), note, MUTED, _type(_NOTE))
    for place, entry in enumerate(entries):
        x = _MARGIN + place % columns * (across + _BETWEEN)
        y = _HEAD + place // columns * down
        page.paste(_resized(entry.image, (_CELL, tall)), (x, y))
        if entry.beside is not None:
            page.paste(_resized(entry.beside, (_CELL, tall)), (x + _CELL + _GAP, y))
        for line, text in enumerate(entry.caption):
            shown = _ending(text, _type(_CAPTION), across)
            below = y + tall + 5 + line * _LINE
            pen.text((x, below), shown, INK if line == 0 else MUTED, _type(_CAPTION))
    with files.written_aside(path) as aside:
        page.save(aside, format="png")


@functools.cache
def _type(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The type of matplotlib's figures, which comes with it."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


def _resized(image: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """uint8[H, W, 1 or 3] as a picture of so many pixels across and down."""
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).convert("RGB")
    # Pixels of a small image stay squares: interpolation would show a blur that is not in the image.
    few = image.shape[1] * 3 < size[0]
    return picture.resize(size, Image.Resampling.NEAREST if few else Image.Resampling.BICUBIC)


def _ending(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """As much of its end as fits so many pixels: that of a path names the file."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength("…" + text) > width:
        text = text[1:]
    return "…" + text
