"""Keras 3 `image_dataset_from_directory` with `.cache().shuffle().prefetch()`, as tutorials have it.

Batches are made once, cached as float32, and come in another order each epoch.
"""

from collections.abc import Callable
from typing import Any

from benchmarks.peers import Request, image_dataset

TITLE = "image_dataset_from_directory, cached"
REQUIRES = image_dataset.REQUIRES
PACKED = True  # cached, that is: nothing is decoded after the first epoch


def open(request: Request) -> Callable[[int], int]:
    """Epochs -> images; the first fills the cache."""
    return image_dataset.epochs_of(_cached(request))


def open_training(request: Request) -> Callable[[int], int]:
    """The `tutorial` network, fitted on the cached dataset: passes -> images."""
    return image_dataset.fit(_cached(request), request)


def _cached(request: Request) -> Any:
    import tensorflow as tf

    return image_dataset.make_dataset(request).cache().shuffle(1000).prefetch(tf.data.AUTOTUNE)
