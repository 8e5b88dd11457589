"""From evidence over a network's input back to the image file that the input was made from.

The input is the whole image, stretched; or, with `keep_aspect_ratio`, the image in the middle and black padding
around it, whose evidence belongs to no pixel of the file and is cut off.
"""

import numpy as np
from PIL import Image

from engine.images import geometry
from engine.images.format import ImageFormat

_LARGEST_SEARCHED = 512  # pixels of the longer side, on which the strongest place is sought


def on_image(
    evidence: np.ndarray,
    image_format: ImageFormat,
    size: tuple[int, int],
    *,
    drawn: tuple[int, int] | None = None,
) -> np.ndarray:
    """Evidence for each pixel of an image file, smooth between places.

    Args:
        evidence: float[h, w], not negative, over the network's input.
        image_format: how the input was made.
        size: (height, width) of the image file, upright.
        drawn: (height, width) of what is returned; None for that of the file.

    Returns:
        float32[H, W], not negative; between two equal places a little above them, as bicubic curves are.
    """
    part = geometry.part_of(evidence.shape, image_format, size)
    coarse = Image.fromarray(np.asarray(evidence, np.float32))
    fine = coarse.resize((drawn or size)[::-1], Image.Resampling.BICUBIC, box=part)
    placed: np.ndarray = np.maximum(np.asarray(fine), 0)
    return placed


def strongest_place(
    evidence: np.ndarray, image_format: ImageFormat, size: tuple[int, int]
) -> tuple[float, float] | None:
    """The (x, y) of the strongest evidence in an image file, in pixels from its upper left corner.

    Args:
        evidence, image_format, size: as `on_image` takes them.

    Returns:
        The middle of the strongest pixel (of the first of several); None where there is no evidence.
    """
    scale = min(1.0, _LARGEST_SEARCHED / max(size))
    searched = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    fine = on_image(evidence, image_format, size, drawn=searched)
    if not fine.max() > 0:
        return None
    row, column = np.unravel_index(int(fine.argmax()), fine.shape)
    return (column + 0.5) * size[1] / searched[1], (row + 0.5) * size[0] / searched[0]
