"""Areas under ROC curves and their differences, without assumptions about the scores' distribution.

The variance is that of DeLong, DeLong and Clarke-Pearson (Comparing the areas under two or more
correlated receiver operating characteristic curves, Biometrics 1988): each example has a placement
among the other class, the area is the mean of the placements, and the covariance of several areas
over the same examples is that of their placements. Sorting the other class once gives the placements
of N examples in O(N log N), as midranks do (Sun and Xu, Fast implementation of DeLong's algorithm,
IEEE Signal Processing Letters 2014).

Where patients have several images, placements are summed by patient first (Obuchowski, Nonparametric
analysis of clustered ROC curve data, Biometrics 1997). With one image per patient, that is DeLong's.

positive  bool[N]
scores    float[N], larger for the positive; only their order counts, and ties count half
groups    int[N], the patient of each example; None: each example is a patient
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import special

from engine.base.config import UserError
from engine.metrics.estimate import CONFIDENCE, Estimate

Array = np.ndarray
_NORMAL = float(special.ndtri((1 + CONFIDENCE) / 2))
_TOO_FEW = "it needs two patients or more of each class"
_NO_VARIANCE = "no placement varies, so that DeLong's variance is 0"


@dataclasses.dataclass(frozen=True)
class PairedAreas:
    """The difference of two areas over the same examples, and its test.

    Attributes:
        difference: the second area minus the first.
        low, high: the limits of the difference.
        p_value: two-sided, of the hypothesis that the areas are equal.
        z: the difference by its standard error.
        reason: why the limits and the test are None: too few patients, or nothing varies.
    """

    difference: float
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    z: float | None = None
    reason: str | None = None


def auroc(positive: Array, scores: Array, *, groups: Array | None = None) -> Estimate:
    """The area under the ROC curve with DeLong's interval, cut off at 0 and 1.

    Near 1 the interval is too short, and of a perfect ranking it has no width;
    `engine.metrics.intervals.area` holds there.

    Raises:
        UserError: a class is missing, or the arrays do not fit together.
    """
    areas, matrix = _areas(positive, [scores], groups)
    value, variance = float(areas[0]), float(matrix[0, 0])
    if not np.isfinite(variance):
        return Estimate(value, None, None, _TOO_FEW)
    reach = _NORMAL * np.sqrt(max(variance, 0.0))
    return Estimate(value, max(0.0, value - reach), min(1.0, value + reach))


def mean_auroc(
    positives: Sequence[Array],
    scores: Sequence[Array],
    *,
    groups: Array | None = None,
) -> Estimate:
    """The mean of the areas of several classes over the same examples, with the interval of `auroc`.

    What a patient adds to each area is averaged over the classes before it is squared.

    Args:
        positives: bool[N] of each class.
        scores: float[N] of each class.

    Raises:
        UserError: as `auroc`.
    """
    values, influences = [], []
    for own, score in zip(positives, scores, strict=True):
        positive, (ranked,), of_patient = _checked(own, [score], groups)
        placed, patients = placements(positive, ranked), int(of_patient.max()) + 1
        value = placed[positive].mean()
        influence = np.zeros(patients)
        for side in (positive, ~positive):
            unbiased = np.sqrt(_unbiased(len(np.unique(of_patient[side]))))
            sums = np.bincount(of_patient[side], placed[side] - value, patients)
            influence += unbiased * sums / side.sum()
        values.append(value)
        influences.append(influence)
    mean, variance = float(np.mean(values)), (np.mean(influences, axis=0) ** 2).sum()
    if not np.isfinite(variance):
        return Estimate(mean, None, None, _TOO_FEW)
    reach = float(_NORMAL * np.sqrt(variance))
    return Estimate(mean, max(0.0, mean - reach), min(1.0, mean + reach))


def paired(
    positive: Array,
    scores_a: Array,
    scores_b: Array,
    *,
    groups: Array | None = None,
) -> PairedAreas:
    """DeLong's test of two areas over the same examples, and the interval of their difference, b - a.

    Scores that rank alike have difference 0, z 0 and p 1.

    Raises:
        UserError: as `auroc`.
    """
    areas, matrix = _areas(positive, [scores_a, scores_b], groups)
    difference = float(areas[1] - areas[0])
    variance = float(matrix[0, 0] + matrix[1, 1] - 2 * matrix[0, 1])
    if not np.isfinite(variance):
        return PairedAreas(difference, reason=_TOO_FEW)
    # Rounding leaves about 1e-17 of a variance that is 0: where both rank alike.
    if variance <= 1e-14 * max(1e-3, matrix[0, 0] + matrix[1, 1]):
        if abs(difference) > 1e-12:
            return PairedAreas(difference, reason=_NO_VARIANCE)
        return PairedAreas(0.0, 0.0, 0.0, 1.0, 0.0)
    deviation = np.sqrt(variance)
    z, reach = float(difference / deviation), float(_NORMAL * deviation)
    p_value = float(2 * special.ndtr(-abs(z)))
    return PairedAreas(difference, difference - reach, difference + reach, p_value, z)


def covariance(positive: Array, scores: Array, *, groups: Array | None = None) -> Array:
    """The covariance of the areas of several score vectors over the same examples.

    Args:
        scores: float[M, N].

    Returns:
        float64[M, M]; NaN where a class has fewer than two patients.

    Raises:
        UserError: as `auroc`.
    """
    return _areas(positive, list(np.atleast_2d(np.asarray(scores))), groups)[1]


def placements(positive: Array, scores: Array) -> Array:
    """float64[N]: of a positive, the part of the negatives that it scores above; of a negative, the
    part of the positives that score above it. Both classes must be there.
    """
    placed = np.empty(len(scores))
    for own, sign in ((positive, 1), (~positive, -1)):
        others, mine = np.sort(sign * scores[~own]), sign * scores[own]
        below = np.searchsorted(others, mine, "left") + np.searchsorted(others, mine, "right")
        placed[own] = below / (2 * len(others))
    return placed


def _areas(positive: Array, scores: Sequence[Array], groups: Array | None) -> tuple[Array, Array]:
    """float64[M] areas, and their covariance [M, M]."""
    positive, ranked, groups = _checked(positive, scores, groups)
    placed = np.stack([placements(positive, each) for each in ranked])
    areas = placed[:, positive].mean(axis=1)
    residuals = (placed - areas[:, None]) / np.where(positive, positive.sum(), (~positive).sum())
    patients = int(groups.max()) + 1
    by_class = []  # float[2, M, G]: what a patient's images of each class add to the areas
    for own in (positive, ~positive):
        sums = [np.bincount(groups[own], each[own], patients) for each in residuals]
        by_class.append(np.stack(sums))
    matrix = np.zeros((len(areas), len(areas)))
    for sums, own in zip(by_class, (positive, ~positive), strict=True):
        matrix += _unbiased(len(np.unique(groups[own]))) * (sums @ sums.T)
    both = by_class[0] @ by_class[1].T
    if both.any():
        matrix += _unbiased(patients) * (both + both.T)
    return areas, matrix


def _checked(
    positive: Array, scores: Sequence[Array], groups: Array | None
) -> tuple[Array, list[Array], Array]:
    positive = np.asarray(positive).astype(bool)
    ranked = [np.asarray(each, np.float64) for each in scores]
    groups = np.arange(len(positive)) if groups is None else np.asarray(groups)
    shapes = {positive.shape, groups.shape, *(each.shape for each in ranked)}
    if shapes != {(len(positive),)}:
        raise UserError(
            f"got arrays of shapes {', '.join(map(str, sorted(shapes)))}; expected one score, one "
            "label and one patient per example"
        )
    if any(np.isnan(each).any() for each in ranked):
        raise UserError("got scores that are not numbers (nan); expected a number per example")
    if not 0 < positive.sum() < len(positive):
        raise UserError(
            f"got {int(positive.sum())} positive of {len(positive)} examples; an area under the ROC "
            "curve needs examples of both classes"
        )
    return positive, ranked, np.unique(groups, return_inverse=True)[1].reshape(-1)


def _unbiased(number: int) -> float:
    """n / (n - 1); NaN for one."""
    return number / (number - 1) if number > 1 else float("nan")
