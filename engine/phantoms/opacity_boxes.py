"""Where the opacities of phantoms lie, as a file of boxes: `path,x,y,width,height`, in pixels, a row for each.

A box bounds the part of a patch that lies inside the lungs, out to where it takes away a third of what it takes
away in its middle (`phantom_images.opacity_masks`). Healthy phantoms have no row. The settings decide everything, so
the boxes of a folder that was made before can be written too; `engine.images.boxes` reads them.
"""

import io
from pathlib import Path

import numpy as np

from engine.base import files
from engine.base.build_settings import PhantomConfig
from engine.base.csv_rows import CsvRows
from engine.phantoms import phantom_folder

HEADER = ("path", "x", "y", "width", "height")
Box = tuple[int, int, int, int]  # x, y, width, height


def write(config: PhantomConfig, path: Path) -> int:
    """Writes the boxes of the folder that these settings make; returns how many there are."""
    text = io.StringIO(newline="")
    rows = CsvRows(text)
    rows.writerow(HEADER)
    count = 0
    for phantom in phantom_folder.plan(config):
        if phantom.finding is None:
            continue
        for box in boxes_of(phantom_folder.masks_of(config, phantom)):
            rows.writerow([phantom.path, *box])
            count += 1
    files.write_text(path, text.getvalue())
    return count


def boxes_of(masks: np.ndarray) -> list[Box]:
    """The smallest box around each mask, bool[P, H, W]; none around an empty one."""
    boxes = []
    for mask in masks:
        columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        if columns.size:
            x, y = int(columns[0]), int(rows[0])
            boxes.append((x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1))
    return boxes
