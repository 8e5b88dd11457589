"""Calibration by logistic regression: intercept, slope, and calibration-in-the-large (Cox 1958).

    logit P(y = 1) = intercept + slope * logit(p)

is fitted to the examples that are measured. A slope below 1 says that probabilities are too extreme, one
above 1 that they are not extreme enough. *Calibration-in-the-large* is the intercept where the slope is
held at 1: above 0, the class is more frequent than the probabilities say (Van Calster et al., Calibration:
the Achilles heel of predictive analytics, 2019). A well-calibrated model has 0, 1 and 0.

Variances are those between patients (the sandwich of Liang and Zeger, 1986, with the residuals of Mancl and
DeRouen, 2001, which do not come out too small with few patients), the limits those of Student's t.

D. R. Cox, Two further applications of a model for binary regression, Biometrika 45, 1958.
"""

import dataclasses

import numpy as np
from scipy import optimize, special

from engine.metrics import intervals
from engine.metrics.estimate import Estimate

Array = np.ndarray

_LARGEST_FITTED = 100.0  # log-odds beyond this are fitted as if they were this large
_STEPS = 100
_ENOUGH = 1e-10  # the largest change of a step after which the fit is done
_LEAST_INFORMATION = 1e-3  # sum of p (1 - p), below which no interval means anything
_ROUNDING = 1e-9  # information below which rounding alone decides the intercept
_TOO_EXTREME = "the probabilities are too extreme for an interval"


@dataclasses.dataclass(frozen=True)
class CalibrationFit:
    """What the regression gives of one class against the others."""

    slope: Estimate
    intercept: Estimate
    in_the_large: Estimate


def fit(positive: Array, log_odds: Array, groups: Array) -> CalibrationFit:
    """Fits both regressions.

    Args:
        positive: bool[N].
        log_odds: float[N], of the probability that an example is positive.
        groups: int[N], the patient of each, counted from 0 without gaps.
    """
    log_odds = np.clip(log_odds, -_LARGEST_FITTED, _LARGEST_FITTED)
    if positive.all() or not positive.any():
        missing = Estimate(None, reason="it needs examples of both classes")
        return CalibrationFit(missing, missing, missing)
    large = _in_the_large(positive, log_odds, groups)
    why = _why_no_slope(positive, log_odds)
    if why is not None:
        missing = Estimate(None, reason=why)
        return CalibrationFit(missing, missing, large)
    columns = np.stack([np.ones(len(log_odds)), log_odds], axis=1)
    coefficients = _newton(positive, columns)
    if coefficients is None:
        missing = Estimate(None, reason="the fit has no solution")
        return CalibrationFit(missing, missing, large)
    given = special.expit(columns @ coefficients)
    intercept, slope = _with_limits(coefficients, positive, columns, given, groups)
    return CalibrationFit(slope, intercept, large)


def _in_the_large(positive: Array, log_odds: Array, groups: Array) -> Estimate:
    """The intercept at which as many positives are expected as there are, where the slope is 1."""

    def surplus(intercept: float) -> float:  # of positives expected, without subtracting from 1
        logits = log_odds + intercept
        return float(
            special.expit(logits[~positive]).sum() - special.expit(-logits[positive]).sum()
        )

    # Beyond it less than half an example is expected to be positive, or to be negative.
    reach = np.abs(log_odds).max() + np.log(len(log_odds)) + 1
    found = float(optimize.brentq(surplus, -reach, reach, xtol=1e-12))
    given = special.expit(log_odds + found)
    information = float((given * special.expit(-log_odds - found)).sum())
    if information < _ROUNDING:
        return Estimate(None, reason="the probabilities are too extreme to tell")
    if information < _LEAST_INFORMATION:
        return Estimate(found, reason=_TOO_EXTREME)
    ones = np.ones((len(log_odds), 1))
    (estimate,) = _with_limits(np.array([found]), positive, ones, given, groups)
    return estimate


def _why_no_slope(positive: Array, log_odds: Array) -> str | None:
    """Why no finite slope fits best; None where one does."""
    of_positives, of_negatives = log_odds[positive], log_odds[~positive]
    if np.ptp(log_odds) == 0:
        return "all probabilities are alike"
    if of_positives.min() >= of_negatives.max() or of_positives.max() <= of_negatives.min():
        return "the classes are separated, so that no finite slope fits best"
    return None


def _with_limits(
    coefficients: Array, positive: Array, columns: Array, given: Array, groups: Array
) -> list[Estimate]:
    """The coefficients float[P] of a logistic regression on columns float[N, P], with limits.

    Args:
        given: float[N], the probabilities that it gives.
    """
    reason = None
    if groups.max() < 1:
        reason = "an interval needs two patients or more"
    else:
        try:
            variances = _robust_variances(positive, columns, given, groups)
        except np.linalg.LinAlgError:
            reason = "one patient alone decides it"
    if reason is not None:
        return [Estimate(float(value), reason=reason) for value in coefficients]
    half = intervals.student(int(groups.max())) * np.sqrt(variances)
    return [
        Estimate(float(value), float(value - width), float(value + width))
        if width <= _LARGEST_FITTED
        else Estimate(float(value), reason=_TOO_EXTREME)
        for value, width in zip(coefficients, half, strict=True)
    ]


def _newton(positive: Array, columns: Array) -> Array | None:
    """The coefficients of the greatest likelihood, by Newton's steps, halved while they lead uphill."""
    coefficients: Array = np.zeros(columns.shape[1])
    loss = _loss(positive, columns @ coefficients)
    for _ in range(_STEPS):
        given = special.expit(columns @ coefficients)
        gradient = columns.T @ (positive - given)
        information = columns.T @ (columns * (given * (1 - given))[:, None])
        try:
            step = np.linalg.solve(information, gradient)
        except np.linalg.LinAlgError:
            return None
        for _ in range(_STEPS):
            reached = _loss(positive, columns @ (coefficients + step))
            if reached <= loss + 1e-12 * abs(loss):
                break
            step = step / 2
        coefficients, loss = coefficients + step, min(reached, loss)
        if np.abs(step).max() <= _ENOUGH * (1 + np.abs(coefficients).max()):
            return coefficients
    return None


def _loss(positive: Array, logits: Array) -> float:
    return float(np.logaddexp(0, np.where(positive, -logits, logits)).sum())


def _robust_variances(positive: Array, columns: Array, given: Array, groups: Array) -> Array:
    """float[P]: the variances between patients of the coefficients.

    By Mancl and DeRouen (A covariance estimator for GEE with improved small-sample properties, 2001) a
    patient's residuals r are divided by one minus their leverage: D' (I - D A D'V)^-1 r, with D the columns,
    V the variances and A the inverse of the information. That equals (I - D'V D A)^-1 D'r, which needs a
    matrix of the size of the coefficients only.
    """
    spread = (given * (1 - given))[:, None]
    count, size = int(groups.max()) + 1, columns.shape[1]
    inverse = np.linalg.inv(columns.T @ (columns * spread))
    scores: Array = np.zeros((count, size))
    np.add.at(scores, groups, columns * (positive - given)[:, None])
    information: Array = np.zeros((count, size, size))
    np.add.at(information, groups, (columns * spread)[:, :, None] * columns[:, None, :])
    leverage = np.eye(size) - information @ inverse
    corrected = np.linalg.solve(leverage, scores[:, :, None])[:, :, 0]
    return ((corrected @ inverse) ** 2).sum(axis=0)
