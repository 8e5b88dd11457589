"""Every metric has an interval over patients or says why not; `test_against_scikit_learn` holds the values."""

import json

import numpy as np
import pytest
from labelled_scores import BINARY, binary_data, multiclass_data

from engine.base.config import UserError
from engine.metrics import bootstrap, evaluation, metric_names

RESAMPLED = (
    "loss",
    "brier",
    "scaled_brier",
    "average_precision",
    "balanced_accuracy",
    "f1",
    "mcc",
    "kappa",
    "auroc_bootstrap",
)
# Whose intervals hold where a classifier is always right or always wrong.
RATES = (*metric_names.FIRST_CLASS_METRICS, "ppv", "npv", "accuracy", "balanced_accuracy")


def names(classes):
    return [f"class {k}" for k in range(classes)]


def test_a_class_never_predicted_counts_as_precision_zero_in_the_mean():
    labels = np.array([0, 0, 1, 2])
    probabilities = np.eye(3)[[0, 0, 1, 1]] * 0.9 + 0.1 / 3
    found = evaluation.evaluate(labels, probabilities, class_names=names(3), resamples=200)
    assert found.metrics["precision"].value == pytest.approx((1 + 0.5 + 0) / 3)
    assert found.per_class["class 2"]["precision"].value is None


def test_intervals_hold_the_value_and_have_a_width():
    labels, scores = binary_data()
    found = evaluation.evaluate(labels, scores, class_names=BINARY).metrics
    assert tuple(found) == metric_names.overall(2)
    for name, estimate in found.items():
        assert estimate.low < estimate.value < estimate.high, name


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


def test_the_order_of_examples_does_not_matter_and_the_seed_decides_what_is_resampled():
    labels, scores = binary_data()
    patients = np.array([f"p{i % 70}" for i in range(len(labels))])
    order = np.random.default_rng(2).permutation(len(labels))

    def measured(order, seed=0):
        return evaluation.evaluate(
            labels[order], scores[order], patients[order], class_names=BINARY, seed=seed
        ).metrics

    first, again, reseeded = measured(slice(None)), measured(order), measured(slice(None), seed=1)
    assert measured(slice(None)) == first
    for name, estimate in first.items():
        assert (estimate.value, estimate.low) == pytest.approx(
            (again[name].value, again[name].low), abs=5e-3 if name in RESAMPLED else 1e-12
        ), name
        assert (reseeded[name].low != estimate.low) == (name in RESAMPLED), name


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


def test_nothing_called_positive_leaves_precision_undefined():
    found = evaluation.evaluate(
        np.array([0, 1, 1]), np.array([0.1, 0.2, 0.3]), class_names=BINARY, resamples=200
    )
    assert found.metrics["precision"].value is None
    assert found.metrics["sensitivity"].value == 0


def test_four_images_ranked_right_leave_almost_everything_possible():
    labels, scores = np.array([1, 0, 0, 0]), np.array([0.9, 0.2, 0.3, 0.4])
    metrics = evaluation.evaluate(labels, scores, class_names=BINARY).metrics
    for name in ("auroc", "average_precision", "accuracy", "sensitivity", "specificity", "f1"):
        assert (metrics[name].value, metrics[name].high) == (1, 1), name
        assert 0 <= metrics[name].low < 0.5, name


@pytest.mark.parametrize("classes", [2, 4])
def test_no_metric_of_a_faultless_classifier_has_an_interval_without_width(classes):
    labels = np.arange(240) % classes
    probabilities = np.eye(classes)[labels] * 0.98 + 0.02 / classes
    patients = [f"patient {i // (2 * classes)}" for i in range(240)]
    found = evaluation.evaluate(labels, probabilities, patients, class_names=names(classes))
    rows = [found.metrics, *found.per_class.values()]
    for row in rows:
        for name in RATES if row is found.metrics else metric_names.FIRST_CLASS_METRICS:
            estimate = row[name]
            assert (estimate.value, estimate.high) == (1, 1), name
            assert 0.7 < estimate.low < 0.97, (name, estimate)
    for name in ("mcc", "kappa"):
        estimate = found.metrics[name]
        assert (estimate.value, estimate.high) == (1, 1), name
        assert 0.4 < estimate.low < 0.97, (name, estimate)


