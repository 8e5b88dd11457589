"""Ranking metrics are those of scikit-learn, and the curves enclose them."""

import numpy as np
import pytest
from labelled_scores import binary_data
from sklearn import metrics as reference

from engine.metrics import curves


def test_resampled_ranking_metrics_equal_those_of_the_resample_spelled_out():
    labels, scores = binary_data(80, decimals=1)
    weights = np.random.default_rng(1).integers(0, 4, (6, 80)).astype(float)
    areas, precisions = curves.Ranking(labels == 1, scores).measure(weights)
    for row, area, precision in zip(weights.astype(int), areas, precisions, strict=True):
        drawn_labels, drawn_scores = np.repeat(labels, row), np.repeat(scores, row)
        assert area == pytest.approx(reference.roc_auc_score(drawn_labels, drawn_scores))
        expected = reference.average_precision_score(drawn_labels, drawn_scores)
        assert precision == pytest.approx(expected)


def test_auroc_is_invariant_to_monotone_scores_and_mirrors_with_the_labels():
    labels, scores = binary_data()
    area = curves.auroc(labels, scores)
    assert curves.auroc(labels, scores**3) == pytest.approx(area)
    assert curves.auroc(1 - labels, scores) == pytest.approx(1 - area)
    assert curves.auroc(labels, np.full(len(labels), 0.3)) == pytest.approx(0.5)
    assert curves.auroc(np.ones(len(labels)), scores) is None


@pytest.mark.parametrize("decimals", [None, 1])
def test_roc_encloses_the_auroc_and_rises_from_corner_to_corner(decimals):
    labels, scores = binary_data(decimals=decimals)
    false_rate, true_rate, _ = curves.roc_curve(labels, scores)
    assert (false_rate[0], true_rate[0], false_rate[-1], true_rate[-1]) == (0, 0, 1, 1)
    assert (np.diff(false_rate) >= 0).all() and (np.diff(true_rate) >= 0).all()
    area = np.sum(np.diff(false_rate) * (true_rate[1:] + true_rate[:-1]) / 2)
    assert area == pytest.approx(curves.auroc(labels, scores))


def test_precision_recall_steps_enclose_the_average_precision():
    labels, scores = binary_data(decimals=1)
    precision, recall, thresholds = curves.precision_recall_curve(labels, scores)
    area = np.sum(np.diff(recall) * precision[1:])
    assert area == pytest.approx(reference.average_precision_score(labels, scores))
    called = scores >= thresholds[3]
    assert precision[3] == pytest.approx(reference.precision_score(labels, called))


def test_mean_auroc_of_several_classes_is_the_mean_over_those_that_are_there():
    labels = np.array([0, 1, 2, 0, 1, 2])
    perfect = np.eye(4)[labels]
    assert curves.mean_auroc(labels, perfect) == 1
    assert curves.mean_auroc(labels, 1 - perfect) == 0
    assert curves.mean_auroc(np.zeros(3, int), np.zeros(3)) is None


def test_the_area_below_the_mean_curve_is_the_mean_of_the_areas():
    random = np.random.default_rng(8)
    labels = random.integers(0, 4, 90)
    scores = np.round(np.eye(4)[labels] + random.normal(size=(90, 4)), 1)  # with ties
    false_rate, true_rate = curves.mean_roc_curve(labels, scores)
    area = np.trapezoid(true_rate, false_rate)
    assert area == pytest.approx(curves.mean_auroc(labels, scores), abs=1e-12)
    assert (np.diff(false_rate) >= 0).all() and (np.diff(true_rate) >= -1e-12).all()
    assert (false_rate[0], true_rate[0], false_rate[-1], true_rate[-1]) == (0, 0, 1, 1)


def test_the_mean_curve_leaves_out_a_class_that_is_missing():
    labels = np.array([0, 1, 0, 1])
    scores = np.random.default_rng(9).random((4, 3))
    false_rate, true_rate = curves.mean_roc_curve(labels, scores)
    assert np.trapezoid(true_rate, false_rate) == pytest.approx(
        curves.mean_auroc(labels, scores), abs=1e-12
    )
    assert np.isnan(curves.mean_roc_curve(np.zeros(4, int), scores)[0]).all()
