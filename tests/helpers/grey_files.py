"""Image files of one grey level each."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image


def write(path: Path, level: int, size: tuple[int, int] = (30, 40)) -> Path:
    """Writes a file of (height, width), of the kind that its suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, level, np.uint8)).save(path)
    return path


def write_all(folder: Path, levels: Iterable[int], size: tuple[int, int] = (30, 40)) -> list[Path]:
    """Writes `0.png`, `1.png`, ... with the levels in order."""
    return [write(folder / f"{i}.png", level, size) for i, level in enumerate(levels)]
