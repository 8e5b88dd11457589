"""Evidence laid over its image in colour, more opaque where it is stronger."""

import numpy as np
from matplotlib import colormaps
from PIL import Image

STRONGEST = 0.65  # opacity of the strongest evidence
# Perceptually even and legible to colour-blind readers; "jet" shows edges where there are none.
_COLOURS = "inferno"


def overlay(image: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """Lays a map over its image.

    Args:
        image: uint8[H, W, C], C being 1 or 3.
        evidence: float[h, w] in [0, 1], resized to the image.

    Returns:
        uint8[H, W, 3]; where the evidence is zero, the image's own pixels.
    """
    height, width = image.shape[:2]
    fine = np.asarray(evidence, np.float32)
    if fine.shape != (height, width):
        coarse = Image.fromarray(fine)
        fine = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    fine = np.clip(fine, 0, 1)
    table = colormaps[_COLOURS](np.arange(256), bytes=True)[:, :3].astype(np.float32)
    opacity = fine[..., None] * STRONGEST
    colours = table[np.round(fine * 255).astype(np.uint8)]
    blended = as_rgb(image) * (1 - opacity) + colours * opacity
    return np.clip(np.round(blended), 0, 255).astype(np.uint8)


def as_rgb(image: np.ndarray) -> np.ndarray:
    """uint8[H, W, 1 or 3] -> uint8[H, W, 3]."""
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
