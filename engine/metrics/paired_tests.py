"""Two classifiers over the same examples: McNemar's test, and the bootstrap of any metric's difference.

McNemar's test (Note on the sampling error of the difference between correlated proportions,
Psychometrika 1947) counts the examples that only one of the two has right. Images of one patient
resemble one another, so what is counted is each patient's net difference d: images that only the
second has right, less those that only the first has. If neither classifier is better, d is as likely
to be -d. The exact test adds up all flips of signs; where each patient has one image, that is the
binomial test of the discordant pairs. The statistic is (|sum d| - 1)^2 / sum d^2, of one degree of
freedom: Edwards' continuity correction (1948), with the variance that Yang, Sun and Hardin give for
patients (A note on the tests for clustered matched-pair binary data, Biometrical Journal 2010).

The bootstrap draws patients, and measures both classifiers on the same draw.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from scipy import special

from engine.base.config import UserError
from engine.metrics import bootstrap
from engine.metrics.estimate import CONFIDENCE

Array = np.ndarray
_ROUNDING = 1e-12  # of a difference of metrics that is 0


@dataclasses.dataclass(frozen=True)
class McNemar:
    """What two classifiers have right over the same examples.

    Attributes:
        only_a, only_b: how many examples only the first, and only the second has right.
        p_value: exact and two-sided, of the hypothesis that both are right as often.
        statistic: chi-squared with continuity correction; 0 where the two never differ.
        p_corrected: two-sided, by `statistic`.
    """

    only_a: int
    only_b: int
    p_value: float
    statistic: float
    p_corrected: float


@dataclasses.dataclass(frozen=True)
class Difference:
    """A metric of the second classifier minus that of the first.

    Attributes:
        value: None where the metric is undefined for one of them.
        low, high: the percentile limits of the bootstrap; None where there is no value, or where
            nothing differs in any resample.
        p_value: two-sided, by the share of resamples on either side of 0.
        reason: why one of these is None.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    reason: str | None = None


