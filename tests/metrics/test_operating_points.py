"""Points at a fixed rate say where their cut was chosen, and their intervals allow for the choice."""

import numpy as np
import pytest
from labelled_scores import BINARY, binary_data, multiclass_data

from engine.metrics import evaluation
from engine.metrics.operating_points import HERE, VALIDATION, OperatingPoint

RULES = ("specificity=0.9", "sensitivity=0.95")


def points(labels, scores, patients=None, **settings):
    return evaluation.evaluate(
        labels, scores, patients, class_names=BINARY, resamples=400, **settings
    ).operating_points


def test_the_rate_that_is_fixed_has_no_interval_and_the_other_one_has():
    at_specificity, at_sensitivity = points(*binary_data())
    assert (at_specificity.rule, at_sensitivity.rule) == RULES
    assert at_specificity.chosen_on == at_sensitivity.chosen_on == HERE
    assert at_specificity.specificity.low is None
    assert "choosing the cut" in at_specificity.specificity.reason
    free = at_specificity.sensitivity
    assert free.low < free.value < free.high
    assert at_sensitivity.sensitivity.value >= 0.95 - 1e-9


def test_choosing_the_cut_widens_the_interval():
    labels, scores = binary_data(400)
    chosen = points(labels, scores)[0]
    fixed = points(labels, scores, chosen={("PNEUMONIA", RULES[0]): chosen.threshold})[-1]
    assert fixed.chosen_on == VALIDATION and fixed.threshold == chosen.threshold
    assert fixed.sensitivity.value == pytest.approx(chosen.sensitivity.value)
    wide, narrow = (each.sensitivity.high - each.sensitivity.low for each in (chosen, fixed))
    assert wide > 1.1 * narrow
    assert fixed.specificity.low < fixed.specificity.value < fixed.specificity.high


def test_a_cut_of_another_class_or_rule_is_not_used():
    labels, scores = binary_data(100)
    others = {("NORMAL", RULES[0]): 0.3, ("PNEUMONIA", "specificity=0.8"): 0.3}
    assert all(point.chosen_on == HERE for point in points(labels, scores, chosen=others))


def test_a_faultless_ranking_has_an_interval_with_a_width():
    labels = np.arange(100) % 2
    for point in points(labels, 0.1 + 0.8 * labels):
        free = point.sensitivity if point.rule == RULES[0] else point.specificity
        assert (free.value, free.high) == (1, 1) and 0.85 < free.low < 0.98


def test_equal_probabilities_leave_calling_all_or_none():
    at_specificity, at_sensitivity = points(np.array([0, 1] * 20), np.full(40, 0.3))
    assert at_specificity.sensitivity.value == 0 and at_specificity.threshold > 0.3
    assert at_sensitivity.specificity.value == 0 and at_sensitivity.threshold <= 0.3


def test_each_of_several_classes_is_measured_against_the_others():
    labels, probabilities = multiclass_data(200, 3)
    names = ("a", "b", "c")
    found = evaluation.evaluate(
        labels, probabilities, class_names=names, resamples=200
    ).operating_points
    assert [(point.class_name, point.rule) for point in found] == [
        (name, rule) for name in names for rule in RULES
    ]
    alone = points((labels == 1).astype(int), probabilities[:, 1])
    assert found[2].threshold == alone[0].threshold
    assert found[2].sensitivity.value == alone[0].sensitivity.value


def test_one_class_or_one_patient_is_said():
    only = points(np.ones(30, int), np.linspace(0.1, 0.9, 30))
    assert all(point.threshold is None for point in only)
    assert "both classes" in only[0].sensitivity.reason
    labels, scores = binary_data(40)
    alone = points(labels, scores, ["same"] * 40)[0]
    assert alone.sensitivity.value is not None and "two patients" in alone.sensitivity.reason


def test_points_come_back_from_json():
    for point in points(*binary_data(60)):
        assert OperatingPoint.from_json(point.to_json()) == point
        assert len(point.row()) == 5
