"""A finished run that goes on to more epochs."""

import json

import keras
import numpy as np
import pytest
from numbered_shards import striped_image, write_shards

from engine.base.config import UserError
from engine.base.settings import TrainConfig
from engine.runs.run_directory import RunDirectory
from engine.training import finishing, history, resuming, trainer

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


def with_(**changes):
    return TrainConfig.from_json({**CONFIG.to_json(), **changes})


def comparable(rows):
    return [{k: v for k, v in row.items() if k not in history.CLOCK_FIELDS} for row in rows]


def test_under_a_constant_schedule_it_equals_a_run_of_as_many_epochs(tmp_path, monkeypatch):
    """With focal loss, mixup and CutMix, which a resume repeats to the bit as well."""
    monkeypatch.setattr(
        finishing.history_plot, "draw", lambda rows, path, **options: path.write_bytes(b"")
    )
    write_shards(tmp_path / "shards", {"train": 100, "validation": 40}, draw=striped_image)

    def train(name, config, **options):
        run = RunDirectory(tmp_path / name)
        silent = {"say": lambda line: None}
        return trainer.train(config, tmp_path / "shards", run.path, **silent, **options), run

    whole, one = train("whole", with_(epochs=3))
    train("parts", CONFIG)
    extended, other = train("parts", with_(epochs=3), resume=True)
    assert comparable(extended.history) == comparable(whole.history)
    assert extended.threshold == whole.threshold
    for ours, theirs in zip(
        keras.saving.load_model(one.model).get_weights(),
        keras.saving.load_model(other.model).get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert json.loads(other.config.read_text())["epochs"] == 3
    with pytest.raises(UserError, match="extended, not shortened"):
        train("parts", with_(epochs=2), resume=True)


@pytest.mark.parametrize(
    ("before", "now", "message"),
    [
        ({}, {"epochs": 2}, None),
        ({"epochs": 2}, {"epochs": 1}, "extended, not shortened"),
        ({"schedule": "cosine"}, {"schedule": "cosine", "epochs": 2}, "--init-from .* --epochs 1"),
        ({}, {"epochs": 2, "seed": 1}, "--epochs was 1, now 2; --seed was 0, now 1"),
    ],
)
def test_what_extends_a_run_is_said_before_tensorflow_starts(tmp_path, before, now, message):
    run = RunDirectory(tmp_path)
    run.config.write_text(json.dumps(with_(**before).to_json()))
    if message is None:
        resuming.check_same_run(run, with_(**now), {})
        return
    with pytest.raises(UserError, match=message):
        resuming.check_same_run(run, with_(**now), {})
