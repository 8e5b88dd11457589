"""A finished run that goes on to more epochs."""

import json

import numpy as np
import pytest
from striped_trainings import comparable, model_weights, train, with_

from engine.base.config import UserError
from engine.base.settings import TrainConfig
from engine.runs.run_directory import RunDirectory
from engine.training import resuming

CONFIG = TrainConfig(
    epochs=1,
    global_batch_size=16,
    depth=2,
    width=4,
    augment="light",
    precision="float32",
    schedule="constant",
    plateau_patience=1,
    mixup=0.2,
    cutmix=1.0,
    loss="focal",
    deterministic=True,
)


@pytest.mark.usefixtures("undrawn")
def test_under_a_constant_schedule_it_equals_a_run_of_as_many_epochs(striped, tmp_path):
    """With focal loss, mixup and CutMix, which a resume repeats to the bit as well."""
    one, other = RunDirectory(tmp_path / "whole"), RunDirectory(tmp_path / "parts")
    whole = train(striped, one.path, with_(CONFIG, epochs=3))
    train(striped, other.path, CONFIG)
    extended = train(striped, other.path, with_(CONFIG, epochs=3), resume=True)
    assert comparable(extended.history) == comparable(whole.history)
    assert extended.threshold == whole.threshold
    for ours, theirs in zip(model_weights(one), model_weights(other), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert json.loads(other.config.read_text())["epochs"] == 3
    with pytest.raises(UserError, match="extended, not shortened"):
        train(striped, other.path, with_(CONFIG, epochs=2), resume=True)


@pytest.mark.parametrize(
    ("before", "now", "message"),
    [
        ({}, {"epochs": 2}, None),
        ({"epochs": 2}, {"epochs": 1}, "extended, not shortened"),
        ({"schedule": "cosine"}, {"schedule": "cosine", "epochs": 2}, "--init-from .* --epochs 1"),
        (
            {"average_from": 0.5},
            {"average_from": 0.5, "epochs": 2},
            "--average-from 0.5 .* extended",
        ),
        ({}, {"epochs": 2, "seed": 1}, "--epochs was 1, now 2; --seed was 0, now 1"),
    ],
)
def test_what_extends_a_run_is_said_before_tensorflow_starts(tmp_path, before, now, message):
    run = RunDirectory(tmp_path)
    run.config.write_text(json.dumps(with_(CONFIG, **before).to_json()))
    if message is None:
        resuming.check_same_run(run, with_(CONFIG, **now), {})
        return
    with pytest.raises(UserError, match=message):
        resuming.check_same_run(run, with_(CONFIG, **now), {})
