"""`train`: training on real input, compared with its upper bound and with the usual script.

The upper bound is the same step on a batch that is already on the device. The usual script is that of
most X-ray tutorials: Keras 2, `ImageDataGenerator`, the `tutorial` network, float32, Adam. The engine
trains the same network with the same kinds of augmentation and the same optimizer, without clipping or
averaging, in the precision that `--precision auto` chooses on this machine. Keras 3 on a cached
`image_dataset_from_directory`, with augmentation layers in the model, is measured too.
"""

import contextlib
import dataclasses
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import harness, training
from benchmarks.context import Context
from benchmarks.harness import Side
from benchmarks.reports import Report
from benchmarks.suites import input as input_suite
from engine.base.settings import TrainConfig
from engine.training.diagnosis import verdict

REAL, SYNTHETIC = "real input, cached epochs", "one batch on the device"
ENGINE, SCRIPT = "engine", "usual script, Keras 2 ImageDataGenerator"
SCRIPT_RGB = "usual script, as printed (3 channels)"
SAVE_EVERY = 20  # steps; 3 seconds of training on two cores
KERAS_3 = "Keras 3, image_dataset_from_directory, cached"


def run(context: Context) -> Report:
    """Measures both networks and their upper bounds, the cost of checkpoints, and the usual script."""
    report = Report("train", "images/s of training, from cached epochs, augmentation included")
    for config in (
        TrainConfig(global_batch_size=context.batch_size, cache="memory"),
        tutorial_config(context),
    ):
        _against_ceiling(context, report, config)
    _saving(context, report)
    _against_script(context, report)
    return report


def tutorial_config(context: Context) -> TrainConfig:
    """The configuration with which `engine.train` does what the usual script does."""
    return TrainConfig(
        global_batch_size=context.batch_size,
        cache="memory",
        model="tutorial",
        augment="tutorial",
        optimizer="adam",
        schedule="constant",
        ema_momentum=0.0,
        global_clipnorm=0.0,
        label_smoothing=0.0,
        class_weights="none",
    )


def _against_ceiling(context: Context, report: Report, config: TrainConfig) -> None:
    group = f"network {config.model}, augmentation {config.augment}"
    sides = [
        Side(REAL, training.open_training(context.workload.shards, config), group),
        Side(
            SYNTHETIC,
            training.open_training(context.workload.shards, config, synthetic=True),
            group,
        ),
    ]
    real, synthetic = context.measure(sides)
    report.measurements += [real, synthetic]
    ratio = harness.compare(real, synthetic, required=0.95)
    name = f"{config.model}: {real.name}"
    report.ratios.append(harness.Ratio(name, synthetic.name, ratio.spread, ratio.required))
    data = context.measure(
        [Side("input alone", input_suite.engine_tier(context, "memory", context.batch_size), group)]
    )
    report.measurements += data
    sentence = verdict(
        *(row.images_per_second.median for row in (data[0], synthetic, real)),
    )
    report.sentences.append(f"{config.model}: {sentence}")


def _saving(context: Context, report: Report) -> None:
    """Compares very frequent checkpoints with none."""
    group = "checkpoints"
    every = 2 if context.config.quick else SAVE_EVERY
    config = TrainConfig(global_batch_size=context.batch_size, cache="memory")
    with tempfile.TemporaryDirectory(dir=context.workload.scratch) as directory:
        saving = training.open_saving(context.workload.shards, config, Path(directory), every=every)
        plain = training.open_training(context.workload.shards, config, steps_per_pass=every)
        sides = [Side(f"one every {every} steps", saving, group), Side("none", plain, group)]
        measured = context.measure(sides)
    report.measurements += measured
    report.ratios.append(
        dataclasses.replace(
            harness.compare(*measured, required=0.95),
            side=f"a checkpoint every {every} steps",
            other="no checkpoints",
        )
    )
    report.figures["a checkpoint, MiB"] = saving.checkpoint_bytes() / 2**20
    waits = statistics.median(saving.waits)
    report.figures["training stands still for a checkpoint, milliseconds"] = 1000 * waits


def _against_script(context: Context, report: Report) -> None:
    group = "tutorial network and augmentation"
    height, width, _ = context.workload.manifest.image_shape
    options: dict[str, Any] = {"training": True, "augment": True, "group": group}
    if context.config.quick:
        options["steps_per_pass"] = 2
    with contextlib.ExitStack() as stack:
        config = tutorial_config(context)
        sides = [
            Side(ENGINE, training.open_training(context.workload.shards, config), group),
            context.open_peer("keras2_generator", stack, report, title=SCRIPT, **options),
            context.open_peer("image_dataset_cached", stack, report, title=KERAS_3, **options),
        ]
        if not context.config.quick:
            options["image_shape"] = (height, width, 3)
            sides.append(
                context.open_peer("keras2_generator", stack, report, title=SCRIPT_RGB, **options)
            )
        measured = context.measure([side for side in sides if side is not None])
    report.measurements += measured
    report.ratios += [harness.compare(measured[0], other, required=4.0) for other in measured[1:]]
