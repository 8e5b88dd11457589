"""A threshold serves its rule, does not hang on single images, and says what it gives."""

import numpy as np
import pytest
from labelled_scores import binary_data
from scipy import special
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
    one = 1 / min(labels.sum(), (1 - labels).sum()) if rule == "youden" else 1 / len(labels)
    assert measures[rule](scores >= chosen.threshold) >= best - one - 1e-9


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


@pytest.mark.parametrize("outlier", [None, 0, 1])
@pytest.mark.parametrize("rule", ["youden", "accuracy"])
def test_separated_classes_are_cut_halfway_in_log_odds_however_sure_the_model_is(rule, outlier):
    """Halfway in probability would be 0.48, which is at the edge of the lower class."""
    labels = np.repeat([0, 1], [30, 90])
    log_odds = np.where(labels == 1, np.linspace(3, 12, 120), np.linspace(-9, -3, 120))
    top, bottom = log_odds[labels == 0].max(), log_odds[labels == 1].min()
    if outlier is not None:
        log_odds[np.flatnonzero(labels == outlier)[0]] = 6 if outlier == 0 else -6
    chosen = thresholds.choose_threshold(labels, special.expit(log_odds), rule)
    assert special.logit(chosen.threshold) == pytest.approx((top + bottom) / 2, abs=0.6)


def test_a_lower_temperature_moves_the_threshold_with_the_scores():
    labels, scores = binary_data()
    log_odds = special.logit(scores)
    before = thresholds.choose_threshold(labels, scores, "youden")
    after = thresholds.choose_threshold(labels, special.expit(log_odds / 2), "youden")
    assert special.logit(after.threshold) == pytest.approx(special.logit(before.threshold) / 2)
    assert (after.sensitivity, after.specificity) == (before.sensitivity, before.specificity)


@pytest.mark.parametrize("rule", RULES)
def test_one_series_is_the_plain_case_and_the_same_series_twice_too(rule):
    labels, scores = binary_data()
    alone = thresholds.choose_threshold(labels, scores, rule)
    assert thresholds.choose_across_series([(labels, scores)], rule) == alone
    twice = thresholds.choose_across_series([(labels, scores)] * 2, rule)
    assert twice.num_examples == 2 * alone.num_examples
    if "=" in rule:  # the tolerance of half an example is none, for the others
        assert twice.threshold == alone.threshold


def test_across_series_each_counts_alike_and_a_target_is_kept_in_each():
    few = np.repeat([0, 1], 10), np.repeat([0.1, 0.3], 10)
    many = np.repeat([0, 1], 1000), np.repeat([0.2, 0.9], 1000)
    chosen = thresholds.choose_across_series([few, many], "youden")
    assert 0.2 < chosen.threshold <= 0.3
    assert (chosen.sensitivity, chosen.specificity, chosen.num_examples) == (1, 1, 2020)
    series = [binary_data(200, seed) for seed in range(3)]
    chosen = thresholds.choose_across_series(series, "sensitivity=0.9")
    kept = [(scores >= chosen.threshold)[labels == 1].mean() for labels, scores in series]
    assert min(kept) >= 0.9
    with pytest.raises(UserError, match="positive"):
        thresholds.choose_across_series([few, (np.zeros(3, int), np.zeros(3))], "youden")


@pytest.mark.parametrize("rule", ["sensitivity=1", "specificity=1"])
def test_no_gain_in_two_series_pays_for_a_target_missed_in_a_third(rule):
    clear = np.repeat([0, 1], 10), np.repeat([0.2, 0.8], 10)
    low = np.repeat([0, 1], 10), np.concatenate([np.full(10, 0.2), np.full(9, 0.8), [0.1]])
    high = np.repeat([0, 1], 10), np.concatenate([np.full(9, 0.2), [0.9], np.full(10, 0.8)])
    series = [clear, clear, low if rule == "sensitivity=1" else high]
    chosen = thresholds.choose_across_series(series, rule)
    assert getattr(chosen, rule.partition("=")[0]) == 1


@pytest.mark.parametrize("rule", ["youden", None])
def test_a_decision_calibrates_and_chooses_on_what_is_calibrated(rule):
    labels, scores = binary_data()
    log_odds = 3 * special.logit(scores)
    calibration, chosen = thresholds.decide(labels, log_odds, rule=rule, prior=(0.5, 0.5))
    assert calibration.prior == (0.5, 0.5)
    assert (chosen is None) == (rule is None)
    if chosen is not None:
        calibrated = special.expit(log_odds / calibration.temperature)
        assert chosen == thresholds.choose_threshold(labels, calibrated, rule, share=0.5)


