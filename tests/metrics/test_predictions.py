"""Outputs become one form; log-odds keep the order that float32 probabilities lose."""

import numpy as np
import pytest
from scipy import special

from engine.metrics import predictions


def test_log_odds_of_a_sigmoid_are_its_logits():
    logits = np.array([[-90.0], [0.5], [40.0]], np.float32)
    np.testing.assert_array_equal(predictions.log_odds(logits), logits[:, 0].astype(float))


@pytest.mark.parametrize("classes", [3, 7])
def test_log_odds_of_a_softmax_are_those_of_its_probabilities(classes):
    logits = np.random.default_rng(0).normal(size=(50, classes)) * 3
    expected = special.logit(special.softmax(logits, axis=1))
    np.testing.assert_allclose(predictions.log_odds(logits), expected, rtol=1e-9, atol=1e-9)


def test_two_columns_are_one_and_the_same_as_their_difference():
    logits = np.random.default_rng(1).normal(size=(20, 2)) * 30
    difference = logits[:, 1] - logits[:, 0]
    np.testing.assert_allclose(predictions.log_odds(logits), difference, rtol=1e-9, atol=1e-9)


def test_what_probabilities_tie_log_odds_tell_apart():
    logits = np.zeros((30, 3), np.float32)
    logits[:, 0] = np.arange(30) * 10
    probabilities = special.softmax(logits, axis=1)
    assert len(np.unique(probabilities[:, 0])) < 10
    assert (np.diff(predictions.log_odds(logits)[:, 0]) > 0).all()


def test_a_probability_of_nothing_has_infinite_log_odds_and_none_is_nan():
    odds = predictions.log_odds(np.array([[0.0, -np.inf, -np.inf]]))
    np.testing.assert_array_equal(odds, [[np.inf, -np.inf, -np.inf]])
