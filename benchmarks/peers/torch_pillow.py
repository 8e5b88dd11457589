"""PyTorch `DataLoader` with persistent workers, one per core, decoding with Pillow (as torchvision does)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import FILES, Request

TITLE = "PyTorch DataLoader, Pillow"
REQUIRES = ("torch", "PIL")
KIND = FILES


def open(request: Request) -> Callable[[int], int]:
    """Epochs -> images."""
    return loader_over(Files(request.examples(), request, decode_with_pillow), request)


class Files:
    """A map-style dataset: (uint8[C, H, W], label)."""

    def __init__(
        self,
        examples: list[tuple[Path, int]],
        request: Request,
        decode: Callable[[Path, Request], np.ndarray],
    ) -> None:
        self._examples, self._request, self._decode = examples, request, decode

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        import torch

        path, label = self._examples[index]
        pixels = self._decode(path, self._request)
        return torch.from_numpy(pixels).permute(2, 0, 1), label


def decode_with_pillow(path: Path, request: Request) -> np.ndarray:
    """uint8[H, W, C]."""
    from PIL import Image

    height, width = request.size
    with Image.open(path) as image:
        pixels = image.convert("L" if request.grey else "RGB")
        if pixels.size != (width, height):
            pixels = pixels.resize((width, height), Image.Resampling.BILINEAR)
        array = np.array(pixels)
    return array[..., None] if request.grey else array


def loader_over(dataset: Any, request: Request, **options: Any) -> Callable[[int], int]:
    """Epochs of a `DataLoader` -> images; map-style data sets are shuffled."""
    from torch.utils.data import DataLoader, IterableDataset

    if not isinstance(dataset, IterableDataset):
        options.setdefault("shuffle", True)
    loader = DataLoader(
        dataset,
        batch_size=request.batch_size,
        num_workers=request.workers,
        persistent_workers=True,
        **options,
    )
    return lambda passes: sum(len(batch[0]) for _ in range(passes) for batch in loader)
