"""TensorFlow Datasets reading the engine's shards by their TFDS metadata."""

import os
from collections.abc import Callable
from typing import Any

from benchmarks.peers import BOTH_WAYS, PACKED, Request, image_dataset

TITLE = "TFDS on the same shards"
REQUIRES = ("tensorflow_datasets", "tensorflow")
KIND = PACKED
WAYS = BOTH_WAYS


def open(request: Request) -> Callable[[int], int]:
    """Epochs -> images, shuffled in a buffer, as in the TFDS guide."""
    return image_dataset.epochs_of(batched(make_dataset(request), request, buffer=1000), request)


def make_dataset(request: Request) -> Any:
    """Examples (uint8[H, W, C], int64[])."""
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(os.fspath(request.shards))
    return builder.as_dataset(split="train", shuffle_files=True, as_supervised=True)


def batched(dataset: Any, request: Request, *, buffer: int) -> Any:
    """Batches of examples, reshuffled every epoch; the last batch of an epoch may be smaller."""
    return dataset.shuffle(buffer).batch(request.batch_size)
