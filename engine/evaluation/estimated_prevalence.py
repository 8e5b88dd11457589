"""`--prevalence estimate`: a split's predictions at the shares of the classes that they themselves speak for."""

import dataclasses

from engine.base import progress
from engine.evaluation.evaluation_files import SplitPredictions
from engine.inference.predictor import Outputs, Predictor
from engine.metrics import prior_shift
from engine.metrics.prior_shift import EstimatedShares


def applied(
    predictor: Predictor, plain: SplitPredictions, *, seed: int
) -> tuple[EstimatedShares, Predictor, SplitPredictions]:
    """The estimated shares, and the predictor and the predictions for them; labels are not used.

    Args:
        predictor: of a run with a prior, at that prior.
        plain: what it gives.
        seed: of the resamples behind the intervals.

    Raises:
        UserError: there are too few images.
    """
    calibration = predictor.contract.calibration
    assert calibration is not None and calibration.prior is not None
    shares = prior_shift.estimate(
        plain.probabilities,
        calibration.prior,
        class_names=predictor.contract.class_names,
        patients=plain.patients,
        seed=seed,
    )
    progress.say(f"estimated prevalence: {shares.text()}")
    outputs = Outputs(
        plain.probabilities,
        plain.log_odds,
        members=plain.members,
        distances=plain.distances,
        spread=plain.spread,
    ).at_prevalence(calibration, shares.prevalence)
    moved = dataclasses.replace(
        plain,
        probabilities=outputs.probabilities,
        log_odds=outputs.log_odds,
        spread=outputs.spread,
    )
    return shares, predictor.at_prevalence(shares.prevalence), moved
