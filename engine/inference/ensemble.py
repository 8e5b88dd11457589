"""Several runs at work as one: their calibrated log-odds are averaged.

The mean is taken of log-odds (of more than two classes: of log-probabilities, normalized again), not of
probabilities: those of float32 are all 1 from log-odds of 17 on, and the mean of log-odds keeps the order there;
threshold, temperature and prevalence act on log-odds too.
"""

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np
from scipy import special

from engine.inference.predictor import (
    Outputs,
    Predictor,
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
        prevalence: as `Predictor` takes it; the members give probabilities at the contract's prior.
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
        self.flip_average = all(member.flip_average for member in members)
        self._decide_at(prevalence)

    @property
    def measures_distances(self) -> bool:
        return all(member.measures_distances for member in self.members)

    def outputs(self, images: np.ndarray, *, with_distances: bool = False) -> Outputs:
        """Probabilities and log-odds of uint8[N, H, W, C] images, and of each member.

        The distance from the training images is the geometric mean of the members' distances.

        Raises:
            UserError: the images have another shape or type.
        """
        asked = with_distances and self.measures_distances
        average = averaged(
            [member.outputs(images, with_distances=asked) for member in self.members]
        )
        calibration = self.contract.calibration
        if calibration is None:
            return average
        calibrated, *each = (
            calibration.log_odds(outputs.log_odds, self.prevalence)
            for outputs in (average, *average.members)
        )
        return dataclasses.replace(
            average,
            probabilities=predictions.probabilities(calibrated),
            log_odds=calibrated,
            spread=_deviation([predictions.probabilities(log_odds) for log_odds in each]),
        )


def load(
    run: RunDirectory,
    *,
    batch_size: int = 64,
    prevalence: str | Sequence[float] | None = None,
    precisions: Collection[str] | None = None,
    flip_average: bool = False,
) -> Predictor:
    """A run, an ensemble, or a group of runs, ready to predict.

    Args:
        prevalence, precisions: as `Predictor.load` takes them.
        flip_average: whether each of them averages over each image and its mirror image.

    Raises:
        UserError: one of them is missing, damaged or not trained, or they do not agree; or the
            prevalence does not fit them.
    """
    if not run.members:
        return Predictor.load(
            run.path,
            batch_size=batch_size,
            prevalence=prevalence,
            precisions=precisions,
            flip_average=flip_average,
        )
    run.require_trained()
    contract = contracts.read(run)
    shares = wanted_prevalence(contract, prevalence)
    prior = None if contract.calibration is None else contract.calibration.prior
    members = [
        load(
            member,
            batch_size=batch_size,
            prevalence=prior,
            precisions=precisions,
            flip_average=flip_average,
        )
        for member in run.members
    ]
    return EnsemblePredictor(members, contract, batch_size=batch_size, prevalence=shares)


def averaged(members: Sequence[Outputs]) -> Outputs:
    """The outputs of several runs for the same images as those of one."""
    log_odds = np.stack([member.log_odds for member in members])
    if log_odds.ndim == 2:
        mean = log_odds.mean(axis=0)
        outputs = Outputs(special.expit(mean), mean, members=tuple(members))
    else:
        logits = special.log_expit(log_odds).mean(axis=0)
        probabilities = special.softmax(logits, axis=1)
        outputs = Outputs(probabilities, predictions.log_odds(logits), members=tuple(members))
    spread = _deviation([member.probabilities for member in members])
    return dataclasses.replace(outputs, distances=_mean_distances(members), spread=spread)


def _deviation(probabilities: Sequence[np.ndarray]) -> np.ndarray:
    """The standard deviation over the members, float64[N] or float64[N, K]."""
    return np.asarray(np.std(probabilities, axis=0))


def _mean_distances(members: Sequence[Outputs]) -> np.ndarray | None:
    """The geometric means of the members' distances, float64[N]; None where one has none."""
    distances = [member.distances for member in members if member.distances is not None]
    if len(distances) < len(members):
        return None
    return np.exp(np.log(distances).mean(axis=0))
