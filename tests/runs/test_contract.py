"""The contract says all that inference needs, belongs to one model, and is used only if it is complete."""

import json
import math

import fake_run
import pytest

from engine.base import files
from engine.base.config import UserError
from engine.images.format import ImageFormat
from engine.metrics.temperature import Calibration
from engine.runs import contract
from engine.runs.contract import InferenceContract
from engine.runs.run_directory import RunDirectory

FORMAT = ImageFormat(image_size=(12, 16), channels=3, keep_aspect_ratio=True, bits=12)
CONTRACT = InferenceContract(
    image_format=FORMAT,
    class_names=("NORMAL", "PNEUMONIA"),
    threshold=0.25,
    threshold_rule="youden",
    calibration=Calibration(1.5, prior=(0.25, 0.75)),
    model="e" * 64,
)


@pytest.fixture
def run(tmp_path):
    run = RunDirectory(tmp_path / "run")
    contract.begin(run, CONTRACT)
    run.model.write_bytes(b"first")
    return run


def test_a_contract_comes_back_from_json():
    values = json.loads(json.dumps(CONTRACT.to_json()))
    assert InferenceContract.from_json(values) == CONTRACT


def test_a_run_starts_without_a_threshold_and_ends_with_that_of_its_model(run):
    assert contract.read(run).threshold is None
    calibration = Calibration(2.0, prior=(0.5, 0.5))
    completed = contract.complete(run, threshold=0.3, threshold_rule="f1", calibration=calibration)
    assert contract.read(run) == completed
    assert (completed.threshold, completed.threshold_rule) == (0.3, "f1")
    assert completed.calibration == calibration
    assert completed.model == run.model_digest()
    assert completed.image_format == FORMAT


def test_a_threshold_holds_only_for_the_model_that_it_was_chosen_for(run):
    contract.complete(run, threshold=0.3, threshold_rule="f1")
    run.model.write_bytes(b"second")
    found = contract.read(run)
    assert (found.threshold, found.threshold_rule, found.model) == (None, None, None)
    assert found.class_names == CONTRACT.class_names


def test_a_calibration_without_a_threshold_belongs_to_its_model_too(run):
    contract.complete(run, calibration=Calibration(2.0))
    assert contract.read(run).calibration == Calibration(2.0)
    run.model.write_bytes(b"second")
    assert contract.read(run).calibration is None


def test_a_contract_of_an_earlier_version_has_no_calibration_and_loads(run):
    contract.complete(run, threshold=0.3, threshold_rule="f1", calibration=Calibration(2.0))
    values = files.read_json(run.inference)
    del values["calibration"]
    files.write_json(run.inference, values)
    found = contract.read(run)
    assert (found.threshold, found.calibration) == (0.3, None)


def test_a_resumed_run_keeps_its_threshold_and_a_lost_or_damaged_file_comes_back(run):
    completed = contract.complete(run, threshold=0.3, threshold_rule="f1")
    contract.begin(run, CONTRACT)
    assert contract.read(run) == completed
    for damage in (run.inference.unlink, lambda: run.inference.write_bytes(b"{")):
        damage()
        with pytest.raises(UserError, match="--resume"):
            contract.read(run)
        contract.begin(run, CONTRACT)
        assert contract.read(run).image_format == FORMAT


def test_a_start_that_was_killed_on_other_data_leaves_nothing_behind(run):
    other = InferenceContract(image_format=FORMAT, class_names=("cat", "dog"))
    contract.begin(run, other)
    assert contract.read(run) == other


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("threshold", value) for value in (math.nan, math.inf, -0.1, 1.1, "0.5", True)),
        ("class_names", ["NORMAL"]),
        ("class_names", ["NORMAL", "NORMAL"]),
        ("image_format", {"image_size": [12, 16]}),
        ("format_version", 2),
        ("calibration", 1.5),
        ("calibration", {"temperature": -1, "prior": None}),
        ("calibration", {"temperature": 1, "prior": [0.5, 0.25, 0.25]}),
        ("colour", 1),
    ],
)
def test_what_is_no_contract_is_refused_by_name(run, name, value):
    files.write_text(run.inference, json.dumps({**CONTRACT.to_json(), name: value}))
    with pytest.raises(UserError, match=rf"inference\.json: damaged \('?{name}"):
        contract.read(run)


def test_only_the_contract_decides(tmp_path):
    run = RunDirectory(fake_run.make_run(tmp_path, threshold=0.4))
    files.write_json(run.threshold, {"threshold": 0.9})
    files.write_json(run.environment, {})
    assert contract.read(run).threshold == 0.4
