"""Keras 2 `ImageDataGenerator.flow_from_directory` (package tf-keras), as in X-ray tutorials."""

import os
from collections.abc import Callable
from typing import Any

from benchmarks.peers import FILES, Request
from benchmarks.tutorial_layers import tutorial_layers

TITLE = "Keras 2 ImageDataGenerator"
REQUIRES = ("tf_keras", "tensorflow", "PIL", "scipy")
KIND = FILES


def open(request: Request) -> Callable[[int], int]:
    """Passes of 5 batches -> images; a whole epoch takes 10 s."""
    flow = _flow(request)

    def run(passes: int) -> int:
        return sum(len(next(flow)[0]) for _ in range(passes * 5))

    return run


def open_training(request: Request) -> Callable[[int], int]:
    """The usual script: compile, then `fit` on the generator, float32, Adam.

    `fit` creates a new queue with every call and drops what is left in it, so the queue holds 2 batches
    instead of 10: its length does not matter in a long epoch, but here the dropped work would.
    """
    flow = _flow(request)
    model = _tutorial_network(request.image_shape)
    steps = min(request.steps_per_pass, len(flow) - 1)

    def run(passes: int) -> int:
        model.fit(flow, steps_per_epoch=steps * passes, epochs=1, verbose=0, max_queue_size=2)
        return steps * passes * request.batch_size

    return run


def _flow(request: Request) -> Any:
    from tf_keras.preprocessing.image import ImageDataGenerator

    augmentation = {}
    if request.augment:
        augmentation = {
            "rotation_range": 20,
            "shear_range": 0.2,
            "zoom_range": 0.2,
            "width_shift_range": 0.1,
            "height_shift_range": 0.1,
            "horizontal_flip": True,
        }
    return ImageDataGenerator(rescale=1 / 255, **augmentation).flow_from_directory(
        os.fspath(request.folder),
        target_size=request.size,
        color_mode="grayscale" if request.grey else "rgb",
        batch_size=request.batch_size,
        class_mode="binary",
    )


def _tutorial_network(image_shape: tuple[int, int, int]) -> Any:
    from tf_keras import Sequential, layers

    model = Sequential([layers.InputLayer(image_shape), *tutorial_layers(layers)])
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    return model
