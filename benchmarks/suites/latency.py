"""`latency`: prediction of one image and of batches, with the default network's model file.

From pixels in memory to probabilities in memory; reading and decoding a file is measured separately.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.context import Context
from benchmarks.harness import Side
from benchmarks.reports import Report
from engine.base.settings import TrainConfig
from engine.images import decoding
from engine.inference import predictor
from engine.networks import saved_models, stock
from engine.networks.training_form import training_form
from engine.shards.manifest import Manifest
from engine.training import building

BATCHES = (1, 8, 32, 128)


def run(context: Context) -> Report:
    """Measures decoding one file, and predicting batches of several sizes."""
    report = Report("latency", "images/s and milliseconds of predicting, pixels to probabilities")
    model = _saved_and_loaded(context.workload.manifest)
    predict = tf.function(lambda images: model(images, training=False), reduce_retracing=True)
    images = context.workload.images
    sides = [Side("decode one file", _decode(context), "one thread")]
    sides += [
        Side(f"batch {size}", _predict(predict, images[:size]), "predict")
        for size in (BATCHES[:2] if context.config.quick else BATCHES)
        if size <= len(images)
    ]
    report.measurements += context.measure(sides)
    for row in report.measurements:
        size = int(row.name.rpartition(" ")[2]) if row.group == "predict" else 1
        report.figures[f"{row.name}, milliseconds"] = 1000 * size / row.images_per_second.median
    return report


def _saved_and_loaded(manifest: Manifest) -> Any:
    """The default network as `engine.predict` uses it: its model file, in the precision that is fast here."""
    config = TrainConfig()
    run_on = building.prepare_runtime(config)
    with tempfile.TemporaryDirectory() as directory, saved_models.dtype_policy(run_on.precision):
        path = Path(directory, "model.keras")
        built = building.build_model(config, manifest)
        stock.StockModel(built, training_form(built)).save(path)
        return predictor.load_model(path)


def _predict(predict: Callable[[tf.Tensor], tf.Tensor], images: np.ndarray) -> Callable[[int], int]:
    def run(passes: int) -> int:
        for _ in range(passes):
            predict(tf.constant(images)).numpy()
        return passes * len(images)

    return run


def _decode(context: Context) -> Callable[[int], int]:
    manifest = context.workload.manifest
    paths = [path for path, _ in context.request().examples()[:64]]

    def run(passes: int) -> int:
        for _ in range(passes):
            for path in paths:
                decoding.decode_file(path, manifest.image_format)
        return passes * len(paths)

    return run
