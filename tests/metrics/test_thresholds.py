"""A threshold serves its rule, does not hang on single images, and says what it gives."""

import numpy as np
import pytest
from labelled_scores import binary_data
from sklearn import metrics as reference

from engine.base.config import UserError
from engine.metrics import thresholds

RULES = ("youden", "f1", "accuracy", "sensitivity=0.9", "specificity=0.9")


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("decimals", [None, 1])
def test_the_operating_point_is_what_the_threshold_gives(rule, decimals):
    labels, scores = binary_data(decimals=decimals)
    chosen = thresholds.choose_threshold(labels, scores, rule)
    predicted = scores >= chosen.threshold
    assert chosen.rule == rule
    assert chosen.sensitivity == pytest.approx(reference.recall_score(labels, predicted))
    specificity = reference.recall_score(labels, predicted, pos_label=0)
    assert chosen.specificity == pytest.approx(specificity)
    assert chosen.accuracy == pytest.approx((predicted == labels).mean())
    assert chosen.f1 == pytest.approx(reference.f1_score(labels, predicted))


@pytest.mark.parametrize("rule", ["youden", "f1", "accuracy"])
@pytest.mark.parametrize("seed", range(5))
def test_no_other_threshold_is_better_by_more_than_one_example(rule, seed):
    labels, scores = binary_data(200, seed)
    chosen = thresholds.choose_threshold(labels, scores, rule)
    measures = {
        "youden": lambda p: reference.balanced_accuracy_score(labels, p) * 2 - 1,
        "f1": lambda p: reference.f1_score(labels, p),
        "accuracy": lambda p: (p == labels).mean(),
    }
    best = max(measures[rule](scores >= score) for score in scores)
    larger_class = max(labels.sum(), (1 - labels).sum())
    assert measures[rule](scores >= chosen.threshold) >= best - 1 / larger_class - 1e-9


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("target", [0.5, 0.9, 0.95, 1.0])
def test_rules_with_a_target_keep_it_and_give_away_no_more(seed, target):
    labels, scores = binary_data(200, seed)
    sensitive = thresholds.choose_threshold(labels, scores, f"sensitivity={target}")
    assert sensitive.sensitivity >= target
    best = max(
        (scores < t)[labels == 0].mean()
        for t in scores
        if (scores >= t)[labels == 1].mean() >= target
    )
    assert sensitive.specificity == pytest.approx(best)
    specific = thresholds.choose_threshold(labels, scores, f"specificity={target}")
    assert specific.specificity >= target
    best = max(
        (scores >= t)[labels == 1].mean()
        for t in [*scores, 1.1]
        if (scores < t)[labels == 0].mean() >= target
    )
    assert specific.sensitivity == pytest.approx(best)


@pytest.mark.parametrize("rule", ["youden", "f1", "accuracy", "sensitivity=1", "specificity=1"])
def test_a_gap_between_the_classes_is_cut_in_its_middle(rule):
    labels = np.repeat([0, 1], 200)
    scores = np.concatenate([np.linspace(0.0, 0.3, 200), np.linspace(0.7, 1.0, 200)])
    chosen = thresholds.choose_threshold(labels, scores, rule)
    assert chosen.threshold == pytest.approx(0.5, abs=0.01)
    assert chosen.accuracy >= 1 - 1 / 400


def test_one_lucky_image_does_not_move_the_threshold():
    labels = np.repeat([0, 1], 100)
    scores = np.concatenate([np.linspace(0.0, 0.4, 100), np.linspace(0.6, 1.0, 100)])
    before = thresholds.choose_threshold(labels, scores, "youden").threshold
    labels, scores = np.append(labels, 0), np.append(scores, 0.97)
    after = thresholds.choose_threshold(labels, scores, "youden").threshold
    assert after == pytest.approx(before, abs=0.02)


def test_equal_and_neighbouring_scores_still_give_a_threshold_that_decides():
    same = thresholds.choose_threshold(np.array([0, 1, 1]), np.full(3, 0.7), "accuracy")
    assert (same.sensitivity, same.specificity) == (1, 0)
    assert same.threshold <= 0.7
    low = 0.5
    close = np.array([low, np.nextafter(low, 1)])
    chosen = thresholds.choose_threshold(np.array([0, 1]), close, "sensitivity=1")
    np.testing.assert_array_equal(close >= chosen.threshold, [False, True])
    certain = thresholds.choose_threshold(np.array([1, 0]), np.array([0.2, 1.0]), "specificity=1")
    assert certain.specificity == 1
    assert certain.threshold > 1


@pytest.mark.parametrize(
    "text", ["", "best", "sensitivity", "sensitivity=", "sensitivity=1.5", "specificity=0", "f1=1"]
)
def test_a_wrong_rule_is_refused_with_the_rules(text):
    with pytest.raises(UserError, match="--threshold"):
        thresholds.parse_threshold_rule(text)


def test_a_rule_prints_as_it_was_given():
    for rule in RULES:
        assert str(thresholds.parse_threshold_rule(rule)) == rule


def test_a_threshold_needs_both_classes():
    with pytest.raises(UserError, match="positive"):
        thresholds.choose_threshold(np.zeros(5, int), np.linspace(0, 1, 5), "youden")
