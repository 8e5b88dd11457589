"""The probabilities that a teacher gives for the training images, from which `distillation` learns.

They are computed once, on the unaltered images, and kept in the run (`soft_labels.npz`), so that a resumed
training learns exactly the same, even where the teacher is gone.
"""

import shutil
from collections.abc import Callable, Iterable, Sequence
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
from engine.shards import data_identity
from engine.training.runtime import Runtime

_VERSION = 1
_BATCH_SIZE = 128
_NAME = "log_probabilities"


def prepare(
    source: Path,
    split: StoredSplit,
    run: RunDirectory,
    *,
    prior: Sequence[float],
    run_on: Runtime,
    say: Callable[[str], None],
) -> np.ndarray:
    """The teacher's log-probabilities of every example, float32[N, K], in the order of the records.

    Of several workers the chief computes them for all.

    Args:
        source: a run or an ensemble.
        run: where they are kept, and taken from if they are there.
        prior: the share of each class that the student's probabilities shall hold for.

    Raises:
        UserError: the teacher cannot be read, or a shard is damaged.
    """
    shape = split.num_examples, len(split.manifest.class_names)
    found: np.ndarray = np.zeros(shape, np.float32)
    if run_on.is_chief:
        kept = _kept(run, split)
        found = _predicted(source, split, run, prior, say) if kept is None else kept
    if run_on.num_workers > 1:
        found = np.reshape(run_on.agreed(found.ravel().tolist()), shape).astype(np.float32)
    return found


def share(members: Iterable[RunDirectory], run: RunDirectory) -> None:
    """Gives a run what another one of its ensemble keeps, so that a teacher predicts once for all."""
    kept = [member.soft_labels for member in members if member.soft_labels.is_file()]
    if kept and not run.soft_labels.is_file():
        run.path.mkdir(parents=True, exist_ok=True)
        with files.written_aside(run.soft_labels) as aside:
            shutil.copyfile(kept[0], aside)


def _kept(run: RunDirectory, split: StoredSplit) -> np.ndarray | None:
    """What an earlier part of the training has kept for these examples, if anything."""
    found = array_files.read(run.soft_labels, version=_VERSION)
    if found is None:
        return None
    arrays, header = found
    identity = data_identity.describe(split.manifest)["identity"]
    is_of_these = header.get("data", identity) == identity
    if not is_of_these or len(arrays.get(_NAME, ())) != split.num_examples:
        return None
    return arrays[_NAME]


def _predicted(
    source: Path,
    split: StoredSplit,
    run: RunDirectory,
    prior: Sequence[float],
    say: Callable[[str], None],
) -> np.ndarray:
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
    known = log_probabilities(Outputs.joined(parts))
    calibration = predictor.contract.calibration
    if calibration is not None and calibration.prior is not None:
        known = at_prior(known, calibration.prior, prior)
    found: np.ndarray = known.astype(np.float32)
    header = {
        "teacher": str(source),
        "model": teacher.model_digest(),
        "data": data_identity.describe(split.manifest)["identity"],
        "prior": list(prior),
    }
    array_files.write(run.soft_labels, arrays={_NAME: found}, header=header, version=_VERSION)
    return found


def at_prior(
    log_probabilities: np.ndarray, before: Sequence[float], prior: Sequence[float]
) -> np.ndarray:
    """log p of each class where the shares of the classes are `prior` instead of `before`."""
    if tuple(before) == tuple(prior):
        return log_probabilities
    moved = log_probabilities + np.log(prior) - np.log(before)
    return moved - special.logsumexp(moved, axis=1, keepdims=True)


def log_probabilities(outputs: Outputs) -> np.ndarray:
    """log p of each class, float64[N, K], as exact as the log-odds."""
    log_odds = outputs.log_odds
    both = np.stack([-log_odds, log_odds], axis=1) if log_odds.ndim == 1 else log_odds
    return special.log_expit(both)
