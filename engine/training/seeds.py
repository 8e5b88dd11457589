"""Several seeds of one configuration, trained one after the other and used as one.

`train_seeds` leaves an ensemble: an ordinary run per seed, and a calibration and a decision threshold for
their average, fitted and chosen on the validation split as those of one run are. Killed and called again,
it continues where it was.
"""

import dataclasses
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine.base import locks, progress
from engine.base.settings import TrainConfig
from engine.inference import ensemble as predictors
from engine.inference.predictor import Outputs
from engine.metrics import curves
from engine.pipeline.reading import StoredSplit
from engine.runs import contract, report
from engine.runs.contract import InferenceContract
from engine.runs.ensemble import EnsembleDirectory
from engine.training import decision, seed_directory, soft_labels, trainer

_BATCH_SIZE = 128


@dataclasses.dataclass(frozen=True)
class EnsembleResult:
    """How a training of several seeds ended.

    Attributes:
        members: the directories of the runs that are averaged.
        threshold: for the average; None with more than two classes, and where it was stopped.
        val_auroc: of the average on validation; None where it is not defined.
        member_val_aurocs: of each run, on the same images.
        stopped: whether it was asked to stop before the end; `resume` continues it.
    """

    members: tuple[Path, ...]
    threshold: float | None = None
    val_auroc: float | None = None
    member_val_aurocs: tuple[float | None, ...] = ()
    stopped: bool = False


def train_seeds(
    config: TrainConfig,
    shards: Path | str,
    workdir: Path | str,
    *,
    num_seeds: int,
    resume: bool = False,
    overwrite: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = progress.say,
    **options: Any,
) -> EnsembleResult:
    """Trains `num_seeds` runs, with the configuration's seed and those after it, into `workdir/seed-<n>`.

    Args:
        resume: continues an ensemble in `workdir`: finished members stay, and more seeds may be added.
        overwrite: removes the ensemble in `workdir` first.
        should_stop: as for `trainer.train`.
        options: `model` and `loss` of `trainer.train`.

    Raises:
        UserError: as `trainer.train`, for any member, or `workdir` holds something else.
        DivergenceError: the loss of a member became infinite or NaN.
    """
    shards, workdir = Path(shards), Path(workdir)
    with locks.held(workdir, purpose="a training"):
        found = seed_directory.prepare(
            workdir, config, num_seeds, resume=resume, overwrite=overwrite
        )
        places = tuple(member.path for member in found.members)
        runs = list(seed_directory.runs(config, workdir, num_seeds))
        for number, (own, run) in enumerate(runs):
            if found.listed[number].epochs == config.epochs:
                say(f"{run.path.name}: trained already")
                continue
            say(f"{run.path.name}: run {number + 1} of {num_seeds}")
            soft_labels.share(found.members, run)
            trained = trainer.train(
                own, shards, run.path, resume=True, should_stop=should_stop, say=say, **options
            )
            if trained.stopped:
                return EnsembleResult(places, stopped=True)
            found = seed_directory.finished(found, run.path.name, epochs=config.epochs)
            gc.collect()  # the graphs of a training are cycles
        result = _combined(found, shards, rule=config.threshold, say=say)
        report.write_report(workdir)
        return result


def _combined(
    found: EnsembleDirectory, shards: Path, *, rule: str, say: Callable[[str], None]
) -> EnsembleResult:
    """Measures the members and their average on validation, and completes the ensemble's contract."""
    say("averaging: calibration and threshold of all members on validation ...")
    labels, outputs = _on_validation(found, shards)
    first = contract.stored(found.members[0])
    contract.begin(
        found, InferenceContract(image_format=first.image_format, class_names=first.class_names)
    )
    threshold = decision.complete(
        found,
        labels,
        predictors.averaged(outputs.members).log_odds,
        rule=rule if first.is_binary else None,
        prior=None if first.calibration is None else first.calibration.prior,
    )
    return EnsembleResult(
        tuple(member.path for member in found.members),
        threshold=threshold,
        val_auroc=curves.mean_auroc(labels, outputs.log_odds),
        member_val_aurocs=tuple(
            curves.mean_auroc(labels, member.log_odds) for member in outputs.members
        ),
    )


def _on_validation(found: EnsembleDirectory, shards: Path) -> tuple[np.ndarray, Outputs]:
    """Labels int64[N] of the validation split, and the outputs of the average."""
    predictor = predictors.load(found, batch_size=_BATCH_SIZE)
    stored = StoredSplit(shards, "validation")
    labels, outputs = [], []
    with stored.damage_named():
        for batch in stored.dataset(_BATCH_SIZE).as_numpy_iterator():
            labels.append(np.asarray(batch["label"]))
            outputs.append(predictor.outputs(batch["image"]))
    return np.concatenate(labels), Outputs.joined(outputs)
