"""How a run does on the images of a split under each shift: point estimates."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.base import progress
from engine.evaluation import shifts
from engine.inference.predictor import Outputs, Predictor
from engine.metrics import curves
from engine.metrics.predictions import predict_labels
from engine.metrics.shift_results import ShiftResults
from engine.pipeline import input_pipeline
from engine.shards.tfrecords import Manifest


def measure(predictor: Predictor, shards: Path, manifest: Manifest, split: str) -> ShiftResults:
    """Measures the split under each of `engine.evaluation.shifts`, with progress on standard error.

    Raises:
        UserError: there is no such split, or a shard is damaged.
    """
    dataset = input_pipeline.make_evaluation_dataset(
        shards, split=split, batch_size=predictor.batch_size
    )
    names = shifts.shift_names()
    outputs: dict[str, list[Outputs]] = {name: [] for name in names}
    labels = []
    total = manifest.splits[split].num_examples * len(names)
    with (
        input_pipeline.damage_named(shards, manifest, split),
        progress.ProgressBar(f"evaluating {split}, shifted", total=total) as bar,
    ):
        for images, truths in dataset.as_numpy_iterator():
            labels.append(truths)
            for name in names:
                outputs[name].append(predictor.outputs(shifts.apply(name, images)))
                bar.advance(len(truths))
    truth = np.concatenate(labels)
    return ShiftResults(
        {
            name: _point_estimates(truth, parts, predictor.threshold)
            for name, parts in outputs.items()
        }
    )


def _point_estimates(
    labels: np.ndarray, outputs: Sequence[Outputs], threshold: float | None
) -> dict[str, float | None]:
    probabilities = np.concatenate([each.probabilities for each in outputs])
    predicted = predict_labels(probabilities, threshold)
    estimates = {
        "auroc": curves.mean_auroc(labels, np.concatenate([each.log_odds for each in outputs])),
        "accuracy": float((predicted == labels).mean()),
    }
    if probabilities.ndim == 1:
        for name, index in (("sensitivity", 1), ("specificity", 0)):
            members = labels == index
            estimates[name] = float((predicted[members] == index).mean()) if members.any() else None
    return estimates
