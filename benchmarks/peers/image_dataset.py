"""Keras 3 `image_dataset_from_directory`, batched and prefetched, decoding every epoch."""

import os
from collections.abc import Callable
from typing import Any

from benchmarks.peers import Request

TITLE = "image_dataset_from_directory"
REQUIRES = ("keras", "tensorflow")
PACKED = False


def open(request: Request) -> Callable[[int], int]:
    """Epochs -> images."""
    return epochs_of(make_dataset(request).prefetch(_autotune()))


def make_dataset(request: Request) -> Any:
    """Batches (float32[B, H, W, C], int32[B]) as the Keras documentation makes them."""
    import keras

    return keras.utils.image_dataset_from_directory(
        os.fspath(request.folder),
        label_mode="int",
        color_mode="grayscale" if request.grey else "rgb",
        batch_size=request.batch_size,
        image_size=request.size,
        shuffle=True,
        seed=0,
    )


def epochs_of(dataset: Any) -> Callable[[int], int]:
    """Reads whole epochs inside a graph, as a training step does."""
    from benchmarks import consuming

    return consuming.finite(dataset)


def _autotune() -> int:
    import tensorflow as tf

    return tf.data.AUTOTUNE
