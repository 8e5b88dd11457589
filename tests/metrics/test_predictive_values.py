"""Predictive values at other shares are those that a set with these shares would show."""

import numpy as np
import pytest
from labelled_scores import BINARY, binary_data, multiclass_data

from engine.metrics import evaluation, predictive_values
from engine.metrics.predictive_values import PredictiveValues


def test_two_classes_are_given_at_the_usual_shares_and_at_the_one_asked_for():
    labels, scores = binary_data(120)
    own = labels.mean()
    found = evaluation.evaluate(
        labels, scores, class_names=BINARY, resamples=200, prevalence=(1 - own, own)
    )
    shares = [values.prevalence for values in found.predictive_values]
    assert shares == sorted([*predictive_values.USUAL, own])
    (here,) = [values for values in found.predictive_values if values.prevalence == own]
    assert here.ppv.value == pytest.approx(found.metrics["ppv"].value)
    assert here.npv.value == pytest.approx(found.metrics["npv"].value)
    for values in found.predictive_values:
        assert PredictiveValues.from_json(values.to_json()) == values


def test_of_several_classes_each_is_weighed_by_its_share():
    labels, probabilities = multiclass_data(300, 3)
    shares = (0.5, 0.3, 0.2)
    found = evaluation.evaluate(
        labels, probabilities, class_names=tuple("abc"), resamples=200, prevalence=shares
    )
    rates = found.confusion / found.confusion.sum(axis=1, keepdims=True)
    called = np.asarray(shares) @ rates
    for k, values in enumerate(found.predictive_values):
        assert values.ppv.value == pytest.approx(shares[k] * rates[k, k] / called[k])
        others = 1 - shares[k] - (called[k] - shares[k] * rates[k, k])
        assert values.npv.value == pytest.approx(others / (1 - called[k]))
        assert values.ppv.low < values.ppv.value < values.ppv.high
    without = evaluation.evaluate(labels, probabilities, class_names=tuple("abc"), resamples=200)
    assert without.predictive_values == ()


def test_an_absent_class_leaves_them_undefined():
    labels, probabilities = multiclass_data(60, 3)
    labels[labels == 2] = 1
    found = evaluation.evaluate(
        labels, probabilities, class_names=tuple("abc"), resamples=200, prevalence=(0.5, 0.3, 0.2)
    ).predictive_values
    assert found[0].ppv.value is None and "no example of c" in found[0].ppv.reason
    alone = evaluation.evaluate(
        np.ones(20, int), np.linspace(0.1, 0.9, 20), class_names=BINARY, resamples=200
    ).predictive_values
    assert alone[0].npv.value is None
