"""95 % intervals over patients, whose coverage holds where a metric is at or near 1.

The images of one patient resemble one another, so variances are those between patients. A metric in
[0, 1] is given the interval of a proportion (Clopper and Pearson, 1934) of its effective number

    n = v (1 - v) / variance(v),

the number of independent examples that would vary as much (Korn and Graubard, Confidence intervals for
proportions with small expected number of positive counts estimated from survey data, 1998). Near the
boundary the variance that is seen vanishes, and with it every interval that is built on it alone. So
it is computed with two imaginary patients more: for a proportion, one who is right and one who is wrong
in every image; for a ranking, one of each class who cannot be distinguished from the other class.
Where nothing was wrong, the effective number is then about that of the patients; where much was, they hardly count.

`benchmarks.coverage` simulates how often these intervals hold the truth.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import special

from engine.metrics import delong
from engine.metrics.estimate import CONFIDENCE

_TAIL = (1 - CONFIDENCE) / 2
_NORMAL = float(special.ndtri(1 - _TAIL))

Array = np.ndarray
Interval = tuple[float, float]


def clopper_pearson(value: Array | float, number: Array | float) -> tuple[Array, Array]:
    """The limits of a proportion `value` of `number` independent examples, which need not be whole."""
    hits = np.asarray(value * number, np.float64)
    misses = np.asarray(number - hits, np.float64)
    with np.errstate(invalid="ignore"):
        low = np.where(hits <= 0, 0.0, special.betaincinv(hits, misses + 1, _TAIL))
        high = np.where(misses <= 0, 1.0, special.betaincinv(hits + 1, misses, 1 - _TAIL))
    return np.fmin(low, value), np.fmax(high, value)


def proportion(hits: Array, counts: Array) -> tuple[Array, Array]:
    """The limits of sum(hits) / sum(counts).

    Args:
        hits, counts: float[..., G], of each patient: the images that were right, of those that count.

    Returns:
        float[...], low and high; NaN where nothing counts.
    """
    return clopper_pearson(*effective(hits, counts))


def wilson(value: Array | float, number: Array | float) -> tuple[Array, Array]:
    """The score limits of a proportion `value` of `number` independent examples, which need not be whole.

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    """
    value, number = np.asarray(value, np.float64), np.asarray(number, np.float64)
    square = _NORMAL**2
    middle = value + square / (2 * number)
    half = _NORMAL * np.sqrt(value * (1 - value) / number + square / (4 * number**2))
    below, above = ((middle + sign * half) / (1 + square / number) for sign in (-1, 1))
    return np.clip(below, 0, value), np.clip(above, value, 1)


def wilson_proportion(hits: Array, counts: Array) -> tuple[Array, Array]:
    """As `proportion`, of less width: Wilson's limits on the effective number.

    They hold the truth in 95 % of cases on average over proportions, and in fewer for some of them, where
    those of `proportion` hold it in at least as many for each.
    """
    return wilson(*effective(hits, counts))


def effective(hits: Array, counts: Array) -> tuple[Array, Array]:
    """sum(hits) / sum(counts), and the number of independent examples that would vary as much.

    Args:
        hits, counts: as `proportion` takes them. Where each patient counts once, the number is theirs.
    """
    total = counts.sum(axis=-1)
    patients = (counts > 0).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = hits.sum(axis=-1) / total
        # The imaginary patients' images: of the size at which they leave Kish's effective number.
        size = (counts**2).sum(axis=-1) / total
        shrunk = (hits.sum(axis=-1) + size) / (total + 2 * size)
        residuals = hits - shrunk[..., None] * counts
        imaginary = size**2 * ((1 - shrunk) ** 2 + shrunk**2)
        squares = (residuals**2).sum(axis=-1) + imaginary
        # At least 1: where images of a patient seem to differ more than chance has it, that is noise.
        design_effect = np.maximum(1, squares / ((total + 2 * size) * shrunk * (1 - shrunk)))
        number = total / design_effect * (_quantile(total - 1) / _quantile(patients - 1)) ** 2
    return value, number


def area(positive: Array, scores: Array, groups: Array, strata: Array | None = None) -> Interval:
    """The limits of the area under the ROC curve; some stratum must hold both classes.

    The variance is DeLong's (1988), from each example's placement among the other class, summed by
    patient as Obuchowski does (Nonparametric analysis of clustered ROC curve data, 1997).

    Args:
        positive: bool[N].
        scores: float[N]; ties count half.
        groups: int[N], the patient of each example, counted from 0.
        strata: int[N]; only pairs within one stratum are compared, as `curves.auroc_within` does. None
            compares all.
    """
    return mean_area([positive], [scores], groups, strata)


def mean_area(
    positives: Sequence[Array],
    scores: Sequence[Array],
    groups: Array,
    strata: Array | None = None,
) -> Interval:
    """The limits of the mean of several areas over the same examples; see `area`."""
    strata = np.zeros(len(groups), np.int64) if strata is None else strata
    areas = [
        _Area.of(positive, score, groups, strata)
        for positive, score in zip(positives, scores, strict=True)
    ]
    influence = np.mean([each.influence for each in areas], axis=0)
    imaginary = np.mean([each.imaginary for each in areas], axis=0)
    return bounded(
        float(np.mean([each.value for each in areas])),
        near=float(np.mean([each.near for each in areas])),
        variance=float((influence**2).sum() + (imaginary**2).sum()),
        patients=int(groups.max()) + 1,
    )


@dataclasses.dataclass(frozen=True)
class _Area:
    """An area and what it rests on.

    Attributes:
        value: the share of the pairs, of a positive and a negative of one stratum, that are in order.
        near: the same with the imaginary patients, whose pairs are right by half.
        influence: float[G], what each patient adds to `near`.
        imaginary: float[2], what the imaginary patients add.
    """

    value: float
    near: float
    influence: Array
    imaginary: Array

    @classmethod
    def of(cls, positive: Array, scores: Array, groups: Array, strata: Array) -> "_Area":
        """The area of examples; see `area`."""
        patients = int(groups.max()) + 1
        parts = []
        for stratum in np.unique(strata):
            own = strata == stratum
            if 0 < positive[own].sum() < own.sum():
                parts.append(_by_class(positive[own], scores[own], groups[own], patients))
        above, members = (np.stack(arrays, axis=1) for arrays in zip(*parts, strict=True))
        counts = members.sum(axis=2)  # [2, S]
        pairs = counts.prod(axis=0)
        of_patient = members.sum(axis=1)
        size = (of_patient**2).sum(axis=1) / of_patient.sum(axis=1)
        # An imaginary patient has images in every stratum, as the pairs lie there.
        added = size[:, None] * pairs / pairs.sum()
        total = counts + added
        all_pairs = total.prod(axis=0).sum()
        right = (above[0].sum(axis=1) * counts[1]).sum()
        near = (right + (all_pairs - pairs.sum()) / 2) / all_pairs
        placed = above * counts[::-1, :, None] + members * (
            added[::-1] / 2 - near * total[::-1]
        )[:, :, None]  # fmt: skip
        return cls(
            value=right / pairs.sum(),
            near=near,
            influence=placed.sum(axis=(0, 1)) / all_pairs,
            imaginary=(added * total[::-1]).sum(axis=1) * (1 / 2 - near) / all_pairs,
        )


def _by_class(positive: Array, scores: Array, groups: Array, patients: int) -> tuple[Array, Array]:
    """Of positives, then negatives, by patient: the sum of placements [2, G], and the count [2, G].

    Placements are those of `delong.placements`.
    """
    placed = delong.placements(positive, scores)
    above, members = [], []
    for own in (positive, ~positive):
        above.append(np.bincount(groups[own], placed[own], patients))
        members.append(np.bincount(groups[own], minlength=patients))
    return np.stack(above), np.stack(members).astype(np.float64)


def bounded(value: float, *, near: float, variance: float, patients: int) -> Interval:
    """The limits of a metric in [0, 1], by the effective number that `variance` gives.

    Args:
        near: the metric with the imaginary patients, of which `variance` is.
        patients: how many there are; the effective number where the variance vanishes.
    """
    number = near * (1 - near) / variance if variance > 0 else float(patients)
    low, high = clopper_pearson(value, number * (_NORMAL / _quantile(patients - 1)) ** 2)
    return float(low), float(high)


def corrected_percentiles(value: float, resampled: Array, influence: Array) -> Interval:
    """The BCa limits of a mean, which allow for its skewness (Efron, Better bootstrap intervals, 1987).

    Args:
        resampled: float[R], the mean in each resample of patients.
        influence: float[G], what each patient adds to the mean.
    """
    below = ((resampled < value).mean() + (resampled <= value).mean()) / 2
    squares = (influence**2).sum()
    if not 0 < below < 1 or not squares:
        low, high = np.quantile(resampled, [_TAIL, 1 - _TAIL])
        return float(low), float(high)
    bias = special.ndtri(below)
    skewness = (influence**3).sum() / (6 * squares**1.5)
    shifted = bias + np.array([-_NORMAL, _NORMAL])
    tails = special.ndtr(bias + shifted / (1 - skewness * shifted))
    low, high = np.quantile(resampled, tails)
    return min(float(low), value), max(float(high), value)


def percentiles(resampled: Array) -> Interval:
    """The middle 95 % of float[R]; NaN, of resamples that leave the metric undefined, does not count."""
    low, high = np.nanquantile(resampled, [_TAIL, 1 - _TAIL])
    return float(low), float(high)


def percentiles_of_columns(resampled: Array) -> Array:
    """float[2, C]: the middle 95 % of each column of float[R, C]."""
    found: Array = np.quantile(resampled, [_TAIL, 1 - _TAIL], axis=0)
    return found


def student(degrees: float) -> float:
    """By how many standard errors the limits lie from an estimate with so many degrees of freedom."""
    return float(_quantile(degrees))


def _quantile(degrees: Array | float) -> Array:
    """Student's t for the upper limit; of less than one degree, of one."""
    return special.stdtrit(np.maximum(degrees, 1), 1 - _TAIL)
