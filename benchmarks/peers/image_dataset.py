"""Keras 3 `image_dataset_from_directory`, batched and prefetched, decoding every epoch."""

import os
from collections.abc import Callable
from typing import Any

from benchmarks.peers import BOTH_WAYS, FILES, Request
from benchmarks.tutorial_layers import tutorial_layers

TITLE = "image_dataset_from_directory"
REQUIRES = ("keras", "tensorflow")
KIND = FILES
WAYS = BOTH_WAYS


def open(request: Request) -> Callable[[int], int]:
    """Epochs -> images."""
    return epochs_of(make_dataset(request), request)


def open_training(request: Request) -> Callable[[int], int]:
    """The `tutorial` network, fitted as the Keras documentation shows: passes -> images."""
    return fit(make_dataset(request).prefetch(autotune()), request)


def fit(dataset: Any, request: Request) -> Callable[[int], int]:
    """Trains the `tutorial` network in float32 with Adam and augmentation layers in the model.

    A smaller last batch of an epoch counts as a full one, which favours this side by one percent.
    """
    model = _tutorial_network(request)
    endless = dataset.repeat()

    def run(passes: int) -> int:
        steps = request.steps_per_pass * passes
        model.fit(endless, steps_per_epoch=steps, epochs=1, verbose=0)
        return steps * request.batch_size

    return run


def _tutorial_network(request: Request) -> Any:
    import keras
    from keras import layers

    augmentation = [
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(20 / 360),
        layers.RandomTranslation(0.1, 0.1),
        layers.RandomZoom(0.2),
        layers.RandomShear(0.2),
    ]
    model = keras.Sequential(
        [
            keras.Input(request.image_shape),
            *(augmentation if request.augment else []),
            layers.Rescaling(1 / 255),
            *tutorial_layers(layers),
        ]
    )
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    return model


def make_dataset(request: Request) -> Any:
    """Batches (float32[B, H, W, C], int32[B]), as in the Keras documentation."""
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


def epochs_of(dataset: Any, request: Request) -> Callable[[int], int]:
    """Prefetches batches and reads whole epochs inside a graph, as a training step does."""
    from benchmarks import consuming

    if request.kept_open:
        endless = dataset.repeat().prefetch(autotune())
        return consuming.endless(endless, steps=request.steps_per_epoch)
    return consuming.finite(dataset.prefetch(autotune()))


def autotune() -> int:
    """`tf.data.AUTOTUNE`."""
    import tensorflow as tf

    return tf.data.AUTOTUNE
