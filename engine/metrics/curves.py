"""How well scores rank: the area under the ROC curve, average precision, and both curves.

labels  int or bool [N], whether an example is positive
scores  float[N], larger for the positive; only their order counts
"""

import numpy as np

Array = np.ndarray


def auroc(labels: Array, scores: Array) -> float | None:
    """The chance that a positive scores above a negative, ties counting half (Mann-Whitney).

    Args:
        labels: int or bool [N].
        scores: float[N].

    Returns:
        The area under the ROC curve, exact with ties; None where a class is missing.
    """
    positive = np.asarray(labels).astype(bool)
    area, _ = Ranking(positive, np.asarray(scores)).measure(np.ones((1, len(positive))))
    return None if np.isnan(area[0]) else float(area[0])


def mean_auroc(labels: Array, probabilities: Array) -> float | None:
    """AUROC of float[N], or the mean over classes of float[N, K], each against the rest.

    Classes for which it is not defined are left out; None where it is for none.
    """
    if probabilities.ndim == 1:
        return auroc(labels, probabilities)
    each = [auroc(labels == k, probabilities[:, k]) for k in range(probabilities.shape[1])]
    defined = [value for value in each if value is not None]
    return float(np.mean(defined)) if defined else None


def auroc_within(labels: Array, scores: Array, strata: Array) -> float | None:
    """The chance that a positive scores above a negative of the same stratum (int[N]), over all such pairs.

    It is the mean of the strata's AUROC, weighted by their pairs. None where no stratum holds both classes.
    """
    right = pairs = 0.0
    for stratum in np.unique(strata):
        own = strata == stratum
        area, positives = auroc(labels[own], scores[own]), int(np.sum(labels[own] != 0))
        if area is not None:
            count = positives * (int(own.sum()) - positives)
            right, pairs = right + area * count, pairs + count
    return right / pairs if pairs else None


def roc_curve(labels: Array, scores: Array) -> tuple[Array, Array, Array]:
    """False positive rate, true positive rate and threshold, float[G + 1], from strict to lax.

    The first point calls nothing positive; its threshold is infinite. Rates of an absent class are
    NaN.
    """
    cuts, above_positive, above_negative = cut_counts(np.asarray(labels).astype(np.int64), scores)
    with np.errstate(invalid="ignore"):
        true_rate = above_positive[::-1] / above_positive[0]
        false_rate = above_negative[::-1] / above_negative[0]
    return false_rate, true_rate, np.concatenate([[np.inf], cuts[::-1]])


def mean_roc_curve(labels: Array, scores: Array) -> tuple[Array, Array]:
    """The mean over classes of their ROC curves, each against the rest: float[G] and float[G].

    At each false positive rate it is the mean of the true positive rates, so that the area below it is
    the mean of the classes' areas. Classes that are missing are left out.

    Args:
        labels: int[N].
        scores: float[N, K].
    """
    found = []
    for k in range(scores.shape[1]):
        if 0 < (labels == k).sum() < len(labels):
            false_rate, true_rate, _ = roc_curve(labels == k, scores[:, k])
            found.append((false_rate, true_rate))
    if not found:
        return np.full(2, np.nan), np.full(2, np.nan)
    grid = np.unique(np.concatenate([false_rate for false_rate, _ in found]))
    # Each curve below and above its vertical steps, where it has two values.
    low, high = (
        np.mean([_at(grid, *curve, side=side) for curve in found], axis=0)
        for side in ("left", "right")
    )
    return np.repeat(grid, 2), np.stack([low, high], axis=1).reshape(-1)


def _at(grid: Array, x: Array, y: Array, *, side: str) -> Array:
    """A curve of non-decreasing x and y at the places of a grid, before or after its vertical steps."""
    before = np.searchsorted(x, grid, "left")  # the first point at or beyond the place
    after = np.searchsorted(x, grid, "right") - 1  # the last point at or before it
    on_point = before <= after
    own = y[before] if side == "left" else y[np.maximum(after, 0)]
    return np.where(on_point, own, np.interp(grid, x, y))


def precision_recall_curve(labels: Array, scores: Array) -> tuple[Array, Array, Array]:
    """Precision, recall and threshold, float[G + 1], from strict to lax; the first is (1, 0)."""
    cuts, above_positive, above_negative = cut_counts(np.asarray(labels).astype(np.int64), scores)
    called = (above_positive + above_negative)[::-1]
    with np.errstate(invalid="ignore"):
        precision = np.where(called > 0, above_positive[::-1] / np.maximum(called, 1), 1.0)
        recall = above_positive[::-1] / above_positive[0]
    return precision, recall, np.concatenate([[np.inf], cuts[::-1]])


def cut_counts(labels: Array, probabilities: Array) -> tuple[Array, Array, Array]:
    """Sorted distinct scores [G], and how many of each class lie at or above each cut [G + 1].

    Cut `g` calls the scores from index `g` on positive: cut 0 all, cut G none.
    """
    scores, index = np.unique(probabilities, return_inverse=True)
    counts: Array = np.zeros((2, len(scores) + 1), np.int64)
    np.add.at(counts, (labels, index.reshape(-1)), 1)
    above = counts[:, ::-1].cumsum(axis=1)[:, ::-1]
    return scores, above[1], above[0]


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
        positive, negative = self.by_score(weights)
        positives, negatives = positive.sum(axis=1), negative.sum(axis=1)
        below = negative.cumsum(axis=1) - negative / 2
        called_positive = positive[:, ::-1].cumsum(axis=1)[:, ::-1]
        called = called_positive + negative[:, ::-1].cumsum(axis=1)[:, ::-1]
        precision = called_positive / np.maximum(called, 1e-12)
        with np.errstate(invalid="ignore", divide="ignore"):
            area = (positive * below).sum(axis=1) / (positives * negatives)
            average_precision = (positive * precision).sum(axis=1) / positives
        return area, average_precision

    def by_score(self, weights: Array) -> tuple[Array, Array]:
        """The weight of positives and of negatives at each distinct score, ascending, 2 x float[R, S]."""
        ordered = weights[:, self._order]
        positive = np.add.reduceat(ordered * self._positive, self._starts, axis=1)
        negative = np.add.reduceat(ordered * ~self._positive, self._starts, axis=1)
        return positive, negative