@pytest.mark.parametrize("classes", [2, 4])
def test_nor_has_any_of_one_that_is_always_wrong(classes):
    labels = np.arange(240) % classes
    probabilities = np.eye(classes)[(labels + 1) % classes] * 0.98 + 0.02 / classes
    found = evaluation.evaluate(labels, probabilities, class_names=names(classes))
    for name in ("accuracy", "sensitivity", "precision", "f1", "balanced_accuracy"):
        estimate = found.metrics[name]
        assert (estimate.value, estimate.low) == (0, 0), name
        assert 0.01 < estimate.high < 0.3, (name, estimate)


def test_saturated_probabilities_are_ranked_by_their_log_odds():
    labels = np.array([0, 0, 0, 1, 1, 1])
    logits = np.array([-40.0, 18.0, -3.0, 20.0, 19.0, 30.0], np.float32)
    probabilities = 1 / (1 + np.exp(-logits))  # float32: 1 from a logit of 17 on
    tied = evaluation.evaluate(labels, probabilities, class_names=BINARY, resamples=200)
    ranked = evaluation.evaluate(
        labels, probabilities, class_names=BINARY, resamples=200, log_odds=logits
    )
    assert tied.metrics["auroc"].value < 1
    assert ranked.metrics["auroc"].value == ranked.metrics["average_precision"].value == 1
    assert ranked.metrics["loss"] == tied.metrics["loss"]
    with pytest.raises(UserError, match="log-odds"):
        evaluation.evaluate(labels, probabilities, class_names=BINARY, log_odds=logits[:3])


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
    for name in set(metric_names.overall(2)) - {"loss"}:
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


def test_many_classes_cost_resamples_but_never_below_the_floor():
    assert bootstrap.affordable_resamples(1000, examples=5000, classes=2) == 1000
    few = bootstrap.affordable_resamples(1000, examples=50_000, classes=1000)
    assert few == bootstrap.FEWEST_RESAMPLES


def test_a_class_of_which_there_is_no_example_leaves_the_others_measured():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 60)
    probabilities = random.dirichlet(np.ones(3), 60)
    found = evaluation.evaluate(labels, probabilities, class_names=names(3), resamples=200)
    values = json.loads(json.dumps(found.to_json(), allow_nan=False))
    absent = values["per_class"]["class 2"]
    for name in ("auroc", "auroc_delong", "auroc_bootstrap", "sensitivity", "calibration_slope"):
        assert absent[name]["value"] is None and absent[name]["reason"], name
    assert absent["npv"]["value"] is not None
    for name in metric_names.METRICS:
        assert found.metrics[name].value is not None, name
    two = np.mean([found.per_class[f"class {k}"]["auroc"].value for k in (0, 1)])
    assert found.metrics["auroc_delong"].value == pytest.approx(two)
    assert found.averages["weighted"]["auroc"].value is not None
    assert [curve.class_name for curve in found.decision_curves] == ["class 0", "class 1"]


@pytest.mark.parametrize("classes", [2, 3])
def test_equal_probabilities_are_measured(classes):
    labels = np.arange(30) % classes
    equal = np.full(30, 0.3) if classes == 2 else np.full((30, 3), 1 / 3)
    found = evaluation.evaluate(labels, equal, class_names=names(classes), resamples=200)
    json.dumps(found.to_json(), allow_nan=False)
    assert found.metrics["auroc"].value == found.metrics["auroc_delong"].value == 0.5
    assert found.metrics["mcc"].value == found.metrics["kappa"].value == 0
    if classes == 2:
        assert "alike" in found.metrics["calibration_slope"].reason
        assert found.metrics["calibration_in_the_large"].value is not None
        assert found.metrics["likelihood_ratio_positive"].reason == "both of its rates are 0"


@pytest.mark.parametrize("classes", [2, 3])
def test_one_patient_alone_has_values_and_no_interval(classes):
    labels, probabilities = multiclass_data(40, classes)
    found = evaluation.evaluate(
        labels,
        probabilities,
        ["one"] * 40,
        class_names=names(classes),
        resamples=200,
        prevalence=np.full(classes, 1 / classes),
    )
    json.dumps(found.to_json(), allow_nan=False)
    for row in (found.metrics, *found.per_class.values(), *found.averages.values()):
        for name, estimate in row.items():
            assert estimate.value is not None and estimate.low is None, name
            assert "two patients" in estimate.reason, name
