"""The Brier score as a share of what the frequencies of the classes alone would give.

    scaled = 1 - Brier / Brier of the shares of the classes

1 is perfect, and 0 no better than giving every example the shares of the measured set (Steyerberg et al.,
Assessing the performance of prediction models, 2010).
"""

import numpy as np

from engine.metrics import bootstrap, intervals
from engine.metrics.estimate import Estimate

Array = np.ndarray


def measure(
    labels: Array, probabilities: Array, groups: Array, *, resamples: int, seed: int
) -> Estimate:
    """The scaled Brier score, with BCa limits over patients.

    Args:
        labels: int[N].
        probabilities: float[N] of class 1, or float[N, K].
        groups: int[N], the patient of each, counted from 0 without gaps.
        resamples, seed: of the bootstrap.
    """
    num_classes = 2 if probabilities.ndim == 1 else probabilities.shape[1]
    sums = _sums(labels, probabilities, groups, num_classes)
    total = sums.sum(axis=0)
    value = float(_scaled(total[None], num_classes)[0])
    if np.isnan(value):
        return Estimate(None, reason="it needs examples of two classes or more")
    if len(sums) < 2:
        return Estimate(value, reason="an interval needs two patients or more")
    resampled = np.concatenate(
        [
            _scaled(drawn @ sums, num_classes)
            for drawn in bootstrap.draws(len(sums), resamples=resamples, seed=seed)
        ]
    )
    defined = resampled[~np.isnan(resampled)]
    influence = _influence(sums, total, num_classes)
    return Estimate(value, *intervals.corrected_percentiles(value, defined, influence))


def _sums(labels: Array, probabilities: Array, groups: Array, num_classes: int) -> Array:
    """float[G, 1 + K]: of each patient, the squared errors and the examples of each class."""
    found: Array = np.zeros((int(groups.max()) + 1, 1 + num_classes))
    np.add.at(found, (groups, 0), bootstrap.squared_error(labels, probabilities))
    np.add.at(found, (groups, 1 + labels), 1.0)
    return found


def _scaled(sums: Array, num_classes: int) -> Array:
    """float[R], of sums float[R, 1 + K]; NaN where there is one class alone."""
    total = sums[:, 1:].sum(axis=1)
    shares = sums[:, 1:] / total[:, None]
    reference = _sides(num_classes) * (1 - (shares**2).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        # Of one class alone rounding leaves 1e-17, no reference.
        return np.where(reference > 1e-12, 1 - sums[:, 0] / total / reference, np.nan)


def _influence(sums: Array, total: Array, num_classes: int) -> Array:
    """float[G]: what each patient adds to the score, to first order."""
    number = total[1:].sum()
    shares, error = total[1:] / number, total[0] / number
    reference = _sides(num_classes) * (1 - (shares**2).sum())
    count = sums[:, 1:].sum(axis=1)
    of_error = (sums[:, 0] - count * error) / number
    of_shares = (sums[:, 1:] - count[:, None] * shares) / number
    of_reference = -2 * _sides(num_classes) * (of_shares @ shares)
    return -of_error / reference + error / reference**2 * of_reference


def _sides(num_classes: int) -> float:
    """Two classes count once in the Brier score, not for each class."""
    return 0.5 if num_classes == 2 else 1.0
