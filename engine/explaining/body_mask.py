"""Where the body is on a chest film: a simple rule, good enough to count evidence that lies beside it.

    1  the image is averaged down to at most 256 pixels a side
    2  Otsu's threshold parts dark from bright (Otsu, A threshold selection method from gray-level histograms, 1979,
       https://doi.org/10.1109/TSMC.1979.4310076); two thirds of it is taken, as soft tissue at the flanks is darker
       than the middle of the body
    3  the largest connected bright part is the body: letters, markers and cables beside it are not
    4  what it encloses belongs to it, so do the dark lungs; also what lies between its parts in the same row, as lungs
       that reach the lower edge of the film are not enclosed

Limits: it wants a dark background, so an inverted film (MONOCHROME1 not turned over) gives nonsense; a marker that
touches the body is part of it; space between the arms and the trunk counts as body, and so does everything on a film
that the body fills. It errs towards body: what is counted as outside almost surely is.
"""

import numpy as np
from PIL import Image

_LARGEST_SIDE = 256
_SHARE_OF_THRESHOLD = 2 / 3
_LEVELS = 256


def body_mask(image: np.ndarray) -> np.ndarray:
    """Where the body is.

    Args:
        image: uint8[H, W, C] or uint8[H, W], of any size.

    Returns:
        bool[h, w], at most 256 pixels a side, over the whole image; all True where the image is flat.
    """
    from scipy import ndimage

    grey = _averaged(image)
    threshold = otsu(grey)
    if threshold is None:
        return np.ones(grey.shape, bool)
    parts, count = ndimage.label(grey > threshold * _SHARE_OF_THRESHOLD)
    if not count:
        return np.ones(grey.shape, bool)
    largest = 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    body = ndimage.binary_fill_holes(parts == largest)
    # Between the first and the last of a row.
    from_left = np.maximum.accumulate(body, axis=1)
    from_right = np.maximum.accumulate(body[:, ::-1], axis=1)[:, ::-1]
    filled: np.ndarray = from_left & from_right
    return filled


def contains(mask: np.ndarray, place: tuple[float, float], size: tuple[int, int]) -> bool:
    """Whether a mask over an image of `size` (height, width) holds the place (x, y) in its pixels."""
    row = min(int(place[1] * mask.shape[0] / size[0]), mask.shape[0] - 1)
    column = min(int(place[0] * mask.shape[1] / size[1]), mask.shape[1] - 1)
    return bool(mask[row, column])


def otsu(grey: np.ndarray) -> int | None:
    """The grey level that parts uint8 pixels into two groups of the most even levels; None of a flat image.

    The first group has levels up to it.
    """
    counts = np.bincount(grey.ravel(), minlength=_LEVELS).astype(np.float64)
    levels = np.arange(_LEVELS)
    below, sums = np.cumsum(counts), np.cumsum(counts * levels)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = sums / below - (sums[-1] - sums) / above
        between = np.nan_to_num(below * above * gap**2)
    return int(between.argmax()) if between.max() > 0 else None


def _averaged(image: np.ndarray) -> np.ndarray:
    """uint8[h, w] of at most `_LARGEST_SIDE` a side."""
    pixels = image if image.ndim == 2 else image[..., 0] if image.shape[2] == 1 else None
    grey = Image.fromarray(image).convert("L") if pixels is None else Image.fromarray(pixels)
    scale = _LARGEST_SIDE / max(grey.size)
    if scale < 1:
        size = tuple(max(1, round(side * scale)) for side in grey.size)
        grey = grey.resize(size, Image.Resampling.BOX)
    return np.asarray(grey)
