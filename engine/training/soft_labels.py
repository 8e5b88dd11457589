"""The probabilities that a teacher gives for the training images, from which `distillation` learns.

They are computed once, on the unaltered images, and kept in the run (`soft_labels.npz`), so that a resumed
training learns exactly the same, even where the teacher is gone.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import special

from engine.base import array_files, files, progress
from engine.inference import ensemble as predictors
from engine.inference.predictor import Outputs
from engine.networks import saved_models
from engine.pipeline.reading import StoredSplit
from engine.runs import ensemble
from engine.runs.run_directory import RunDirectory

_VERSION = 1
_BATCH_SIZE = 128
_NAME = "log_probabilities"


def prepare(
    source: Path, split: StoredSplit, run: RunDirectory, *, say: Callable[[str], None]
) -> np.ndarray:
    """The teacher's log-probabilities of every example, float32[N, K], in the order of the records.

    Args:
        source: a run or an ensemble.
        run: where they are kept, and taken from if they are there.

    Raises:
        UserError: the teacher cannot be read, or a shard is damaged.
    """
    kept = array_files.read(run.soft_labels, version=_VERSION)
    if kept is not None and len(kept[0].get(_NAME, ())) == split.num_examples:
        return kept[0][_NAME]
    teacher = ensemble.opened(source)
    say(f"learning from {files.one_line(source)}: its probabilities of the training images ...")
    with saved_models.dtype_policy("float32"):
        predictor = predictors.load(teacher, batch_size=_BATCH_SIZE)
        parts = []
        bar = progress.ProgressBar(f"{source.name} teaches", total=split.num_examples)
        with split.damage_named(), bar:
            for batch in split.dataset(_BATCH_SIZE, ("image",)).as_numpy_iterator():
                parts.append(predictor.outputs(batch["image"]))
                bar.advance(len(batch["image"]))
    found: np.ndarray = log_probabilities(Outputs.joined(parts)).astype(np.float32)
    header = {"teacher": str(source), "model": teacher.model_digest()}
    array_files.write(run.soft_labels, arrays={_NAME: found}, header=header, version=_VERSION)
    return found


def log_probabilities(outputs: Outputs) -> np.ndarray:
    """log p of each class, float64[N, K], as exact as the log-odds."""
    log_odds = outputs.log_odds
    both = np.stack([-log_odds, log_odds], axis=1) if log_odds.ndim == 1 else log_odds
    return special.log_expit(both)
