"""Calibration and threshold, from validation: the last thing that a run, or an average of runs, lacks."""

from collections.abc import Sequence

import numpy as np

from engine.base import files
from engine.metrics import thresholds
from engine.runs import contract
from engine.runs.run_directory import RunDirectory


def complete(
    run: RunDirectory,
    labels: np.ndarray,
    log_odds: np.ndarray,
    *,
    rule: str | None,
    prior: Sequence[float] | None,
) -> float | None:
    """Calibrates, chooses the threshold, and completes the contract; `threshold.json` records how.

    Args:
        labels: int[N], of the validation split.
        log_odds: float[N], or float[N, K] with more than two classes, before the calibration.
        rule: how the threshold is chosen; None where there is none to choose.
        prior: the share of each class that training implied; None where it is not known.

    Returns:
        The threshold on the calibrated probability; None where there is none.
    """
    calibration, chosen = thresholds.decide(labels, log_odds, rule=rule, prior=prior)
    if chosen is None:
        contract.complete(run, calibration=calibration)
        return None
    record = {
        **chosen.to_json(),
        "own_threshold": calibration.own_threshold(chosen.threshold),
        "calibration": calibration.to_json(),
        "model": run.model_digest(),
    }
    files.write_json(run.threshold, record)
    contract.complete(
        run, threshold=chosen.threshold, threshold_rule=chosen.rule, calibration=calibration
    )
    return chosen.threshold
