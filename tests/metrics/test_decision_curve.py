"""Net benefit is Vickers and Elkin's formula, at the share of the class here or at one that is given."""

import numpy as np
import pytest
from labelled_scores import BINARY, binary_data, multiclass_data

from engine.metrics import decision_curve, evaluation
from engine.metrics.decision_curve import DecisionCurve


def curves(labels, scores, patients=None, names=BINARY, **settings):
    return evaluation.evaluate(
        labels, scores, patients, class_names=names, resamples=300, **settings
    ).decision_curves


def by_formula(labels, scores, threshold):
    called = scores >= threshold
    true, false = (called & (labels == 1)).sum(), (called & (labels == 0)).sum()
    return (true - false * threshold / (1 - threshold)) / len(labels)


@pytest.mark.parametrize("decimals", [None, 2])
def test_each_point_is_the_formula(decimals):
    labels, scores = binary_data(decimals=decimals)
    (curve,) = curves(labels, scores)
    for threshold, benefit, of_all in zip(
        curve.thresholds, curve.net_benefit, curve.treat_all, strict=True
    ):
        assert benefit == pytest.approx(by_formula(labels, scores, threshold), abs=1e-12)
        everyone = by_formula(labels, np.ones(len(labels)), threshold)
        assert of_all == pytest.approx(everyone, abs=1e-12)
    assert curve.prevalence == labels.mean()
    assert curve.thresholds[0] == 0.01 and len(curve.thresholds) == 99


def test_a_given_share_equals_as_many_images_of_each_class():
    labels, scores = binary_data(40)
    positives, negatives = np.flatnonzero(labels), np.flatnonzero(labels == 0)
    (moved,) = curves(labels, scores, prevalence=(0.75, 0.25))
    # Positives once and negatives three times per positive, in whole numbers of copies.
    times = len(positives) * 3
    again = np.concatenate([np.repeat(positives, len(negatives)), np.repeat(negatives, times)])
    (copied,) = curves(labels[again], scores[again])
    assert copied.prevalence == pytest.approx(0.25)
    assert moved.prevalence == 0.25
    assert moved.net_benefit == pytest.approx(copied.net_benefit)
    assert moved.treat_all == pytest.approx(copied.treat_all)


def test_limits_hold_the_benefit_and_say_where_the_model_is_useful():
    labels, scores = binary_data(600)
    (curve,) = curves(labels, scores)
    middle = slice(10, 90)
    for low, value, high in zip(
        curve.low[middle], curve.net_benefit[middle], curve.high[middle], strict=True
    ):
        assert low < value < high
    ((start, end), *_) = [each for each in curve.useful() if each[1] - each[0] > 0.2]
    assert start < 0.5 < end
    random = np.random.default_rng(0).permutation(scores)
    (useless,) = curves(labels, random)
    assert max((high - low for low, high in useless.useful()), default=0) < 0.05
    assert "thresholds of" in curve.useful_text()


def test_each_class_has_a_curve_that_is_there_and_not_alone():
    labels, probabilities = multiclass_data(120, 4)
    labels[labels == 2] = 0
    found = curves(labels, probabilities, names=tuple("abcd"))
    assert [curve.class_name for curve in found] == ["a", "b", "d"]
    (alone,) = curves((labels == 1).astype(int), probabilities[:, 1])
    assert found[1].net_benefit == pytest.approx(alone.net_benefit)
    assert curves(np.ones(20, int), np.linspace(0, 1, 20)) == ()


def test_no_class_takes_over_the_share_of_one_without_examples():
    labels, probabilities = multiclass_data(120, 4)
    names = tuple("abcd")
    assert len(curves(labels, probabilities, names=names, prevalence=(0.1, 0.2, 0.3, 0.4))) == 4
    labels[labels == 2] = 0
    assert curves(labels, probabilities, names=names, prevalence=(0.1, 0.2, 0.3, 0.4)) == ()
    found = curves(labels, probabilities, names=names, prevalence=(0.4, 0.3, 0.0, 0.3))
    assert [curve.class_name for curve in found] == ["a", "b", "d"]


def test_many_classes_have_none_and_one_patient_has_no_limits():
    labels, probabilities = multiclass_data(60, decision_curve.MOST_CLASSES + 1)
    names = [str(k) for k in range(decision_curve.MOST_CLASSES + 1)]
    assert curves(labels, probabilities, names=names) == ()
    (curve,) = curves(*binary_data(40), ["same"] * 40)
    assert curve.low is curve.gain_low is None and curve.useful() == []
    assert DecisionCurve.from_json(curve.to_json()) == curve
    with pytest.raises(ValueError, match="one length"):
        DecisionCurve.from_json({**curve.to_json(), "treat_all": [0.1]})
