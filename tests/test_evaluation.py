"""Metrics agree with scikit-learn; intervals, thresholds and calibration keep their promises."""

import json

import numpy as np
import pytest
from sklearn import metrics as reference

from engine import bootstrap, evaluation
from engine.config import UserError

BINARY = ("NORMAL", "PNEUMONIA")
RULES = ("youden", "f1", "accuracy", "sensitivity=0.9", "specificity=0.9")


def binary_data(count=300, seed=0, decimals=None):
    random = np.random.default_rng(seed)
    labels = (random.random(count) < 0.7).astype(np.int64)
    scores = 1 / (1 + np.exp(-random.normal(2.5 * labels - 1, 1.5)))
    return labels, scores if decimals is None else scores.round(decimals)


def multiclass_data(count=400, classes=4, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    logits = random.normal(size=(count, classes)) + 1.5 * np.eye(classes)[labels]
    return labels, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def names(classes):
    return [f"class {k}" for k in range(classes)]


@pytest.mark.parametrize("decimals", [None, 1], ids=["distinct", "tied"])
def test_binary_metrics_are_those_of_scikit_learn(decimals):
    labels, scores = binary_data(decimals=decimals)
    predicted = scores >= 0.4
    found = evaluation.evaluate(labels, scores, class_names=BINARY, threshold=0.4, resamples=200)
    clipped = np.clip(scores, bootstrap.PROBABILITY_FLOOR, 1 - bootstrap.PROBABILITY_FLOOR)
    expected = {
        "loss": reference.log_loss(labels, clipped),
        "accuracy": reference.accuracy_score(labels, predicted),
        "balanced_accuracy": reference.balanced_accuracy_score(labels, predicted),
        "auroc": reference.roc_auc_score(labels, scores),
        "average_precision": reference.average_precision_score(labels, scores),
        "sensitivity": reference.recall_score(labels, predicted),
        "specificity": reference.recall_score(labels, predicted, pos_label=0),
        "precision": reference.precision_score(labels, predicted),
        "recall": reference.recall_score(labels, predicted),
        "f1": reference.f1_score(labels, predicted),
        "brier": reference.brier_score_loss(labels, scores),
    }
    assert set(expected) == set(evaluation.METRICS)
    for name, value in expected.items():
        assert found.metrics[name].value == pytest.approx(value, abs=1e-6), name
    confusion = reference.confusion_matrix(labels, predicted)
    np.testing.assert_array_equal(found.confusion, confusion)


def test_multiclass_metrics_are_those_of_scikit_learn():
    labels, probabilities = multiclass_data()
    predicted = probabilities.argmax(axis=1)
    found = evaluation.evaluate(labels, probabilities, class_names=names(4), resamples=200)
    expected = {
        "loss": reference.log_loss(labels, probabilities),
        "accuracy": reference.accuracy_score(labels, predicted),
        "balanced_accuracy": reference.balanced_accuracy_score(labels, predicted),
        "auroc": reference.roc_auc_score(labels, probabilities, multi_class="ovr"),
        "average_precision": reference.average_precision_score(np.eye(4)[labels], probabilities),
        "recall": reference.recall_score(labels, predicted, average="macro"),
        "precision": reference.precision_score(labels, predicted, average="macro"),
        "f1": reference.f1_score(labels, predicted, average="macro"),
        "brier": ((probabilities - np.eye(4)[labels]) ** 2).sum(axis=1).mean(),
    }
    for name, value in expected.items():
        assert found.metrics[name].value == pytest.approx(value, abs=1e-9), name
    each = reference.precision_score(labels, predicted, average=None)
    for name, value in zip(names(4), each, strict=True):
        assert found.per_class[name]["precision"].value == pytest.approx(value)


def test_a_class_never_predicted_counts_as_precision_zero_in_the_mean():
    labels = np.array([0, 0, 1, 2])
    probabilities = np.eye(3)[[0, 0, 1, 1]] * 0.9 + 0.1 / 3
    found = evaluation.evaluate(labels, probabilities, class_names=names(3), resamples=200)
    assert found.metrics["precision"].value == pytest.approx((1 + 0.5 + 0) / 3)
    assert found.per_class["class 2"]["precision"].value is None


@pytest.mark.parametrize("name", evaluation.METRICS)
def test_intervals_hold_the_value_and_have_a_width(name):
    labels, scores = binary_data()
    estimate = evaluation.evaluate(labels, scores, class_names=BINARY).metrics[name]
    assert estimate.low < estimate.value < estimate.high


def test_resampled_ranking_metrics_equal_those_of_the_resample_spelled_out():
    labels, scores = binary_data(80, decimals=1)
    weights = np.random.default_rng(1).integers(0, 4, (6, 80)).astype(float)
    areas, precisions = bootstrap.Ranking(labels == 1, scores).measure(weights)
    for row, area, precision in zip(weights.astype(int), areas, precisions, strict=True):
        drawn_labels, drawn_scores = np.repeat(labels, row), np.repeat(scores, row)
        assert area == pytest.approx(reference.roc_auc_score(drawn_labels, drawn_scores))
        expected = reference.average_precision_score(drawn_labels, drawn_scores)
        assert precision == pytest.approx(expected)


def test_the_spread_of_accuracy_is_the_binomial_one_when_each_image_is_a_patient():
    labels, scores = binary_data(1000)
    accuracy = evaluation.evaluate(labels, scores, class_names=BINARY).metrics["accuracy"]
    spread = np.sqrt(accuracy.value * (1 - accuracy.value) / 1000)
    assert accuracy.high - accuracy.low == pytest.approx(2 * 1.96 * spread, rel=0.12)


def test_patients_who_repeat_widen_the_intervals():
    labels, scores = binary_data(150)
    repeated_labels, repeated_scores = np.repeat(labels, 6), np.repeat(scores, 6)
    patients = np.repeat([f"patient {i}" for i in range(150)], 6)
    grouped = evaluation.evaluate(repeated_labels, repeated_scores, patients, class_names=BINARY)
    alone = evaluation.evaluate(repeated_labels, repeated_scores, class_names=BINARY)
    assert (grouped.num_patients, alone.num_patients) == (150, 900)
    for name in ("accuracy", "auroc", "sensitivity"):
        wide, narrow = grouped.metrics[name], alone.metrics[name]
        assert wide.value == pytest.approx(narrow.value)
        # Six copies of each image are no more information: sqrt(6) = 2.4 times the width.
        assert 1.8 < (wide.high - wide.low) / (narrow.high - narrow.low) < 3.2


def test_images_without_a_patient_stand_alone():
    labels, scores = binary_data(40)
    patients = [""] * 20 + ["same"] * 20
    found = evaluation.evaluate(labels, scores, patients, class_names=BINARY, resamples=200)
    assert found.num_patients == 21


def test_the_order_of_examples_does_not_matter_and_the_seed_decides_the_interval():
    labels, scores = binary_data()
    patients = np.array([f"p{i % 70}" for i in range(len(labels))])
    order = np.random.default_rng(2).permutation(len(labels))

    def measured(order, seed=0):
        found = evaluation.evaluate(
            labels[order], scores[order], patients[order], class_names=BINARY, seed=seed
        )
        return found.metrics["auroc"]

    first, again = measured(slice(None)), measured(order)
    assert (first.value, first.low) == pytest.approx((again.value, again.low))
    assert measured(slice(None)) == first
    assert measured(slice(None), seed=1).low != first.low


def test_auroc_is_invariant_to_monotone_scores_and_mirrors_with_the_labels():
    labels, scores = binary_data()
    area = evaluation.auroc(labels, scores)
    assert evaluation.auroc(labels, scores**3) == pytest.approx(area)
    assert evaluation.auroc(1 - labels, scores) == pytest.approx(1 - area)
    assert evaluation.auroc(labels, np.full(len(labels), 0.3)) == pytest.approx(0.5)


@pytest.mark.parametrize("label", [0, 1])
def test_a_split_of_one_class_gives_null_with_a_reason_and_valid_json(label):
    labels, scores = np.full(20, label), np.linspace(0.1, 0.9, 20)
    found = evaluation.evaluate(labels, scores, class_names=BINARY, resamples=200)
    values = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert values["auroc"]["value"] is None
    assert "both classes" in values["auroc"]["reason"]
    missing = "specificity" if label else "sensitivity"
    assert values[missing]["value"] is None
    assert values["accuracy"]["low"] <= values["accuracy"]["value"]
    assert evaluation.auroc(labels, scores) is None


def test_nothing_called_positive_leaves_precision_undefined():
    found = evaluation.evaluate(
        np.array([0, 1, 1]), np.array([0.1, 0.2, 0.3]), class_names=BINARY, resamples=200
    )
    assert found.metrics["precision"].value is None
    assert found.metrics["sensitivity"].value == 0


def test_resamples_without_a_class_are_passed_over():
    labels, scores = np.array([1, 0, 0, 0]), np.array([0.9, 0.2, 0.3, 0.4])
    estimate = evaluation.evaluate(labels, scores, class_names=BINARY).metrics["auroc"]
    assert (estimate.low, estimate.value, estimate.high) == (1, 1, 1)


def test_a_single_patient_has_no_interval():
    labels, scores = binary_data(30)
    found = evaluation.evaluate(labels, scores, ["one"] * 30, class_names=BINARY, resamples=200)
    assert found.metrics["accuracy"].low is None
    assert "two patients" in found.metrics["accuracy"].reason


def test_metrics_json_has_the_promised_keys():
    labels, scores = binary_data()
    values = evaluation.evaluate(labels, scores, class_names=BINARY, resamples=200).to_json()
    assert values["num_examples"] == 300
    assert isinstance(values["loss"], float)
    assert values["threshold"] == 0.5
    for name in set(evaluation.METRICS) - {"loss"}:
        assert {"value", "low", "high"} <= values[name].keys()


def test_a_softmax_of_two_classes_is_the_same_as_its_second_column():
    labels, scores = binary_data()
    both = evaluation.evaluate(
        labels, np.stack([1 - scores, scores], axis=1), class_names=BINARY, resamples=200
    )
    one = evaluation.evaluate(labels, scores, class_names=BINARY, resamples=200)
    assert both.metrics == one.metrics


@pytest.mark.parametrize(
    ("labels", "probabilities", "expected"),
    [
        ([], [], "no example"),
        ([0, 2], [0.1, 0.2], "0 to 1"),
        ([0, 1], [0.1, float("nan")], "nan"),
        ([0, 1], [0.1, 1.4], "0 to 1"),
        ([0, 1], [0.1], "shape"),
        ([0, 1], [[0.1, 0.2, 0.7]] * 2, "shape"),
    ],
)
def test_wrong_arrays_are_refused(labels, probabilities, expected):
    with pytest.raises(UserError, match=expected):
        evaluation.evaluate(np.array(labels), np.array(probabilities), class_names=BINARY)


# --- thresholds


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("decimals", [None, 1])
def test_the_operating_point_is_what_the_threshold_gives(rule, decimals):
    labels, scores = binary_data(decimals=decimals)
    chosen = evaluation.choose_threshold(labels, scores, rule)
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
    chosen = evaluation.choose_threshold(labels, scores, rule)
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
    sensitive = evaluation.choose_threshold(labels, scores, f"sensitivity={target}")
    assert sensitive.sensitivity >= target
    best = max(
        (scores < t)[labels == 0].mean()
        for t in scores
        if (scores >= t)[labels == 1].mean() >= target
    )
    assert sensitive.specificity == pytest.approx(best)
    specific = evaluation.choose_threshold(labels, scores, f"specificity={target}")
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
    chosen = evaluation.choose_threshold(labels, scores, rule)
    assert chosen.threshold == pytest.approx(0.5, abs=0.01)
    assert chosen.accuracy >= 1 - 1 / 400


def test_one_lucky_image_does_not_move_the_threshold():
    labels = np.repeat([0, 1], 100)
    scores = np.concatenate([np.linspace(0.0, 0.4, 100), np.linspace(0.6, 1.0, 100)])
    before = evaluation.choose_threshold(labels, scores, "youden").threshold
    labels, scores = np.append(labels, 0), np.append(scores, 0.97)
    after = evaluation.choose_threshold(labels, scores, "youden").threshold
    assert after == pytest.approx(before, abs=0.02)


def test_equal_and_neighbouring_scores_still_give_a_threshold_that_decides():
    same = evaluation.choose_threshold(np.array([0, 1, 1]), np.full(3, 0.7), "accuracy")
    assert (same.sensitivity, same.specificity) == (1, 0)
    assert same.threshold <= 0.7
    low = 0.5
    close = np.array([low, np.nextafter(low, 1)])
    chosen = evaluation.choose_threshold(np.array([0, 1]), close, "sensitivity=1")
    np.testing.assert_array_equal(close >= chosen.threshold, [False, True])
    certain = evaluation.choose_threshold(np.array([1, 0]), np.array([0.2, 1.0]), "specificity=1")
    assert certain.specificity == 1
    assert certain.threshold > 1


@pytest.mark.parametrize(
    "text", ["", "best", "sensitivity", "sensitivity=", "sensitivity=1.5", "specificity=0", "f1=1"]
)
def test_a_wrong_rule_is_refused_with_the_rules(text):
    with pytest.raises(UserError, match="--threshold"):
        evaluation.parse_threshold_rule(text)


def test_a_rule_prints_as_it_was_given():
    for rule in RULES:
        assert str(evaluation.parse_threshold_rule(rule)) == rule


def test_a_threshold_needs_both_classes():
    with pytest.raises(UserError, match="positive"):
        evaluation.choose_threshold(np.zeros(5, int), np.linspace(0, 1, 5), "youden")


# --- curves and calibration


@pytest.mark.parametrize("decimals", [None, 1])
def test_roc_encloses_the_auroc_and_rises_from_corner_to_corner(decimals):
    labels, scores = binary_data(decimals=decimals)
    false_rate, true_rate, _ = evaluation.roc_curve(labels, scores)
    assert (false_rate[0], true_rate[0], false_rate[-1], true_rate[-1]) == (0, 0, 1, 1)
    assert (np.diff(false_rate) >= 0).all() and (np.diff(true_rate) >= 0).all()
    area = np.sum(np.diff(false_rate) * (true_rate[1:] + true_rate[:-1]) / 2)
    assert area == pytest.approx(evaluation.auroc(labels, scores))


def test_precision_recall_steps_enclose_the_average_precision():
    labels, scores = binary_data(decimals=1)
    precision, recall, thresholds = evaluation.precision_recall_curve(labels, scores)
    area = np.sum(np.diff(recall) * precision[1:])
    assert area == pytest.approx(reference.average_precision_score(labels, scores))
    called = scores >= thresholds[3]
    assert precision[3] == pytest.approx(reference.precision_score(labels, called))


def test_calibrated_probabilities_have_a_small_error_and_sharpened_ones_a_large_one():
    random = np.random.default_rng(0)
    probabilities = random.random(20_000)
    labels = (random.random(20_000) < probabilities).astype(np.int64)
    honest = evaluation.reliability_curve(labels, probabilities)
    sharpened = evaluation.apply_temperature(probabilities, 0.3)
    boastful = evaluation.reliability_curve(labels, sharpened)
    assert honest.counts.sum() == 20_000
    assert honest.expected_calibration_error < 0.015 < 0.1 < boastful.expected_calibration_error
    assert evaluation.fit_temperature(labels, probabilities) == pytest.approx(1, abs=0.05)
    assert evaluation.fit_temperature(labels, sharpened) == pytest.approx(1 / 0.3, rel=0.05)


def test_temperature_of_many_classes_keeps_the_winner_and_undoes_sharpening():
    labels, probabilities = multiclass_data(4000)
    once = evaluation.fit_temperature(labels, probabilities)
    sharpened = evaluation.apply_temperature(probabilities, 0.5)
    np.testing.assert_allclose(sharpened.sum(axis=1), 1)
    np.testing.assert_array_equal(sharpened.argmax(axis=1), probabilities.argmax(axis=1))
    assert evaluation.fit_temperature(labels, sharpened) == pytest.approx(2 * once, rel=0.02)


def test_probabilities_of_one_fall_into_the_last_bin():
    curve = evaluation.reliability_curve(np.array([1, 1]), np.array([1.0, 0.95]))
    assert curve.counts[-1] == 2


def test_many_classes_cost_resamples_but_never_below_the_floor():
    assert bootstrap.affordable_resamples(1000, examples=5000, classes=2) == 1000
    few = bootstrap.affordable_resamples(1000, examples=50_000, classes=1000)
    assert few == bootstrap.FEWEST_RESAMPLES


def test_mean_auroc_of_several_classes_is_the_mean_over_those_that_are_there():
    labels = np.array([0, 1, 2, 0, 1, 2])
    perfect = np.eye(4)[labels]
    assert evaluation.mean_auroc(labels, perfect) == 1
    assert evaluation.mean_auroc(labels, 1 - perfect) == 0
    assert evaluation.mean_auroc(np.zeros(3, int), np.zeros(3)) is None
