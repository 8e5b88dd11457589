"""TensorFlow Datasets reading the engine's own shards, as its metadata lets it."""

import os
from collections.abc import Callable

from benchmarks.peers import Request, image_dataset

TITLE = "TFDS on the same shards"
REQUIRES = ("tensorflow_datasets", "tensorflow")
PACKED = True


def open(request: Request) -> Callable[[int], int]:
    """Epochs -> images, shuffled in a buffer, as the TFDS guide has it."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(os.fspath(request.shards))
    dataset = builder.as_dataset(split="train", shuffle_files=True, as_supervised=True)
    dataset = dataset.shuffle(1000).batch(request.batch_size, drop_remainder=True)
    return image_dataset.epochs_of(dataset.prefetch(tf.data.AUTOTUNE))
