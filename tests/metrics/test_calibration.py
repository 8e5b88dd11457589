"""Reliability tells honest probabilities from boastful ones."""

import numpy as np
from scipy import special

from engine.metrics import calibration


def test_calibrated_probabilities_have_a_small_error_and_sharpened_ones_a_large_one():
    random = np.random.default_rng(0)
    probabilities = random.random(20_000)
    labels = (random.random(20_000) < probabilities).astype(np.int64)
    honest = calibration.reliability_curve(labels, probabilities)
    sharpened = special.expit(special.logit(probabilities) / 0.3)
    boastful = calibration.reliability_curve(labels, sharpened)
    assert honest.counts.sum() == 20_000
    assert honest.expected_calibration_error < 0.015 < 0.1 < boastful.expected_calibration_error


def test_probabilities_of_one_fall_into_the_last_bin():
    curve = calibration.reliability_curve(np.array([1, 1]), np.array([1.0, 0.95]))
    assert curve.counts[-1] == 2


def test_every_bin_that_holds_images_has_an_interval_over_patients():
    labels, probabilities = np.array([0] * 30 + [1] * 30), np.repeat([0.02, 0.98], 30)
    alone = calibration.reliability_curve(labels, probabilities)
    groups = np.arange(60) // 3
    by_patient = calibration.reliability_curve(labels, probabilities, groups=groups)
    assert (alone.low[0], alone.high[-1]) == (0, 1)
    assert 0.05 < alone.high[0] < by_patient.high[0] < 0.4
    assert 0.6 < by_patient.low[-1] < alone.low[-1] < 0.95
    assert np.isnan(alone.low[1:-1]).all()
    first, last = by_patient.to_json()
    assert (first["low"], first["observed_low"], last["observed_high"]) == (0, 0, 1)
