"""The quality that a JPEG file was saved with, estimated from its quantization table."""

import functools
from collections.abc import Sequence

import numpy as np

# The luminance table of Annex K of the JPEG standard (ITU-T T.81), in any order: tables are compared sorted.
_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip


def estimated_quality(table: Sequence[int]) -> int:
    """The quality, 1 to 100, whose table is nearest to a file's luminance table.

    It is exact for files of the IJG's library and of those that scale its table as it does (Pillow,
    OpenCV, TensorFlow); of other programs it is the quality at which that library quantizes about alike.

    Args:
        table: the 64 steps, in any order.
    """
    steps = np.sort(np.asarray(table, np.int64))
    return 1 + int(np.abs(_tables() - steps).sum(axis=1).argmin())


@functools.cache
def _tables() -> np.ndarray:
    """int64[100, 64]: the sorted table of each quality, as jpeg_set_quality of the IJG's library scales it."""
    quality = np.arange(1, 101)
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    steps = (np.sort(_LUMINANCE)[None] * scale[:, None] + 50) // 100
    return np.clip(steps, 1, 255)
