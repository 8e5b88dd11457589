"""A temperature undoes sharpening, is finite on separated data, and a prevalence is Bayes' rule."""

import json
import math

import numpy as np
import pytest
from labelled_scores import multiclass_data
from scipy import special

from engine.base.config import UserError
from engine.base.schema import SchemaError
from engine.metrics import predictions, temperature
from engine.metrics.temperature import Calibration


def honest(count=20_000, seed=0):
    """Labels, and log-odds that are calibrated."""
    random = np.random.default_rng(seed)
    log_odds = random.normal(0.7, 2, count)
    return (random.random(count) < special.expit(log_odds)).astype(np.int64), log_odds


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
def test_the_temperature_is_how_much_log_odds_were_sharpened(sharpness):
    labels, log_odds = honest()
    fitted = temperature.fit_temperature(labels, log_odds * sharpness)
    assert fitted == pytest.approx(sharpness, rel=0.05)
    calibrated = Calibration(fitted).log_odds(log_odds * sharpness)
    np.testing.assert_allclose(calibrated, log_odds * sharpness / fitted)


def test_of_many_classes_the_largest_stays_and_probabilities_sum_to_one():
    labels, probabilities = multiclass_data(4000)
    log_odds = special.logit(probabilities)
    once = temperature.fit_temperature(labels, log_odds)
    sharper = Calibration(0.5).log_odds(log_odds)
    given = predictions.probabilities(sharper)
    np.testing.assert_allclose(given.sum(axis=1), 1)
    np.testing.assert_array_equal(given.argmax(axis=1), probabilities.argmax(axis=1))
    assert temperature.fit_temperature(labels, sharper) == pytest.approx(2 * once, rel=0.01)


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_separated_examples_are_as_sure_as_so_many_allow(scale):
    labels = np.repeat([0, 1], 98)
    fitted = temperature.fit_temperature(labels, np.where(labels == 1, 4.0, -4.0) * scale)
    assert special.expit(4 * scale / fitted) == pytest.approx(99 / 100, abs=1e-4)


def test_a_score_that_says_nothing_or_the_opposite_gets_the_highest_temperature():
    labels, log_odds = honest(500)
    assert temperature.fit_temperature(labels, -log_odds) == temperature.HIGHEST_TEMPERATURE
    sure = np.where(np.repeat([0, 1], 500) == 1, 1e-3, -1e-3)
    assert (
        temperature.fit_temperature(np.repeat([0, 1], 500), sure) == temperature.LOWEST_TEMPERATURE
    )
    unbounded = np.where(labels == 1, np.inf, -np.inf)
    assert math.isfinite(temperature.fit_temperature(labels, unbounded))


def test_how_frequent_classes_are_does_not_change_a_temperature_fitted_to_the_prior():
    labels, log_odds = honest(100_000)
    balanced = log_odds - math.log(labels.mean() / (1 - labels.mean()))
    kept = (labels == 0) | (np.arange(len(labels)) % 10 == 0)
    fit = temperature.fit_temperature
    all_of_them = fit(labels, 2 * balanced, prior=(0.5, 0.5))
    few_positives = fit(labels[kept], 2 * balanced[kept], prior=(0.5, 0.5))
    assert all_of_them == pytest.approx(2, rel=0.05)
    assert few_positives == pytest.approx(all_of_them, rel=0.05)


def test_a_prevalence_is_bayes_rule_and_moves_the_threshold_along():
    calibration = Calibration(2.0, prior=(0.25, 0.75))
    own = np.linspace(-8, 8, 41)
    before = predictions.probabilities(calibration.log_odds(own))
    after = predictions.probabilities(calibration.log_odds(own, (0.9, 0.1)))
    positive, negative = before / 0.75 * 0.1, (1 - before) / 0.25 * 0.9
    np.testing.assert_allclose(after, positive / (positive + negative))
    moved = calibration.threshold(0.6, (0.9, 0.1))
    np.testing.assert_array_equal(after >= moved, before >= 0.6)
    own_probabilities = special.expit(own)
    np.testing.assert_array_equal(
        own_probabilities >= calibration.own_threshold(0.6), before >= 0.6
    )
    same = calibration.log_odds(own, calibration.prior)
    np.testing.assert_allclose(same, calibration.log_odds(own))


def test_a_prevalence_of_many_classes_is_bayes_rule():
    _, probabilities = multiclass_data(50)
    prior, prevalence = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.4, 0.3, 0.2, 0.1])
    calibration = Calibration(1.0, prior=tuple(prior))
    found = predictions.probabilities(
        calibration.log_odds(special.logit(probabilities), tuple(prevalence))
    )
    expected = probabilities * prevalence / prior
    np.testing.assert_allclose(found, expected / expected.sum(axis=1, keepdims=True))


def test_two_classes_as_two_logits_or_as_one_are_alike():
    labels, log_odds = honest(300)
    two = predictions.log_odds(np.stack([np.zeros_like(log_odds), log_odds], axis=1))
    np.testing.assert_allclose(two, log_odds)
    one = temperature.fit_temperature(labels, log_odds)
    assert temperature.fit_temperature(labels, two) == pytest.approx(one)


def test_a_calibration_comes_back_from_json_and_what_is_none_is_refused():
    for calibration in (Calibration(), Calibration(1.7, prior=(0.5, 0.25, 0.25))):
        assert Calibration.from_json(json.loads(json.dumps(calibration.to_json()))) == calibration
    for changes in ({"temperature": 0}, {"temperature": True}, {"prior": [0.5]}, {"prior": [1, 1]}):
        with pytest.raises(SchemaError, match=next(iter(changes))):
            Calibration.from_json({**Calibration().to_json(), **changes})


def test_prevalences_are_shares_of_the_runs_classes():
    assert temperature.prevalence_of("0.25", ("a", "b")) == (0.75, 0.25)
    assert temperature.prevalence_of("0.5,0.3,0.2", ("a", "b", "c")) == pytest.approx(
        (0.5, 0.3, 0.2)
    )
    for text in ("", "0", "1", "1.2", "nan", "0.5,0.6", "10%", "0.5,0.5,"):
        with pytest.raises(UserError, match=r"--prevalence: got .*, expected"):
            temperature.prevalence_of(text, ("a", "b"))
    with pytest.raises(UserError, match="3 numbers, for a, b, c"):
        temperature.prevalence_of("0.1", ("a", "b", "c"))
    with pytest.raises(UserError, match="--resume"):
        Calibration().log_odds(np.zeros(3), (0.5, 0.5))


def test_a_prevalence_equal_to_the_prior_leaves_a_threshold_as_it_is_to_the_bit():
    calibration = Calibration(1.7, prior=(0.3, 0.7))
    for value in np.linspace(0.01, 0.99, 50):
        assert calibration.threshold(float(value), (0.3, 0.7)) == value
