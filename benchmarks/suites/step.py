"""`step`: the training step on one batch that is already on the device, the upper bound of training.

Sweeps precision, XLA and batch size, and compares the default network with the same layers in plain
Keras in float32, trained by `Model.fit` on the same batch.
"""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from benchmarks import harness, training
from benchmarks.context import Context
from benchmarks.harness import Side
from benchmarks.reports import Report
from engine.base.settings import TrainConfig
from engine.networks.training_form import training_form
from engine.training import building

PLAIN, DEFAULT = "plain Keras, float32, Model.fit", "engine, default settings"
PLAIN_BATCH = "plain Keras with batch normalization, float32"
PLAIN_AUGMENT, NO_AUGMENT = "engine, no augmentation", "no augmentation"


def run(context: Context) -> Report:
    """Measures the default network, then the sweep."""
    report = Report("step", "images/s of the training step alone, one batch on the device")
    default = TrainConfig(global_batch_size=context.batch_size)
    # Keras has no convolution with standardized weights; users would write batch normalization.
    batch_normalized = dataclasses.replace(default, normalization="batch")
    sides = [
        Side(DEFAULT, _step(context, default), "default network"),
        Side(PLAIN_AUGMENT, _step(context, default, augment="none"), "default network"),
        Side(PLAIN, plain_keras(context, default), "default network"),
        Side(PLAIN_BATCH, plain_keras(context, batch_normalized), "default network"),
    ]
    measured = context.measure(sides)
    report.measurements += measured
    report.ratios += [
        harness.compare(measured[1], measured[2], required=2.0),
        harness.compare(measured[1], measured[3]),
        harness.compare(measured[0], measured[1]),
    ]
    if not context.config.quick:
        _sweep(context, report, default)
    return report


def plain_keras(context: Context, config: TrainConfig) -> Callable[[int], int]:
    """The same layers in float32, compiled and fitted as in the Keras documentation."""
    network = training_form(building.build_model(config, context.workload.manifest)).network
    loss = (
        keras.losses.BinaryCrossentropy(from_logits=True)
        if network.output_shape[-1] == 1
        else keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    network.compile(optimizer="adam", loss=loss, jit_compile=False)
    images: np.ndarray = context.workload.images[: config.global_batch_size].astype(np.float32)
    labels: np.ndarray = np.arange(len(images)) % 2
    dataset = tf.data.Dataset.from_tensors((images, labels)).repeat()

    def run(passes: int) -> int:
        network.fit(dataset, steps_per_epoch=2 * passes, epochs=1, verbose=0)
        return 2 * passes * len(images)

    return run


def _sweep(context: Context, report: Report, config: TrainConfig) -> None:
    modes = [
        ("float32", {"precision": "float32"}),
        ("mixed_bfloat16", {"precision": "mixed_bfloat16"}),
        ("float32, XLA", {"precision": "float32", "jit_compile": "on", "augment": "none"}),
    ]
    group = "precision and XLA"
    sides = [Side(name, _step(context, config, **mode), group) for name, mode in modes]
    report.measurements += context.measure(sides)
    sizes = [size for size in (16, 32, 128) if size <= context.workload.num_images]
    sides = [
        Side(f"batch {size}", _step(context, config, global_batch_size=size), "batch sizes")
        for size in sizes
    ]
    report.measurements += context.measure(sides)


def _step(context: Context, config: TrainConfig, **changes: object) -> Callable[[int], int]:
    changed = dataclasses.replace(config, **changes)  # type: ignore[arg-type]
    return training.open_training(context.workload.shards, changed, synthetic=True)
