"""PyTorch `DataLoader` with one worker per core, decoding with simplejpeg (libjpeg-turbo)."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.peers import FILES, Request, torch_pillow

TITLE = "PyTorch DataLoader, simplejpeg"
REQUIRES = ("torch", "simplejpeg", "PIL")
KIND = FILES


def open(request: Request) -> Callable[[int], int]:
    """Epochs -> images."""
    dataset = torch_pillow.Files(request.examples(), request, decode)
    return torch_pillow.loader_over(dataset, request)


def decode(path: Path, request: Request) -> np.ndarray:
    """uint8[H, W, C]."""
    import simplejpeg

    data = path.read_bytes()
    if not simplejpeg.is_jpeg(data):
        return torch_pillow.decode_with_pillow(path, request)
    pixels = simplejpeg.decode_jpeg(data, colorspace="GRAY" if request.grey else "RGB")
    if pixels.shape[:2] != tuple(request.size):
        return torch_pillow.decode_with_pillow(path, request)
    return pixels
