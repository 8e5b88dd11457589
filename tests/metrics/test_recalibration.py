"""Recalibration repairs a shifted score, measures only what was not drawn, and keeps the order."""

import json

import numpy as np
import pytest
from labelled_scores import multiclass_data
from scipy import special

from engine.base.config import UserError
from engine.metrics import calibration, recalibration
from engine.metrics.recalibration import Recalibration


def shifted(count=600, seed=0):
    """Labels, and log-odds that are twice too sure and 3 too high; patients of two images."""
    random = np.random.default_rng(seed)
    honest = random.normal(0, 2, count)
    labels = (random.random(count) < special.expit(honest)).astype(np.int64)
    return labels, 2 * honest + 3, [f"p{i // 2}" for i in range(count)]


def test_a_hundred_images_repair_what_is_shifted_and_too_sure():
    found = recalibration.simulate(*shifted(), num_images=100, threshold=0.5, draws=20)
    for metric in ("brier", "expected_calibration_error", "loss"):
        assert found.recalibrated[metric].high < found.unchanged[metric].low, metric
    assert found.recalibrated["accuracy"].median > found.unchanged["accuracy"].median + 0.02
    assert (found.num_images, found.num_draws, found.one_class) == (100, 20, 0)


def test_a_fit_on_many_images_finds_slope_and_intercept():
    labels, log_odds, _ = shifted(20_000)
    fitted = recalibration.fit(labels, log_odds)
    assert fitted.slope == pytest.approx(0.5, rel=0.05)
    assert fitted.intercepts[1] == pytest.approx(-1.5, rel=0.1)
    np.testing.assert_allclose(
        fitted.log_odds(log_odds), fitted.slope * log_odds + fitted.intercepts[1]
    )


def test_the_order_of_images_is_never_turned_round_and_separated_ones_give_a_finite_fit():
    labels, log_odds, _ = shifted()
    assert recalibration.fit(labels, -log_odds).slope == pytest.approx(0, abs=1e-6)
    fitted = recalibration.fit(np.repeat([0, 1], 5), np.repeat([-3.0, 3.0], 5))
    assert special.expit(fitted.log_odds(np.array([3.0]))) == pytest.approx(6 / 7, abs=1e-3)


def test_many_classes_get_an_intercept_each():
    labels, probabilities = multiclass_data(3000)
    moved = special.log_softmax(np.log(probabilities) + np.array([0, 0, 0, 3]), axis=1)
    log_odds = moved - special.logsumexp(
        np.where(np.eye(4, dtype=bool), -np.inf, moved[:, None, :]), axis=2
    )
    found = recalibration.simulate(labels, log_odds, num_images=400, threshold=None, draws=10)
    assert found.recalibrated["accuracy"].low > found.unchanged["accuracy"].high
    assert found.recalibrated["loss"].high < found.unchanged["loss"].low


def test_patients_are_never_on_both_sides_and_the_draws_follow_the_seed(monkeypatch):
    labels, log_odds, patients = shifted(100)
    drawn = []
    monkeypatch.setattr(
        recalibration, "fit", lambda own, scores: drawn.append(scores) or recalibration.Fit(1, 0)
    )
    settings = {"num_images": 31, "threshold": 0.5, "draws": 5}
    first = recalibration.simulate(labels, log_odds, patients, **settings, seed=1)
    for scores in drawn:
        members = np.isin(log_odds, scores)
        assert members.sum() == 32
        assert (members[::2] == members[1::2]).all()
    assert first == recalibration.simulate(labels, log_odds, patients, **settings, seed=1)
    assert first != recalibration.simulate(labels, log_odds, patients, **settings, seed=2)


@pytest.mark.parametrize(
    ("rule", "measured"), [("youden", "balanced_accuracy"), ("accuracy", "accuracy")]
)
def test_a_few_images_move_the_threshold_to_where_the_rule_is_served(rule, measured):
    labels, log_odds, patients = shifted()
    found = recalibration.simulate(
        labels, log_odds, patients, num_images=40, threshold=0.5, rule=rule, draws=20
    )
    assert found.rule == rule
    assert found.recalibrated[measured].median > found.unchanged[measured].median + 0.02


def test_a_target_of_a_rule_is_kept_on_the_images_drawn_and_other_rules_mean_youden():
    labels, log_odds, patients = shifted()
    settings = {"num_images": 100, "threshold": 0.5, "draws": 3}
    found = recalibration.simulate(labels, log_odds, patients, **settings, rule="sensitivity=1")
    assert found.recalibrated["accuracy"].median < 0.75
    other = recalibration.simulate(labels, log_odds, patients, **settings, rule="mean of 2 runs")
    assert other == recalibration.simulate(labels, log_odds, patients, **settings)


def test_draws_with_one_class_change_nothing_and_are_counted():
    labels, log_odds = np.zeros(60, np.int64), np.linspace(-5, 5, 60)
    found = recalibration.simulate(labels, log_odds, num_images=10, threshold=0.5, draws=4)
    assert found.one_class == 4
    assert found.unchanged == found.recalibrated
    assert "4 draws had one class alone" in found.account()


def test_too_many_images_are_refused():
    with pytest.raises(
        UserError, match=r"--recalibrate 90: the split holds 100 images.*at most 80"
    ):
        recalibration.simulate(*shifted(100), num_images=90, threshold=0.5)


def test_it_comes_back_from_json():
    found = recalibration.simulate(*shifted(100), num_images=20, threshold=0.5, draws=3)
    assert Recalibration.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_the_calibration_error_is_that_of_the_reliability_curve():
    for labels, given in (multiclass_data(), (shifted()[0], special.expit(shifted()[1]))):
        curve = calibration.reliability_curve(labels, given)
        error = calibration.calibration_error(labels, given)
        assert error == pytest.approx(curve.expected_calibration_error)
