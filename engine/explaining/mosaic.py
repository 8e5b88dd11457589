"""Many small pictures as one array, in rows, with gaps between them."""

from collections.abc import Sequence

import numpy as np


def mosaic(
    tiles: Sequence[np.ndarray], *, columns: int, gap: int, background: float = np.nan
) -> np.ndarray:
    """Tiles from left to right and top to bottom.

    Args:
        tiles: float[h, w] each, or float[h, w, 3], of one shape.
        columns: how many stand side by side.
        gap: between tiles and around them, pixels.
        background: what fills gaps, and places without a tile.

    Returns:
        float32[rows * (h + gap) + gap, columns * (w + gap) + gap, ...].
    """
    height, width, *rest = tiles[0].shape
    rows = -(-len(tiles) // columns)
    shape = (rows * (height + gap) + gap, columns * (width + gap) + gap, *rest)
    canvas = np.full(shape, background, np.float32)
    for index, tile in enumerate(tiles):
        top, left = corner(index, tile.shape, columns=columns, gap=gap)
        canvas[top : top + height, left : left + width] = tile
    return canvas


def corner(index: int, shape: tuple[int, ...], *, columns: int, gap: int) -> tuple[int, int]:
    """(top, left) of a tile in the mosaic."""
    row, column = divmod(index, columns)
    return gap + row * (shape[0] + gap), gap + column * (shape[1] + gap)
