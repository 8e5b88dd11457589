"""Intervals hold the truth as often as they say, near 1 too; `benchmarks.coverage` simulates more of it."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from benchmarks import coverage
from engine.metrics import intervals

LEAST = 0.93


def least_coverage(**grid):
    cells = list(coverage.simulate(**grid))
    return min(cells, key=lambda cell: cell.held), cells


@pytest.mark.parametrize(
    ("patients", "truths"), [([270], [0.9999, 0.998, 0.989]), ([60], [0.986])], ids=["270", "60"]
)
def test_near_one_the_truth_is_held(patients, truths):
    # Percentiles of a bootstrap hold it in .01 to .91 of these.
    worst, _ = least_coverage(repeats=300, patients=patients, images=[2], truths=truths)
    assert worst.held >= LEAST, worst


@pytest.mark.slow
def test_the_truth_is_held_from_30_to_1000_patients_and_085_to_09999():
    worst, cells = least_coverage(
        repeats=1500, patients=[30, 120, 1000], images=[1, 3], truths=[0.85, 0.986, 0.9999]
    )
    assert len(cells) == 5 * 3 * 2 * 3
    assert worst.held >= LEAST, worst


def test_of_independent_images_a_proportion_has_the_limits_of_clopper_and_pearson():
    for right, number in ((9, 10), (0, 10), (10, 10), (93, 120)):
        hits = np.repeat([1.0, 0.0], [right, number - right])
        low, high = intervals.proportion(hits, np.ones(number))
        exact = stats.binomtest(right, number).proportion_ci(method="exact")
        assert (low, high) == pytest.approx((exact.low, exact.high), abs=1e-12)


def test_images_that_are_copies_add_nothing():
    random = np.random.default_rng(0)
    hits = (random.random(200) < 0.9).astype(float)
    alone = intervals.proportion(hits, np.ones(200))
    copied = intervals.proportion(3 * hits, np.full(200, 3.0))
    np.testing.assert_allclose(copied, alone, atol=2e-3)
    perfect = intervals.proportion(np.full(200, 3.0), np.full(200, 3.0))
    np.testing.assert_allclose(perfect, intervals.proportion(np.ones(200), np.ones(200)), atol=1e-3)


def test_limits_of_a_proportion_mirror_with_right_and_wrong_and_nothing_has_none():
    random = np.random.default_rng(1)
    counts = random.integers(0, 4, (5, 40)).astype(float)
    hits = random.binomial(counts.astype(int), 0.8).astype(float)
    low, high = intervals.proportion(hits, counts)
    mirrored_low, mirrored_high = intervals.proportion(counts - hits, counts)
    np.testing.assert_allclose([1 - high, 1 - low], [mirrored_low, mirrored_high], atol=1e-12)
    assert np.isnan(intervals.proportion(np.zeros(3), np.zeros(3))).all()


def test_the_area_between_many_images_has_delongs_limits():
    random = np.random.default_rng(2)
    positive = random.random(4000) < 0.4
    scores = random.normal(1.2 * positive).round(1)  # with ties
    low, high = intervals.area(positive, scores, np.arange(4000))
    placements = [
        [
            (scores[~positive] < s).mean() + (scores[~positive] == s).mean() / 2
            for s in scores[positive]
        ],
        [
            (scores[positive] > s).mean() + (scores[positive] == s).mean() / 2
            for s in scores[~positive]
        ],
    ]
    deviation = np.sqrt(sum(np.var(each, ddof=1) / len(each) for each in placements))
    area = reference.roc_auc_score(positive, scores)
    assert low == pytest.approx(area - 1.96 * deviation, abs=1e-3)
    assert high == pytest.approx(area + 1.96 * deviation, abs=1e-3)


def test_areas_are_mirrored_with_the_classes_and_patients_may_be_of_both():
    random = np.random.default_rng(3)
    positive, scores = random.random(90) < 0.5, random.normal(size=90)
    groups = np.arange(90) // 3
    low, high = intervals.area(positive, scores, groups)
    assert intervals.area(~positive, scores, groups) == pytest.approx((1 - high, 1 - low))
    assert intervals.area(positive, 7 * scores - 2, groups) == pytest.approx((low, high))


def test_the_limits_of_a_skewed_mean_reach_further_up():
    random = np.random.default_rng(4)
    held = 0
    for _ in range(300):
        losses = random.exponential(size=40) ** 2 / 2
        drawn = random.integers(0, 40, (500, 40))
        low, high = intervals.corrected_percentiles(
            float(losses.mean()), losses[drawn].mean(axis=1), (losses - losses.mean()) / 40
        )
        assert low <= losses.mean() <= high
        held += low <= 1 <= high
    # Symmetric percentiles hold it in .82 of these.
    assert held / 300 > 0.84


def test_a_mean_that_never_varies_is_its_own_interval():
    assert intervals.corrected_percentiles(0.7, np.full(200, 0.7), np.zeros(9)) == (0.7, 0.7)
