"""How a run does on the images of a split under each shift: point estimates."""

import numpy as np

from engine.base import progress
from engine.evaluation import shifts
from engine.evaluation.class_mapping import ClassMapping
from engine.inference.predictor import Outputs, Predictor
from engine.metrics.member_results import point_estimates
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
    joined = {name: Outputs.joined(parts) for name, parts in outputs.items()}
    return ShiftResults(
        {
            name: point_estimates(truth, found.probabilities, found.log_odds, predictor.threshold)
            for name, found in joined.items()
        }
    )
