"""What an image looks like without a network: grey levels, sharpness by scale and direction, and layout.

These tell noise, photographs, strips and blank images from X-rays even where a network, which was trained to
overlook exposure and sharpness, does not. No TensorFlow; about 1 ms per image of 224 x 224 pixels.
"""

import math

import numpy as np

_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_OCTAVES = 5
_SMALLEST_SIDE = 8  # pixels of the last octave
_LAYOUT = 8  # cells per side
_BLOCK_PIXELS = (
    1 << 20
)  # worked on at a time, so that intermediate arrays stay in the processor's cache
_GREY_STEP = 1 / 255
_NO_ENERGY = _GREY_STEP**2 / 100  # added to energies before their logarithm


def statistics(images: np.ndarray) -> dict[str, np.ndarray]:
    """Two groups of features of uint8[N, H, W, C] images.

    Returns:
        `texture`, float64[N, F]: the distribution of grey levels, and the energy of differences between
        neighbouring pixels per octave, across and down; of colour images the differences between
        channels too. `layout`, float64[N, 64]: the means of 8 x 8 cells, contrast and exposure removed.
    """
    per_block = max(1, _BLOCK_PIXELS // math.prod(images.shape[1:]))
    starts = range(0, max(1, len(images)), per_block)
    blocks = [_of_block(images[start : start + per_block]) for start in starts]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _of_block(images: np.ndarray) -> dict[str, np.ndarray]:
    grey = images.astype(np.float32).mean(axis=-1) * np.float32(_GREY_STEP)
    columns = [_grey_levels(images), _octaves(grey)]
    if images.shape[-1] > 1:
        columns.append(_colour(images))
    return {
        "texture": np.concatenate(columns, axis=1).astype(np.float64),
        "layout": _layout(grey).astype(np.float64),
    }


def _grey_levels(images: np.ndarray) -> np.ndarray:
    """float64[N, 12]: quantiles, mean, deviation, and how much is black, white, and in use at all."""
    count, size = len(images), math.prod(images.shape[1:])
    offsets: np.ndarray = 256 * np.arange(count, dtype=np.int64)[:, None]
    flat = (images.reshape(count, size) + offsets).ravel()
    shares = np.bincount(flat, minlength=256 * count).reshape(count, 256)
    shares = shares / max(1, size)
    cumulated = np.cumsum(shares, axis=1)
    quantiles = [(cumulated < quantile).sum(axis=1) / 255 for quantile in _QUANTILES]
    levels = np.arange(256) / 255
    mean = shares @ levels
    deviation = np.sqrt(np.maximum(shares @ levels**2 - mean**2, 0))
    ends = [np.log(shares[:, level] + 1e-3) for level in (0, 255)]
    in_use = (shares > 0).mean(axis=1)
    return np.stack([*quantiles, mean, np.log(deviation + _GREY_STEP), *ends, in_use], axis=1)


def _octaves(grey: np.ndarray) -> np.ndarray:
    """float[N, 4 * octaves]: per octave the log energy of differences across, down and on both, and how
    far the differences are from those of Gaussian noise (their kurtosis)."""
    found = []
    for _ in range(_OCTAVES):
        if min(grey.shape[1:]) < _SMALLEST_SIDE:
            break
        across, down = np.diff(grey, axis=2), np.diff(grey, axis=1)
        both = np.diff(across, axis=1)
        energies = [_mean_square(part) for part in (across, down, both)]
        fourth = _mean_square(across**2) + _mean_square(down**2)
        squared = energies[0] ** 2 + energies[1] ** 2
        found += [np.log(energy + _NO_ENERGY) for energy in energies]
        found.append(np.log((fourth + _NO_ENERGY**2) / (squared + _NO_ENERGY**2)))
        grey = _halved(grey)
    if not found:
        return np.zeros((len(grey), 0))
    return np.stack(found, axis=1)


def _mean_square(values: np.ndarray) -> np.ndarray:
    flat = values.reshape(len(values), math.prod(values.shape[1:]))
    return np.einsum("np,np->n", flat, flat) / max(1, flat.shape[1])


def _halved(grey: np.ndarray) -> np.ndarray:
    """Averages float[N, H, W] over 2 x 2 pixels; an odd last row or column is dropped."""
    height, width = (side // 2 * 2 for side in grey.shape[1:])
    rows = grey[:, 0:height:2] + grey[:, 1:height:2]
    return (rows[:, :, 0:width:2] + rows[:, :, 1:width:2]) / 4


def _colour(images: np.ndarray) -> np.ndarray:
    """float[N, 2]: the log energy of the differences between neighbouring channels."""
    pixels = images.astype(np.float32) * np.float32(_GREY_STEP)
    steps = np.diff(pixels, axis=-1)
    return np.stack(
        [np.log(_mean_square(steps[..., k]) + _NO_ENERGY) for k in range(steps.shape[-1])], axis=1
    )


def _layout(grey: np.ndarray) -> np.ndarray:
    """float[N, cells]: means of cells, with mean 0 and deviation 1 over an image."""
    for axis in (1, 2):
        edges = np.linspace(0, grey.shape[axis], _LAYOUT + 1).astype(int)
        starts = np.minimum(edges[:-1], grey.shape[axis] - 1)
        counts = np.maximum(np.diff(edges), 1)
        shape = [-1 if place == axis else 1 for place in range(3)]
        grey = np.add.reduceat(grey, starts, axis=axis) / counts.reshape(shape)
    cells = grey.reshape(len(grey), math.prod(grey.shape[1:]))
    cells = cells - cells.mean(axis=1, keepdims=True)
    return cells / (cells.std(axis=1, keepdims=True) + _GREY_STEP)