def mcnemar(right_a: Array, right_b: Array, *, groups: Array | None = None) -> McNemar:
    """McNemar's test, exact and with continuity correction.

    Args:
        right_a, right_b: bool[N], which examples each classifier has right.
        groups: int[N], the patient of each example; None: each example is a patient.

    Raises:
        UserError: the arrays do not fit together.
    """
    right_a, right_b = np.asarray(right_a).astype(bool), np.asarray(right_b).astype(bool)
    groups = np.arange(len(right_a)) if groups is None else np.asarray(groups)
    if not right_a.shape == right_b.shape == groups.shape:
        raise UserError(
            f"got arrays of shapes {right_a.shape}, {right_b.shape} and {groups.shape}; expected "
            "one entry per example in each"
        )
    index = np.unique(groups, return_inverse=True)[1].reshape(-1)
    net = np.rint(np.bincount(index, right_b.astype(float) - right_a)).astype(np.int64)
    total, squares = abs(int(net.sum())), int((net**2).sum())
    statistic = max(0, total - 1) ** 2 / squares if squares else 0.0
    return McNemar(
        only_a=int((right_a & ~right_b).sum()),
        only_b=int((right_b & ~right_a).sum()),
        p_value=_flipped_signs(np.abs(net), total),
        statistic=statistic,
        p_corrected=float(special.erfc(np.sqrt(statistic / 2))),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for their number (Holm, A simple sequentially rejective multiple test
    procedure, Scandinavian Journal of Statistics 1979), in the order given."""
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(p_values))
    reached = 0.0
    for rank, place in enumerate(order):
        reached = max(reached, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = reached
    return [float(value) for value in corrected]


class Drawn:
    """A classifier's metrics on its examples, and on draws of their patients.

    Args:
        examples: as the classifier sees them.
        resamples: how many draws.
        seed: the draws are a pure function of it and of the number of patients, and so the same for
            all classifiers of the same examples.
    """

    def __init__(self, examples: bootstrap.Examples, *, resamples: int, seed: int) -> None:
        self.examples, self.resamples, self.seed = examples, resamples, seed

    @functools.cached_property
    def measured(self) -> bootstrap.Values:
        """The metrics on the examples themselves."""
        return bootstrap.measure(self.examples)

    @functools.cached_property
    def spread(self) -> bootstrap.Values:
        """The metrics on the draws; the means excepted."""
        return bootstrap.resample(self.examples, resamples=self.resamples, seed=self.seed)


def difference(first: Drawn, second: Drawn, name: str, place: int | None = None) -> Difference:
    """The difference of a metric, second - first, with its interval over the same draws of patients.

    Args:
        name: one of `bootstrap.Values`, or of `bootstrap.MEANS`.
        place: of more than two classes the one that is meant; None: over all.

    Raises:
        UserError: the two are not of the same examples, or not of the same draws.
    """
    _require_pair(first, second)
    one, other = (float(each.measured.of(name, place)[0]) for each in (first, second))
    value = other - one
    if np.isnan(value):
        return Difference(None, reason="it is undefined for one of the two")
    if first.examples.num_groups < 2:
        return Difference(value, reason="an interval needs two patients or more")
    if name in bootstrap.MEANS:
        drawn = _drawn_means(first, second, name)
    else:
        drawn = second.spread.of(name, place) - first.spread.of(name, place)
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn):
        return Difference(value, reason="it is undefined in every resample")
    if np.ptp(drawn) < _ROUNDING and abs(value) < _ROUNDING:
        return Difference(value, reason="the two do not differ in any resample")
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    beyond = min((drawn <= _ROUNDING).sum(), (drawn >= -_ROUNDING).sum())
    p_value = min(1.0, 2 * (int(beyond) + 1) / (len(drawn) + 1))
    return Difference(value, float(low), float(high), p_value)


def _require_pair(first: Drawn, second: Drawn) -> None:
    one, other = first.examples, second.examples
    same = np.array_equal(one.labels, other.labels) and np.array_equal(one.groups, other.groups)
    if not same or one.scored != other.scored:
        raise UserError(
            f"got {len(one.labels)} and {len(other.labels)} examples whose labels, patients or "
            "classes differ; expected the same examples in the same order"
        )
    if (first.resamples, first.seed) != (second.resamples, second.seed):
        raise UserError(
            f"got {first.resamples} draws of seed {first.seed} and {second.resamples} of seed "
            f"{second.seed}; expected the same draws for both"
        )


def _drawn_means(first: Drawn, second: Drawn, name: str) -> Array:
    """float[R]: the mean difference in each draw."""
    one, other = (
        bootstrap.MEANS[name](each.examples.labels, each.examples.probabilities)
        for each in (first, second)
    )
    drawn, _ = bootstrap.resample_mean(
        other - one, first.examples.groups, resamples=first.resamples, seed=first.seed
    )
    return drawn


def _flipped_signs(sizes: Array, total: int) -> float:
    """How often the sum of `sizes`, int[G], with random signs is as far from 0 as `total`."""
    chances = np.ones(1)  # of the sum s = number of steps from the least sum, each of 2
    for size in np.unique(sizes[sizes > 0]):
        chances = np.convolve(chances, _binomial(int((sizes == size).sum()), int(size)))
    least = int(sizes.sum())
    sums: Array = 2 * np.arange(len(chances)) - least
    return float(min(1.0, chances[np.abs(sums) >= total].sum()))


def _binomial(number: int, size: int) -> Array:
    """float64[number * size + 1]: the chance of k positive signs of `number`, at index k * size."""
    k = np.arange(number + 1)
    logs = special.gammaln(number + 1) - special.gammaln(k + 1) - special.gammaln(number - k + 1)
    chances = np.zeros(number * size + 1)
    chances[::size] = np.exp(logs - number * np.log(2))
    return chances
