"""Metrics of many bootstrap resamples at once, by sums instead of a loop over resamples.

All but the ranking metrics are ratios of sums over examples. So each example is a row of counters,
rows are summed by patient once, and a resample is a weighted sum of patients: one matrix product
makes a thousand of them. The ranking metrics sort the scores once and run cumulative sums over
resampled weights. 2,000 resamples of 5,000 examples take 1.3 s on one core.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

# Probabilities are kept this far from 0 and 1, so that one certain error costs 16 nats, not
# infinity. Keras does the same.
PROBABILITY_FLOOR = 1e-7
# Elements of one block of resampled weights: 32 MB of float64 bound the memory, whatever N is.
BLOCK_ELEMENTS = 4_000_000
# Ranking resamples cost about 30 ns an element on one core: with many classes the number of
# resamples gives way, down to a floor, so that a thousand classes take minutes and not hours.
RANKING_BUDGET = 4_000_000_000
FEWEST_RESAMPLES = 200

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class _Counters:
    """Sums over examples: `common` [..., 4] of one, correct, loss and squared error, and
    `classes` [..., C, 3] of hits, members and calls of each scored class."""

    common: Array
    classes: Array


@dataclasses.dataclass(frozen=True)
class Values:
    """Metrics of R resamples: `overall` name -> [R]; `classes` name -> [R, C]; NaN is undefined."""

    overall: dict[str, Array]
    classes: dict[str, Array]


def measure(labels: Array, probabilities: Array, predicted: Array, scored: Sequence[int]) -> Values:
    """The metrics of the examples themselves, R = 1.

    Args:
        labels, predicted: int64[N].
        probabilities: float64[N] of class 1, or float64[N, K].
        scored: the classes that are measured against the rest: (1,), or all K.
    """
    sums = _by_group(
        _counters(labels, probabilities, predicted, scored), np.zeros(len(labels), np.int64)
    )
    rankings = _rankings_of(labels, probabilities, scored)
    return _metrics_of(sums, _measure(rankings, np.ones((1, len(labels)))))


def resample(
    labels: Array,
    probabilities: Array,
    predicted: Array,
    scored: Sequence[int],
    *,
    groups: Array,
    resamples: int,
    seed: int,
) -> Values:
    """The metrics of R draws of as many groups as there are, with replacement.

    Args:
        groups: int64[N], counted from 0 without gaps; the examples of one are drawn together.
        seed: the draws are a pure function of it.
    """
    random = np.random.default_rng(seed)
    sums = _by_group(_counters(labels, probabilities, predicted, scored), groups)
    num_groups = len(sums.common)
    rankings = _rankings_of(labels, probabilities, scored)
    block = max(1, BLOCK_ELEMENTS // len(labels))
    parts = []
    for start in range(0, resamples, block):
        drawn = _draw_counts(random, min(block, resamples - start), num_groups)
        resampled = _Counters(drawn @ sums.common, np.tensordot(drawn, sums.classes, axes=(1, 0)))
        parts.append(_metrics_of(resampled, _measure(rankings, drawn[:, groups])))
    return Values(
        {name: np.concatenate([p.overall[name] for p in parts]) for name in parts[0].overall},
        {name: np.concatenate([p.classes[name] for p in parts]) for name in parts[0].classes},
    )


def affordable_resamples(asked: int, *, examples: int, classes: int) -> int:
    """How many of the resamples asked for the ranking metrics leave time for."""
    affordable = RANKING_BUDGET // max(1, examples * classes)
    return min(asked, max(FEWEST_RESAMPLES, affordable))


def _counters(
    labels: Array, probabilities: Array, predicted: Array, scored: Sequence[int]
) -> _Counters:
    if probabilities.ndim == 1:
        squared = (probabilities - labels) ** 2
    else:
        squared = ((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(axis=1)
    common = np.stack(
        [
            np.ones(len(labels)),
            predicted == labels,
            cross_entropy(labels, probabilities),
            squared,
        ],
        axis=1,
    )
    member = labels[:, None] == np.asarray(scored)
    called = predicted[:, None] == np.asarray(scored)
    return _Counters(common, np.stack([member & called, member, called], axis=2).astype(float))


def _by_group(counters: _Counters, groups: Array) -> _Counters:
    """The counters summed over the examples of each group: [N, ...] -> [G, ...]."""
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    return _Counters(
        np.add.reduceat(counters.common[order], starts, axis=0),
        np.add.reduceat(counters.classes[order], starts, axis=0),
    )


def _metrics_of(sums: _Counters, rankings: tuple[Array, Array]) -> Values:
    """Metrics from sums [R, ...] and from the areas of each class, 2 x [R, C]."""
    total, correct, loss, squared = np.moveaxis(sums.common, -1, 0)
    hits, members, calls = np.moveaxis(sums.classes, -1, 0)
    others = total[:, None] - members
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity = hits / members
        specificity = (others - (calls - hits)) / others
        classes = {
            "auroc": rankings[0],
            "average_precision": rankings[1],
            "sensitivity": sensitivity,
            "specificity": specificity,
            "precision": hits / calls,
            "recall": sensitivity,
            "f1": 2 * hits / (members + calls),
        }
        overall = {"loss": loss / total, "accuracy": correct / total, "brier": squared / total}
    if hits.shape[1] == 1:
        overall |= {name: values[:, 0] for name, values in classes.items()}
        overall["balanced_accuracy"] = (sensitivity[:, 0] + specificity[:, 0]) / 2
        return Values(overall, {})
    # A class that is there but never called has precision 0 in the average (as scikit-learn has
    # it): leaving it out would reward a model for ignoring it. An absent class is left out.
    macro = {**classes, "precision": np.where(calls > 0, classes["precision"], 0.0)}
    overall |= {name: _mean_of(values, members > 0) for name, values in macro.items()}
    overall["balanced_accuracy"] = overall["sensitivity"]
    return Values(overall, classes)


def _mean_of(values: Array, counted: Array) -> Array:
    """The mean of [R, C] over the classes counted, undefined ones left out; NaN where none is."""
    counted = counted & ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(counted, values, 0.0).sum(axis=1) / counted.sum(axis=1)


class Ranking:
    """One class against the rest, sorted once, measured under many weightings of the examples."""

    def __init__(self, positive: Array, scores: Array) -> None:
        self._order = np.argsort(scores, kind="stable")
        ordered = scores[self._order]
        new_score: Array = np.ones(len(ordered), bool)
        new_score[1:] = ordered[1:] != ordered[:-1]
        self._positive = positive[self._order]
        self._starts = np.flatnonzero(new_score)

    def measure(self, weights: Array) -> tuple[Array, Array]:
        """AUROC and average precision, 2 x float[R], of weights float[R, N]; NaN is undefined."""
        ordered = weights[:, self._order]
        positive = np.add.reduceat(ordered * self._positive, self._starts, axis=1)
        negative = np.add.reduceat(ordered * ~self._positive, self._starts, axis=1)
        positives, negatives = positive.sum(axis=1), negative.sum(axis=1)
        below = negative.cumsum(axis=1) - negative / 2
        called_positive = positive[:, ::-1].cumsum(axis=1)[:, ::-1]
        called = called_positive + negative[:, ::-1].cumsum(axis=1)[:, ::-1]
        precision = called_positive / np.maximum(called, 1e-12)
        with np.errstate(invalid="ignore", divide="ignore"):
            area = (positive * below).sum(axis=1) / (positives * negatives)
            average_precision = (positive * precision).sum(axis=1) / positives
        return area, average_precision


def _rankings_of(labels: Array, probabilities: Array, scored: Sequence[int]) -> list[Ranking]:
    columns = probabilities[:, None] if probabilities.ndim == 1 else probabilities
    return [Ranking(labels == index, columns[:, place]) for place, index in enumerate(scored)]


def _measure(rankings: Sequence[Ranking], weights: Array) -> tuple[Array, Array]:
    areas, precisions = zip(*(ranking.measure(weights) for ranking in rankings), strict=True)
    return np.stack(areas, axis=1), np.stack(precisions, axis=1)


def _draw_counts(random: np.random.Generator, resamples: int, groups: int) -> Array:
    """float64[R, G]: how often each group was drawn among G draws with replacement."""
    drawn = random.integers(groups, size=(resamples, groups))
    drawn += np.arange(resamples)[:, None] * groups
    counts = np.bincount(drawn.reshape(-1), minlength=resamples * groups)
    return counts.reshape(resamples, groups).astype(np.float64)


def cross_entropy(labels: Array, probabilities: Array) -> Array:
    """float64[N], in nats: -log of the probability that each example's own class was given."""
    if probabilities.ndim == 1:
        own = np.where(labels == 1, probabilities, 1 - probabilities)
    else:
        own = probabilities[np.arange(len(labels)), labels]
    return -np.log(np.clip(own, PROBABILITY_FLOOR, 1.0))
