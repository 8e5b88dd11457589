"""Likelihood ratios and predictive values are Bayes' rule, with limits that hold where a rate is 0 or 1."""

import math

import numpy as np
import pytest

from engine.metrics import intervals, likelihood_ratios
from engine.metrics.estimate import Estimate


def rate(hits, count):
    low, high = intervals.clopper_pearson(hits / count, count)
    return Estimate(hits / count, float(low), float(high))


def test_predictive_values_are_bayes_rule():
    ppv, npv = likelihood_ratios.predictive_values(rate(90, 100), rate(80, 100), 0.1)
    assert ppv.value == pytest.approx(0.09 / (0.09 + 0.18))
    assert npv.value == pytest.approx(0.72 / (0.72 + 0.01))
    for estimate in (ppv, npv):
        assert 0 < estimate.low < estimate.value < estimate.high < 1


def test_at_the_prevalence_of_the_set_they_are_those_that_are_counted():
    ppv, npv = likelihood_ratios.predictive_values(rate(45, 50), rate(120, 150), 0.25)
    assert ppv.value == pytest.approx(45 / (45 + 30))
    assert npv.value == pytest.approx(120 / (120 + 5))


def test_a_ratio_is_close_to_the_usual_logarithmic_interval_where_that_holds():
    """Simel, Samsa and Matchar, Likelihood ratios with confidence, 1991."""
    ratio = likelihood_ratios.positive(rate(800, 1000), rate(900, 1000))
    deviation = math.sqrt(0.2 / 800 + 0.9 / 100)
    assert ratio.value == pytest.approx(8)
    assert ratio.low == pytest.approx(8 * math.exp(-1.96 * deviation), rel=0.02)
    assert ratio.high == pytest.approx(8 * math.exp(1.96 * deviation), rel=0.04)


def test_without_a_false_call_the_ratio_is_infinite_with_a_lower_limit():
    ratio = likelihood_ratios.positive(rate(45, 50), rate(100, 100))
    assert ratio.value == ratio.high == math.inf
    estimate = ratio.estimate("no negative was called")
    assert estimate.value is None and estimate.low == pytest.approx(ratio.low)
    assert "infinite: no negative was called, at least" in estimate.reason
    ppv, _ = likelihood_ratios.predictive_values(rate(45, 50), rate(100, 100), 0.01)
    # Of 100 negatives up to 3.6 % may be called: at a share of 1 % most calls may be wrong.
    assert (ppv.value, ppv.high) == (1, 1) and 0.1 < ppv.low < 0.3


def test_a_faultless_classifier_has_a_negative_ratio_of_0_with_an_upper_limit():
    ratio = likelihood_ratios.negative(rate(50, 50), rate(90, 100))
    assert (ratio.value, ratio.low) == (0, 0) and 0.05 < ratio.high < 0.12


@pytest.mark.parametrize(
    ("sensitivity", "specificity", "undefined"),
    [((0, 50), (100, 100), "positive"), ((50, 50), (0, 100), "negative")],
)
def test_where_nothing_or_everything_is_called_one_side_is_undefined(
    sensitivity, specificity, undefined
):
    rates = rate(*sensitivity), rate(*specificity)
    assert math.isnan(getattr(likelihood_ratios, undefined)(*rates).value)
    ppv, npv = likelihood_ratios.predictive_values(*rates, 0.3)
    lacking, known = (ppv, npv) if undefined == "positive" else (npv, ppv)
    assert lacking.value is None and "nothing was called" in lacking.reason
    assert known.value == pytest.approx(0.7 if undefined == "positive" else 0.3)


def test_limits_hold_the_value_for_every_small_table():
    for hits in range(8):
        for right in range(6):
            for ratio in (likelihood_ratios.positive, likelihood_ratios.negative):
                found = ratio(rate(hits, 7), rate(right, 5))
                if not math.isnan(found.value):
                    assert 0 <= found.low <= found.value <= found.high, (hits, right)
            for estimate in likelihood_ratios.predictive_values(rate(hits, 7), rate(right, 5), 0.2):
                if estimate.value is not None:
                    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_rates_without_limits_give_values_without_limits():
    ppv, npv = likelihood_ratios.predictive_values(Estimate(0.9), Estimate(0.8), 0.1)
    assert ppv.value is not None and not ppv.has_interval and not npv.has_interval
    assert np.isnan(likelihood_ratios.positive(Estimate(0.9), Estimate(0.8)).low)
