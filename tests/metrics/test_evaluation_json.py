"""An evaluation goes to JSON and back without losing a bit, whatever in it is undefined."""

import dataclasses
import json

import numpy as np
import pytest
from labelled_scores import BINARY, binary_data, multiclass_data

from engine.base.config import UserError
from engine.metrics import clinical_measures, evaluation, metric_names
from engine.metrics.evaluation import Evaluation
from engine.metrics.shift_results import ShiftResults
from engine.metrics.subject import Subject

SUBJECT = Subject(
    name="elsewhere",
    split="test",
    shards="data/shards",
    fingerprint="f" * 64,
    identity="d" * 64,
    model="e" * 64,
    threshold_rule="youden",
    warnings=("these shards come from other images",),
    classes={"healthy": "NORMAL"},
    held_out_by="NORMAL2-",
    held_out_shared="train",
    left_out={"other": 3},
)


def measured(case):
    if case == "many classes":
        labels, probabilities = multiclass_data()
        names = [f"class {k}" for k in range(probabilities.shape[1])]
        return evaluation.evaluate(labels, probabilities, class_names=names, resamples=200)
    labels, scores = binary_data(80)
    if case == "one class":
        labels = np.ones_like(labels)
    patients = ["same"] * 80 if case == "one patient" else None
    return evaluation.evaluate(labels, scores, patients, class_names=BINARY, resamples=200)


@pytest.fixture(params=["two classes", "many classes", "one class", "one patient"])
def result(request):
    return measured(request.param)


def through_json(result):
    return Evaluation.from_json(json.loads(json.dumps(result.to_json(), allow_nan=False)))


def assert_equal(left, right):
    for field in dataclasses.fields(Evaluation):
        if field.name not in ("confusion", "reliability"):
            assert getattr(left, field.name) == getattr(right, field.name), field.name
    np.testing.assert_array_equal(left.confusion, right.confusion)
    for field in dataclasses.fields(left.reliability):
        np.testing.assert_array_equal(
            getattr(left.reliability, field.name), getattr(right.reliability, field.name)
        )


def test_figures_alone_come_back_exactly(result):
    assert_equal(through_json(result), result)


def test_the_subject_and_the_shifts_come_back_too(result):
    shifts = ShiftResults({"none": {"auroc": 0.9}, "noisy": {"auroc": None}})
    whole = dataclasses.replace(result, subject=SUBJECT, shifts=shifts)
    assert_equal(through_json(whole), whole)
    assert through_json(whole).to_json() == whole.to_json()


def test_files_of_earlier_versions_are_read(result):
    values = result.to_json()
    added = set(metric_names.CLASS_METRICS) | set(metric_names.METRICS)
    added -= {*metric_names.FIRST_METRICS}
    added |= {
        "averages",
        "operating_points",
        "predictive_values",
        "decision_curves",
        "expected_calibration_error_equal_mass",
        "expected_calibration_error_by_chance",
    }
    earlier = {name: value for name, value in values.items() if name not in added}
    for name, row in earlier.get("per_class", {}).items():
        earlier["per_class"][name] = {k: v for k, v in row.items() if k not in added}
    read = Evaluation.from_json(json.loads(json.dumps(earlier)))
    assert set(read.metrics) == set(metric_names.FIRST_METRICS)
    assert all(read.metrics[name] == result.metrics[name] for name in read.metrics)
    assert read.operating_points == read.decision_curves == () and read.averages == {}
    assert read.reliability.equal_mass_error is None
    assert clinical_measures.calibration_text(read) is None
    assert read.to_json()["auroc"] == values["auroc"]


def test_a_file_without_a_name_is_named_after_its_split(result):
    values = dataclasses.replace(result, subject=SUBJECT).to_json()
    del values["name"]
    assert Evaluation.from_json(values).subject.name == "test"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"auroc": None}, "not the figures"),
        ({"confusion_matrix": [[1]]}, "confusion matrix of shape"),
        ({"reliability": []}, "at least one bin"),
        ({"reliability": [{"low": 0, "high": 0}]}, "not the figures"),
        ({"num_examples": "many"}, "not the figures"),
        ({"data": {}}, "'model' is missing"),
        ({"data": {}, "model": None}, "'shards' is missing"),
    ],
)
def test_other_values_are_refused_in_one_line(change, said):
    values = measured("two classes").to_json() | {"split": "test"} | change
    with pytest.raises(UserError, match=said) as refused:
        Evaluation.from_json(values)
    assert "\n" not in str(refused.value)
    with pytest.raises(UserError, match="'threshold' is missing"):
        Evaluation.from_json({})


def test_a_summary_fits_80_columns(result):
    whole = dataclasses.replace(result, subject=SUBJECT)
    lines = str(whole).splitlines()
    assert lines[0].startswith("test: ")
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("AUROC") and str(whole.metrics["auroc"]) in line for line in lines)
