"""How a run does on the images of a split under each shift: point estimates."""

from collections.abc import Sequence

import numpy as np

from engine.base import progress
from engine.evaluation import shifts
from engine.evaluation.class_mapping import ClassMapping
from engine.inference.predictor import Outputs, Predictor
from engine.metrics import curves
from engine.metrics.predictions import predict_labels
from engine.metrics.shift_results import ShiftResults
from engine.pipeline.reading import StoredSplit


def measure(predictor: Predictor, stored: StoredSplit, mapping: ClassMapping) -> ShiftResults:
    """Measures the split under each of `engine.evaluation.shifts`, with progress on standard error.

    Args:
        mapping: which labels are which of the run's, and which are left out.

    Raises:
        UserError: a shard is damaged.
    """
    names = shifts.shift_names()
    outputs: dict[str, list[Outputs]] = {name: [] for name in names}
    labels = []
    total = stored.num_examples * len(names)
    with (
        stored.damage_named(),
        progress.ProgressBar(f"evaluating {stored.name}, shifted", total=total) as bar,
    ):
        for raw in stored.dataset(predictor.batch_size).as_numpy_iterator():
            batch = mapping.applied(raw)
            images, truths = batch["image"], batch["label"]
            labels.append(truths)
            for name in names:
                outputs[name].append(predictor.outputs(shifts.apply(name, images)))
                bar.advance(len(raw["label"]))
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
