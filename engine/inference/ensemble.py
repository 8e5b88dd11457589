"""Several runs at work as one: their calibrated log-odds are averaged.

The mean is taken of log-odds (of more than two classes: of log-probabilities, normalized again), not of
probabilities: those of float32 are all 1 from log-odds of 17 on, and the mean of log-odds keeps the order there;
threshold, temperature and prevalence act on log-odds too.
"""

from collections.abc import Sequence

import numpy as np
from scipy import special

from engine.inference.predictor import (
    Outputs,
    Predictor,
    deciding_threshold,
    wanted_prevalence,
)
from engine.metrics import predictions
from engine.runs import contract as contracts
from engine.runs.contract import InferenceContract
from engine.runs.run_directory import RunDirectory


class EnsemblePredictor(Predictor):
    """Predictors used as one; `outputs` holds the average, and each member's own.

    Args:
        members: of the contract's image format and classes.
        contract: of the average; its calibration applies to the average of calibrated outputs.
        prevalence: as `Predictor` takes it; the members have none.
    """

    def __init__(
        self,
        members: Sequence[Predictor],
        contract: InferenceContract,
        *,
        batch_size: int = 64,
        prevalence: Sequence[float] | None = None,
    ) -> None:
        self.members = tuple(members)
        self.contract = contract
        self.batch_size = batch_size
        self.prevalence = prevalence
        self.threshold = deciding_threshold(contract, prevalence)

    def outputs(self, images: np.ndarray) -> Outputs:
        """Probabilities and log-odds of uint8[N, H, W, C] images, and of each member.

        Raises:
            UserError: the images have another shape or type.
        """
        average = averaged([member.outputs(images) for member in self.members])
        calibration = self.contract.calibration
        if calibration is None:
            return average
        calibrated = calibration.log_odds(average.log_odds, self.prevalence)
        return Outputs(predictions.probabilities(calibrated), calibrated, members=average.members)


def load(run: RunDirectory, *, batch_size: int = 64, prevalence: str | None = None) -> Predictor:
    """A run, an ensemble, or a group of runs, ready to predict.

    Args:
        prevalence: as `Predictor.load` takes it.

    Raises:
        UserError: one of them is missing, damaged or not trained, or they do not agree; or the
            prevalence does not fit them.
    """
    if not run.members:
        return Predictor.load(run.path, batch_size=batch_size, prevalence=prevalence)
    run.require_trained()
    contract = contracts.read(run)
    shares = wanted_prevalence(contract, prevalence)
    members = [load(member, batch_size=batch_size) for member in run.members]
    return EnsemblePredictor(members, contract, batch_size=batch_size, prevalence=shares)


def averaged(members: Sequence[Outputs]) -> Outputs:
    """The outputs of several runs for the same images as those of one."""
    log_odds = np.stack([member.log_odds for member in members])
    if log_odds.ndim == 2:
        mean = log_odds.mean(axis=0)
        return Outputs(special.expit(mean), mean, members=tuple(members))
    logits = special.log_expit(log_odds).mean(axis=0)
    return Outputs(
        special.softmax(logits, axis=1), predictions.log_odds(logits), members=tuple(members)
    )
