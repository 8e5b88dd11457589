"""DeLong's intervals and tests equal published ones, and the definition written out in loops."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from engine.base.config import UserError
from engine.metrics import delong, intervals
from tests.helpers import asah

# What pROC 1.18 finds, as its own tests state it (tests/testthat: test-roc.test.R, test-cov.R,
# test-ci.auc.R, helper-deLongPlacementsCpp-expected.R).
AREAS = {"wfns": 0.823678861788618, "s100b": 0.731368563685637, "ndka": 0.611957994579946}
PROC_TESTS = [
    ("wfns", "s100b", 2.20898359144091, 0.0271757822291882, 0.0104061769564846, 0.174214419249478),
    ("wfns", "ndka", 2.79777591868904, 0.00514557970691098, 0.0634011709339876, 0.3600405634833566),
    ("ndka", "s100b", -1.39077002573558, 0.164295175223054, -0.2876917446341914, 0.04887060642280),
]  # fmt: skip
PROC_COVARIANCES = {
    ("wfns", "ndka"): -0.000532967856762438,
    ("ndka", "s100b"): -0.000756164938056579,
    ("s100b", "wfns"): 0.00119615567376754,
}
MARKERS = {"wfns": asah.WFNS, "s100b": asah.S100B, "ndka": asah.NDKA}


def written_out(positive, scores, groups):
    """Obuchowski's variance of an area, by loops over patients and pairs."""
    pairs = [[(p > n) + (p == n) / 2 for n in scores[~positive]] for p in scores[positive]]
    above, below = np.mean(pairs, axis=1), np.mean(pairs, axis=0)
    area, count, others = np.mean(above), positive.sum(), (~positive).sum()
    of_positive, of_negative = groups[positive], groups[~positive]
    squares, mixed = [0.0, 0.0], 0.0
    for patient in np.unique(groups):
        own, own_others = of_positive == patient, of_negative == patient
        first = above[own].sum() - own.sum() * area
        second = below[own_others].sum() - own_others.sum() * area
        squares = [squares[0] + first**2, squares[1] + second**2]
        mixed += first * second
    n, n1, n0 = (len(np.unique(g)) for g in (groups, of_positive, of_negative))
    return area, (
        n1 / (n1 - 1) * squares[0] / count**2
        + n0 / (n0 - 1) * squares[1] / others**2
        + 2 * n / (n - 1) * mixed / (count * others)
    )


@pytest.mark.parametrize(("one", "other", "z", "p", "low", "high"), PROC_TESTS)
def test_the_paired_test_is_the_published_one(one, other, z, p, low, high):
    found = delong.paired(asah.POOR, MARKERS[other], MARKERS[one])
    assert found.difference == pytest.approx(AREAS[one] - AREAS[other], abs=1e-13)
    assert (found.z, found.p_value) == pytest.approx((z, p), rel=1e-10)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-10)
    turned = delong.paired(asah.POOR, MARKERS[one], MARKERS[other])
    assert (turned.z, turned.p_value) == pytest.approx((-z, p), rel=1e-10)


def test_areas_covariances_and_an_interval_are_the_published_ones():
    names = list(MARKERS)
    matrix = delong.covariance(asah.POOR, np.stack(list(MARKERS.values())))
    for (one, other), value in PROC_COVARIANCES.items():
        assert matrix[names.index(one), names.index(other)] == pytest.approx(value, rel=1e-10)
        assert matrix[names.index(other), names.index(one)] == pytest.approx(value, rel=1e-10)
    found = delong.auroc(asah.POOR, asah.NDKA)
    assert (found.low, found.value, found.high) == pytest.approx(
        (0.501244999271703, 0.611957994579946, 0.722670989888189), abs=1e-12
    )
    for name, scores in MARKERS.items():
        assert delong.auroc(asah.POOR, scores).value == pytest.approx(AREAS[name], abs=1e-13)


def test_placements_of_ties_are_the_published_ones():
    placed = delong.placements(asah.POOR, asah.WFNS)
    assert placed[asah.POOR][:4] == pytest.approx(
        [0.8125, 0.652777777777778, 0.888888888888889, 0.972222222222222], abs=1e-13
    )
    assert placed[~asah.POOR][3:7] == pytest.approx(
        [0.975609756097561, 0.219512195121951, 0.975609756097561, 0.804878048780488], abs=1e-13
    )


