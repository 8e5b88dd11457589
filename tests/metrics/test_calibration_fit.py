"""Slope and intercept are those of a logistic regression, with variances between patients."""

import numpy as np
import pytest
from scipy import special

from engine.metrics import calibration_fit


def draw(count=4000, *, slope=1.0, shift=0.0, seed=0):
    """Outcomes whose true log-odds are `shift + slope * log_odds`."""
    random = np.random.default_rng(seed)
    log_odds = random.normal(0, 1.5, count)
    return random.random(count) < special.expit(shift + slope * log_odds), log_odds


@pytest.mark.parametrize(("slope", "shift"), [(1.0, 0.0), (0.5, 1.0), (2.0, -0.7)])
def test_what_was_done_to_probabilities_is_found_within_the_limits(slope, shift):
    positive, log_odds = draw(slope=slope, shift=shift)
    found = calibration_fit.fit(positive, log_odds, np.arange(len(positive)))
    assert found.slope.low < slope < found.slope.high
    assert found.intercept.low < shift < found.intercept.high
    assert found.slope.high - found.slope.low < 0.4


def test_the_variance_of_independent_images_is_that_of_the_information():
    positive, log_odds = draw()
    found = calibration_fit.fit(positive, log_odds, np.arange(len(positive)))
    given = special.expit(found.intercept.value + found.slope.value * log_odds)
    columns = np.stack([np.ones(len(log_odds)), log_odds], axis=1)
    information = columns.T @ (columns * (given * (1 - given))[:, None])
    expected = 1.96 * np.sqrt(np.diag(np.linalg.inv(information)))
    for estimate, half in ((found.intercept, expected[0]), (found.slope, expected[1])):
        assert (estimate.high - estimate.low) / 2 == pytest.approx(half, rel=0.06)


def test_copies_of_images_of_a_patient_are_no_more_information():
    positive, log_odds = draw(500)
    once = calibration_fit.fit(positive, log_odds, np.arange(500))
    copied = calibration_fit.fit(
        np.repeat(positive, 4), np.repeat(log_odds, 4), np.repeat(np.arange(500), 4)
    )
    for name in ("slope", "intercept", "in_the_large"):
        one, four = getattr(once, name), getattr(copied, name)
        assert (four.value, four.low, four.high) == pytest.approx(
            (one.value, one.low, one.high), abs=1e-8
        )


def test_the_corrected_residuals_are_those_of_the_full_matrices():
    """Mancl and DeRouen's formula as it is written, patient by patient."""
    positive, log_odds = draw(60)
    groups = np.arange(60) // 3
    found = calibration_fit.fit(positive, log_odds, groups)
    columns = np.stack([np.ones(60), log_odds], axis=1)
    given = special.expit(columns @ [found.intercept.value, found.slope.value])
    spread = given * (1 - given)
    inverse = np.linalg.inv(columns.T @ (columns * spread[:, None]))
    meat = np.zeros((2, 2))
    for patient in range(20):
        own = groups == patient
        hat = (columns[own] * spread[own, None]) @ inverse @ columns[own].T
        residual = np.linalg.solve(np.eye(3) - hat, (positive - given)[own])
        score = columns[own].T @ residual
        meat += np.outer(score, score)
    deviations = np.sqrt(np.diag(inverse @ meat @ inverse))
    half = (found.slope.high - found.slope.low) / 2
    assert half == pytest.approx(deviations[1] * 2.093, rel=1e-3)  # Student's t of 19


@pytest.mark.parametrize(
    ("positive", "log_odds", "why"),
    [
        ([0, 0, 1, 1], [-2, -1, 1, 2], "separated"),
        ([1, 1, 0, 0], [-2, -1, 1, 2], "separated"),
        ([0, 0, 1, 1], [-1, 0, 0, 1], "separated"),
        ([0, 1, 0, 1], [0.3, 0.3, 0.3, 0.3], "alike"),
        ([1, 1, 1, 1], [-2, -1, 1, 2], "both classes"),
    ],
)
def test_where_no_slope_fits_best_the_reason_is_given(positive, log_odds, why):
    positive = np.array(positive, bool)
    found = calibration_fit.fit(positive, np.array(log_odds, float), np.arange(4))
    assert found.slope.value is found.intercept.value is None
    assert why in found.slope.reason
    assert (found.in_the_large.value is None) == bool(positive.all())


def test_a_single_patient_has_values_without_limits():
    positive, log_odds = draw(100)
    found = calibration_fit.fit(positive, log_odds, np.zeros(100, np.int64))
    assert found.slope.value is not None and found.slope.low is None
    assert "two patients" in found.slope.reason


def test_infinite_log_odds_and_a_patient_who_decides_alone_do_no_harm():
    positive = np.array([0, 1, 0, 1] * 5, bool)
    log_odds = np.array([-np.inf, np.inf, 0.5, -0.5] * 5)
    found = calibration_fit.fit(positive, log_odds, np.arange(20))
    assert np.isfinite(found.slope.value) and found.slope.value < 0.1
    alone = calibration_fit.fit(positive, log_odds, np.array([0] * 19 + [1]))
    assert np.isfinite(alone.slope.value)


def sure(size, *, wrong=(3, 3), count=200):
    """Images called with log-odds of +-size, some of each class wrongly."""
    positive = np.arange(count) % 2 == 1
    log_odds = np.where(positive, size, -size).astype(float)
    for label, number in enumerate(wrong):
        log_odds[np.flatnonzero(positive == bool(label))[:number]] *= -1
    return positive, log_odds


@pytest.mark.parametrize("size", [1.0, 3.0, 6.0, 9.0, 15.0])
@pytest.mark.parametrize("wrong", [(3, 3), (4, 2), (0, 6), (6, 0)])
def test_in_the_large_as_many_positives_are_expected_as_there_are(size, wrong):
    positive, log_odds = sure(size, wrong=wrong)
    found = calibration_fit.fit(positive, log_odds, np.arange(200)).in_the_large
    expected = special.expit(log_odds + found.value).sum()
    assert expected == pytest.approx(positive.sum(), abs=1e-9)
    if found.low is not None:
        assert 0.01 < found.high - found.low < 200


@pytest.mark.parametrize("size", [20.0, 40.0, 60.0, 99.0, np.inf])
def test_of_very_sure_models_no_interval_pretends_to_know(size):
    found = calibration_fit.fit(*sure(size), np.arange(200))
    large = found.in_the_large
    assert large.low is large.high is None and "too extreme" in large.reason
    assert large.value is None or large.value == pytest.approx(0, abs=1e-6)
    assert 0 < found.slope.low < found.slope.high < 1
    # With more errors of one kind than of the other there is an intercept that makes up for them.
    positive, log_odds = sure(size, wrong=(4, 2))
    shifted = calibration_fit.fit(positive, log_odds, np.arange(200)).in_the_large
    assert shifted.value < -10 and shifted.low < shifted.value < shifted.high
