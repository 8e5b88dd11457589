"""`augment`: one fused warp and tone, compared with Keras' random layers in sequence, on one batch.

The Keras side follows its documentation: random layers called with `training=True` on a batch of
float32 images, inside a graph. The engine's side includes everything it adds to a step: the draws on
the host, the cast from uint8, the warp and the tone.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks import harness
from benchmarks.context import Context
from benchmarks.harness import Side
from benchmarks.reports import Report
from engine.base.settings import TrainConfig
from engine.pipeline import augmentation
from engine.pipeline.augmentation import PRESETS, Strengths

PRESETS_MEASURED = ("tutorial", "strong")
DEFAULT = "engine, default settings"


def run(context: Context) -> Report:
    """Measures presets without what Keras lacks, the default, all of `strong`, and draws alone."""
    report = Report("augment", "images/s of augmentation alone, on one batch repeatedly")
    images = context.workload.images[: context.batch_size]
    for preset in PRESETS_MEASURED:
        # Keras has no layers for these.
        same = dataclasses.replace(PRESETS[preset], gamma=0.0, blur=0.0, spectrum=0.0)
        sides = [
            Side("engine, fused", fused(images, same), preset),
            Side("Keras layers in a row", keras_layers(images, same), preset),
        ]
        measured = context.measure(sides)
        report.measurements += measured
        ratio = harness.compare(*measured, required=5.0)
        report.ratios.append(_named(ratio, preset))
    default = TrainConfig().augment
    alone = [
        Side(DEFAULT, fused(images, PRESETS[default]), default),
        Side("engine, gamma, blur and spectrum too", fused(images, PRESETS["strong"]), "strong"),
        Side("engine, host draws only", host_draws(images, PRESETS["strong"]), "strong"),
    ]
    report.measurements += context.measure(alone)
    report.sentences.append(f"Keras layers: {', '.join(layer_names(PRESETS['strong']))}")
    return report


def fused(images: np.ndarray, strengths: Strengths) -> Callable[[int], int]:
    """The engine's draws and pixel operations: passes over the batch -> images."""

    def augment(batch: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        draws = _draw(batch, step, strengths)
        return augmentation.apply({"image": batch, **draws})

    return _repeated(augment, tf.constant(images))


def host_draws(images: np.ndarray, strengths: Strengths) -> Callable[[int], int]:
    """The engine's draws alone."""
    return _repeated(
        lambda batch, step: tf.concat(list(_draw(batch, step, strengths).values()), axis=1),
        tf.constant(images),
    )


def keras_layers(images: np.ndarray, strengths: Strengths) -> Callable[[int], int]:
    """Keras' random layers of the same strengths, one after the other."""
    layers = make_layers(strengths)

    def augment(batch: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        for layer in layers:
            batch = layer(batch, training=True)
        return batch

    return _repeated(augment, tf.constant(images, tf.float32))


def make_layers(strengths: Strengths) -> list[Any]:
    """The Keras layers for `strengths`, without those that this version of Keras lacks.

    Keras has no layers for blur, gamma and spectrum.
    """
    common = {"fill_mode": "constant"}
    wanted: list[tuple[str, bool, dict[str, Any]]] = [
        (
            "RandomRotation",
            bool(strengths.rotation),
            {"factor": strengths.rotation / 360, **common},
        ),
        (
            "RandomTranslation",
            bool(strengths.height_shift or strengths.width_shift),
            {
                "height_factor": strengths.height_shift,
                "width_factor": strengths.width_shift,
                **common,
            },
        ),
        (
            "RandomZoom",
            bool(strengths.zoom),
            {
                "height_factor": (-strengths.zoom, strengths.zoom),
                "width_factor": (-strengths.zoom, strengths.zoom),
                **common,
            },
        ),
        ("RandomShear", bool(strengths.shear), {"x_factor": strengths.shear, **common}),
        ("RandomFlip", strengths.horizontal_flip, {"mode": "horizontal"}),
        (
            "RandomBrightness",
            bool(strengths.brightness),
            {"factor": strengths.brightness, "value_range": (0, 255)},
        ),
        (
            "RandomContrast",
            bool(strengths.contrast),
            {"factor": strengths.contrast, "value_range": (0, 255)},
        ),
    ]
    return [
        getattr(keras.layers, name)(**options)
        for name, needed, options in wanted
        if needed and hasattr(keras.layers, name)
    ]


def layer_names(strengths: Strengths) -> list[str]:
    """The class names of `make_layers`."""
    return [type(layer).__name__ for layer in make_layers(strengths)]


def _draw(batch: tf.Tensor, step: tf.Tensor, strengths: Strengths) -> dict[str, tf.Tensor]:
    positions = tf.range(batch.shape[0], dtype=tf.int64) + step * batch.shape[0]
    height, width = batch.shape[1:3]
    return augmentation.draw(
        positions, seed=0, epoch=0, image_size=(height, width), strengths=strengths
    )


def _repeated(
    augment: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], batch: tf.Tensor
) -> Callable[[int], int]:
    """Runs `augment` on the batch 4 times per pass; copies a part of each result to the host."""
    compute = tf.function(lambda batch, step: augment(batch, step)[0, ..., 0])

    def run(passes: int) -> int:
        for step in range(4 * passes):
            compute(batch, tf.constant(step, tf.int64)).numpy()
        return 4 * passes * int(batch.shape[0])

    return run


def _named(ratio: harness.Ratio, preset: str) -> harness.Ratio:
    return harness.Ratio(f"{preset}: {ratio.side}", ratio.other, ratio.spread, ratio.required)