@pytest.mark.parametrize("images", [1, 3])
def test_with_patients_the_variance_is_obuchowskis(images):
    random = np.random.default_rng(0)
    groups = np.arange(120) // images
    positive = random.random(120) < 0.4
    scores = np.round(positive + random.normal(size=120) + random.normal(size=120)[groups], 1)
    area, variance = written_out(positive, scores, groups)
    found = delong.auroc(positive, scores, groups=groups)
    assert found.value == pytest.approx(area) == reference.roc_auc_score(positive, scores)
    reach = stats.norm.ppf(0.975) * np.sqrt(variance)
    assert (found.low, found.high) == pytest.approx((area - reach, area + reach), abs=1e-12)
    if images == 1:
        assert delong.auroc(positive, scores) == found


def test_each_patients_images_copied_change_nothing():
    groups = np.repeat(np.arange(113), 3)
    positive, one, other = (np.repeat(a, 3) for a in (asah.POOR, asah.WFNS, asah.S100B))
    copied = delong.paired(positive, one, other, groups=groups)
    alone = delong.paired(asah.POOR, asah.WFNS, asah.S100B)
    assert copied.p_value == pytest.approx(alone.p_value, rel=1e-9)
    assert copied.low == pytest.approx(alone.low, rel=1e-9)
    assert delong.paired(positive, one, other).p_value < alone.p_value / 10


def test_scores_that_rank_alike_do_not_differ():
    found = delong.paired(asah.POOR, asah.NDKA, np.log(asah.NDKA))
    assert found == delong.PairedAreas(0.0, 0.0, 0.0, 1.0, 0.0)


def test_where_no_variance_can_be_seen_the_reason_says_so():
    perfect = np.array([0.1, 0.2, 0.8, 0.9])
    positive = perfect > 0.5
    found = delong.paired(positive, perfect, -perfect)
    assert (found.difference, found.p_value) == (-1.0, None)
    assert "variance is 0" in found.reason
    few = delong.auroc(np.array([True, False, False]), np.array([0.5, 0.4, 0.6]))
    assert (few.value, few.low) == (0.5, None)
    assert "two patients" in few.reason
    assert delong.paired(np.array([True, False, False]), perfect[:3], -perfect[:3]).p_value is None


def test_limits_stay_within_0_and_1():
    random = np.random.default_rng(3)
    positive = np.arange(40) < 20
    found = delong.auroc(positive, positive + random.normal(scale=0.3, size=40))
    assert 0.9 < found.low < found.value < 1.0 == found.high


@pytest.mark.parametrize(
    ("positive", "scores", "wording"),
    [
        ([True, True], [0.1, 0.2], "2 positive of 2 examples"),
        ([True, False], [0.1, 0.2, 0.3], "shapes"),
        ([True, False], [0.1, np.nan], "nan"),
    ],
)
def test_what_does_not_fit_together_is_refused(positive, scores, wording):
    with pytest.raises(UserError, match=wording):
        delong.auroc(np.array(positive), np.array(scores))


def test_delongs_interval_and_the_bounded_one_agree_away_from_1():
    random = np.random.default_rng(5)
    positive = random.random(3000) < 0.5
    scores = positive + random.normal(size=3000)
    found = delong.auroc(positive, scores)
    bounded = intervals.area(positive, scores, np.arange(3000))
    assert (found.low, found.high) == pytest.approx(bounded, abs=1e-3)


def test_intervals_of_a_difference_hold_the_truth_as_often_as_they_say():
    random = np.random.default_rng(7)
    truth = stats.norm.cdf(1.5 / np.sqrt(2)) - stats.norm.cdf(1.0 / np.sqrt(2))
    held = 0
    for _ in range(400):
        positive = np.arange(120) < 60
        shared = random.normal(size=120)
        first = positive + 0.8 * shared + 0.6 * random.normal(size=120)
        second = 1.5 * positive + 0.8 * shared + 0.6 * random.normal(size=120)
        found = delong.paired(positive, first, second)
        held += found.low <= truth <= found.high
    assert 0.92 <= held / 400 <= 0.975