def drawn_scores(count, seed, *, shift=0.0):
    """`count` examples of each class, normal log-odds that tell them apart with AUROC 0.93."""
    labels = np.repeat([0, 1], count)
    log_odds = np.random.default_rng(seed).normal(2.09 * labels - 1.045 + shift)
    return labels, special.expit(log_odds)


@pytest.mark.parametrize("share", [0.3, 0.5])
@pytest.mark.parametrize("shift", [-2.0, 0.0, 2.0])
def test_few_examples_are_cut_where_a_shift_of_their_log_odds_calibrates_them(share, shift):
    labels, scores = drawn_scores(7, seed=1, shift=shift)
    chosen = thresholds.choose_threshold(labels, scores, "youden", share=share)
    calibrated = special.expit(
        special.logit(scores) + special.logit(share) - special.logit(chosen.threshold)
    )
    negative, positive = (calibrated[labels == label].mean() for label in (0, 1))
    assert (1 - share) * negative + share * positive == pytest.approx(share)
    assert chosen.sensitivity == (scores >= chosen.threshold)[labels == 1].mean()
    assert chosen.rule == "youden"


def test_few_examples_that_tell_nothing_do_not_lead_to_one_class_alone():
    labels, scores = np.tile([0, 1], 5), np.linspace(0.2, 0.9, 10)
    chosen = thresholds.choose_threshold(labels, scores, "youden", share=0.5)
    assert 0.3 < (scores >= chosen.threshold).mean() < 0.7


@pytest.mark.parametrize("extreme", [0.0, 1.0])
def test_few_examples_of_which_the_model_is_certain_are_cut_too(extreme):
    scores = np.array([extreme, 0.2, 0.3, 0.6, 0.8, extreme])
    chosen = thresholds.choose_threshold(np.repeat([0, 1], 3), scores, "youden", share=0.5)
    assert 0 < chosen.threshold < 1


def test_the_cut_of_few_examples_does_better_on_others():
    others, scores = drawn_scores(2000, seed=1000)
    plain, fitted = [], []
    for seed in range(60):
        shift = 0.8 * (seed % 3 - 1)
        few = drawn_scores(5, seed, shift=shift)
        moved = special.expit(special.logit(scores) + shift)
        for found, share in ((plain, None), (fitted, 0.5)):
            threshold = thresholds.choose_threshold(*few, "youden", share=share).threshold
            found.append(reference.balanced_accuracy_score(others, moved >= threshold))
    assert np.mean(fitted) > np.mean(plain) + 0.005


@pytest.mark.parametrize("rule", RULES)
def test_the_cut_of_few_examples_is_for_few_and_for_one_rule(rule):
    labels, scores = drawn_scores(50, seed=0, shift=0.3)
    plain = thresholds.choose_threshold(labels, scores, rule)
    assert thresholds.choose_threshold(labels, scores, rule, share=0.5) == plain
    if rule != "youden":
        few = drawn_scores(10, seed=0)
        plain = thresholds.choose_threshold(*few, rule)
        assert thresholds.choose_threshold(*few, rule, share=0.5) == plain


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


@pytest.mark.parametrize("text", ["0.5", "0.25", "5e-1"])
def test_a_number_is_the_threshold_whatever_the_examples(text):
    labels, scores = binary_data()
    chosen = thresholds.choose_threshold(labels, scores, text)
    assert chosen.threshold == float(text)
    assert chosen.rule == str(float(text))
    assert chosen.accuracy == pytest.approx(((scores >= float(text)) == labels).mean())
    assert thresholds.choose_across_series([(labels, scores)] * 2, text).threshold == float(text)
    assert str(thresholds.parse_threshold_rule(chosen.rule)) == chosen.rule  # as runs keep it


@pytest.mark.parametrize("text", ["0", "1", "1.5", "-0.5", "nan", "inf", "0.5=0.5"])
def test_a_number_that_is_no_threshold_is_refused(text):
    with pytest.raises(UserError, match=r"--threshold: got .*, expected"):
        thresholds.parse_threshold_rule(text)


def test_a_threshold_needs_both_classes():
    with pytest.raises(UserError, match="positive"):
        thresholds.choose_threshold(np.zeros(5, int), np.linspace(0, 1, 5), "youden")
