"""Contact sheets of images for the page: side by side at their own aspect, without text."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from engine.base import files

CELL = 150  # pixels, the longer side of each image
GAP = 6
_PAPER, _MISSING = (255, 255, 255), (224, 224, 224)
_QUALITY = 82


def contact_sheet(
    images: Sequence[Image.Image | None], path: Path, *, columns: int = 6, cell: int = CELL
) -> None:
    """Draws images in rows as a JPEG; one that is None is an empty field.

    Args:
        cell: the side of the square that each image is fitted into, pixels.
    """
    columns = max(1, min(columns, len(images)))
    fitted = [_fitted(image, cell) for image in images]
    rows = [fitted[start : start + columns] for start in range(0, len(fitted), columns)]
    heights = [max(image.height for image in row) for row in rows]
    size = (columns * (cell + GAP) - GAP, sum(heights) + GAP * (len(rows) - 1))
    sheet = Image.new("RGB", size, _PAPER)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for column, image in enumerate(row):
            left = column * (cell + GAP) + (cell - image.width) // 2
            sheet.paste(image, (left, top + (height - image.height) // 2))
        top += height + GAP
    with files.written_aside(path) as aside:
        sheet.save(aside, "JPEG", quality=_QUALITY)


def _fitted(image: Image.Image | None, cell: int) -> Image.Image:
    if image is None:
        return Image.new("RGB", (cell, cell), _MISSING)
    fitted = image.convert("RGB")
    fitted.thumbnail((cell, cell))
    return fitted


def grey_picture(pixels: np.ndarray, side: int = CELL) -> Image.Image:
    """float[H, W], 0 to 255, enlarged to a picture."""
    image = Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
    return image.resize((side, side), Image.Resampling.BICUBIC)


def difference_picture(one: np.ndarray, other: np.ndarray, side: int = CELL) -> Image.Image:
    """Where `other` is brighter than `one` (orange) and where it is darker (blue), float[H, W] each.

    The strongest colour stands for the largest difference.
    """
    difference = other - one
    strength = difference / max(float(np.abs(difference).max()), 1e-6)
    up, down = np.clip(strength, 0, 1)[..., None], np.clip(-strength, 0, 1)[..., None]
    orange, blue = np.array([213, 94, 0]), np.array([0, 114, 178])
    colours = 255 - up * (255 - orange) - down * (255 - blue)
    image = Image.fromarray(np.rint(colours).astype(np.uint8))
    return image.resize((side, side), Image.Resampling.BICUBIC)
