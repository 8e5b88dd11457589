"""Keras 3 `image_dataset_from_directory` with `.cache().shuffle().prefetch()`, as in tutorials.

Batches are made once and cached as float32: every epoch returns references to the same batches in
another order. No pixel is copied, so this may be faster than copying them.
"""

from collections.abc import Callable
from typing import Any

from benchmarks.peers import BOTH_WAYS, MEMORY, Request, image_dataset

TITLE = "image_dataset_from_directory, cached (same batches)"
REQUIRES = image_dataset.REQUIRES
KIND = MEMORY
WAYS = BOTH_WAYS


def open(request: Request) -> Callable[[int], int]:
    """Epochs -> images; the first fills the cache."""
    return image_dataset.epochs_of(_cached(request), request)


def open_training(request: Request) -> Callable[[int], int]:
    """The `tutorial` network, fitted on the cached dataset: passes -> images."""
    return image_dataset.fit(_cached(request).prefetch(image_dataset.autotune()), request)


def _cached(request: Request) -> Any:
    return image_dataset.make_dataset(request).cache().shuffle(1000)
