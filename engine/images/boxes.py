"""Boxes around findings in images, as readers of films and data sets give them.

    path,x,y,width,height
    test/PNEUMONIA/person1_virus_1.jpeg,105,82,61,74

Pixels of the upright image file, from its upper left corner; one row per box. A row with empty numbers says that its
image has no box, as public lists of pneumonia do.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from engine.base.config import UserError
from engine.base.files import one_line
from engine.images import metadata

COLUMNS = ("x", "y", "width", "height")


@dataclasses.dataclass(frozen=True)
class Box:
    """A rectangle in the pixels of an image file, x to the right and y down."""

    x: float
    y: float
    width: float
    height: float

    def contains(self, x: float, y: float) -> bool:
        """Whether a place lies inside, the upper and left edges included."""
        return self.x <= x < self.x + self.width and self.y <= y < self.y + self.height


def read(path: Path | str, keys: Sequence[str]) -> dict[str, list[Box]]:
    """The boxes of images.

    Args:
        path: a CSV file with the columns x, y, width and height, and one that names the images, by path or file
            name; see `metadata.read_column`.
        keys: the images' paths, with slashes.

    Returns:
        Path -> its boxes, in the order of `keys`; images without a box are absent.

    Raises:
        UserError: the file cannot be read, lacks a column, names none of the images, or holds something else
            than a number or a box without a size.
    """
    path = Path(path)
    table = metadata.read_table(path, COLUMNS)
    found = {}
    for key, rows in table.rows_of(keys).items():
        boxes = [_box(path, table.rows[row]) for row in rows]
        if present := [box for box in boxes if box is not None]:
            found[key] = present
    if not found:
        raise UserError(f"{path}: holds no box for any of the {len(keys):,} images")
    return found


def _box(path: Path, row: dict[str, str]) -> Box | None:
    """None where all four numbers are empty."""
    texts = [row[name] for name in COLUMNS]
    if not any(texts):
        return None
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)) or min(numbers[2:]) <= 0:
        raise UserError(
            f"{path}: got the box {','.join(map(one_line, texts))!r}; expected four numbers x,y,width,height, "
            "width and height above 0, or four empty fields"
        )
    return Box(*numbers)
