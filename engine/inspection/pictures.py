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
    rows = -(-len(images) // columns)
    size = (columns * (cell + GAP) - GAP, rows * (cell + GAP) - GAP)
    sheet = Image.new("RGB", size, _PAPER)
    for place, image in enumerate(images):
        fitted = Image.new("RGB", (cell, cell), _MISSING) if image is None else image.copy()
        fitted.thumbnail((cell, cell))
        row, column = divmod(place, columns)
        left = column * (cell + GAP) + (cell - fitted.width) // 2
        top = row * (cell + GAP) + (cell - fitted.height) // 2
        sheet.paste(fitted.convert("RGB"), (left, top))
    with files.written_aside(path) as aside:
        sheet.save(aside, "JPEG", quality=_QUALITY)


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
