"""Losses that are not finite: the run ends or goes back, and says where."""

import itertools
import weakref

import numpy as np
import pytest
from striped_trainings import diverging, train, with_

from engine.pipeline import datasets
from engine.pipeline.reading import StoredSplit
from engine.training import diagnosis, trainer
from engine.training.runtime import Runtime
from engine.training.training_step import TrainingStep

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.mark.parametrize("cache", ["memory", "streaming"])
def test_a_loss_that_is_not_finite_ends_the_run_with_step_and_files(
    striped, tmp_path, monkeypatch, cache
):
    diverging(monkeypatch, 3)
    with pytest.raises(trainer.DivergenceError, match=r"step 3 .*learning rate"):
        train(striped, tmp_path / "run", with_(cache=cache))
    names = (tmp_path / "run" / "diverged_batch.txt").read_text().splitlines()
    batches = datasets.training(striped, global_batch_size=16, cache=cache)
    _, labels = next(itertools.islice(iter(batches), 2, None))
    numbers = [int(name.removesuffix(".png")) for name in names]
    assert [int(number % 3 > 0) for number in numbers] == labels.numpy().tolist()
    stored = StoredSplit(striped, "train").load(("image", "path"))
    assert len(set(numbers)) == 16
    assert set(names) <= {path.decode() for path in stored["path"]}


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_rewind_goes_on_from_the_last_checkpoint_with_a_lower_rate(
    striped, tmp_path, monkeypatch, schedule
):
    config = with_(on_divergence="rewind", schedule=schedule, checkpoint_every="2")
    undisturbed = train(striped, tmp_path / "whole", config)
    diverging(monkeypatch, 4, 5)  # step 4, and again the first step after going back
    lines = []
    result = trainer.train(config, striped, tmp_path / "run", say=lines.append)
    assert [line for line in lines if "going back to step 2" in line][1:]
    for disturbed, whole in zip(result.history, undisturbed.history, strict=True):
        np.testing.assert_allclose(disturbed["learning_rate"], whole["learning_rate"] / 100, 1e-4)


def test_training_images_are_decoded_once_for_rewinds_and_diagnosis(striped, tmp_path, monkeypatch):
    decoded = []
    load = StoredSplit.load

    def counted(split, features=("image", "label")):
        decoded.extend([split.name] * ("image" in features))
        return load(split, features)

    monkeypatch.setattr(StoredSplit, "load", counted)
    monkeypatch.setattr(diagnosis, "images_per_second", lambda run, **options: run() and 1.0)
    diverging(monkeypatch, 4)
    config = with_(epochs=1, on_divergence="rewind", cache="memory")
    assert train(striped, tmp_path / "run", config, diagnose=True).diagnosis
    assert sorted(decoded) == ["train", "validation"]


def test_rewinding_ends_after_the_times_that_were_given(striped, tmp_path, monkeypatch):
    monkeypatch.setattr(TrainingStep, "run", lambda *_, **options: (np.array([np.inf]), 0, False))
    lines = []
    with pytest.raises(trainer.DivergenceError):
        trainer.train(
            with_(on_divergence="rewind", max_rewinds=2),
            striped,
            tmp_path / "run",
            say=lines.append,
        )
    assert sum("going back to step 0" in line for line in lines) == 2


def test_a_diverging_step_among_several_is_named_with_its_rate(striped, tmp_path, monkeypatch):
    messages = []
    for steps in ("1", "4"):
        with monkeypatch.context() as patched:
            diverging(patched, 3)
            with pytest.raises(trainer.DivergenceError, match="at step 3 ") as raised:
                train(striped, tmp_path / steps, with_(steps_per_execution=steps))
        messages.append(str(raised.value).partition(" (all ")[0])
    assert messages[0] == messages[1]


def test_the_batches_before_a_rewind_are_closed_before_others_are_opened(
    striped, tmp_path, monkeypatch
):
    diverging(monkeypatch, 3)
    open_batches, opened = Runtime.distribute, []

    def distribute(self, make_dataset):
        assert all(batches() is None for batches in opened)
        batches = open_batches(self, make_dataset)
        opened.append(weakref.ref(batches))
        return batches

    monkeypatch.setattr(Runtime, "distribute", distribute)
    train(striped, tmp_path / "run", with_(epochs=1, on_divergence="rewind"), diagnose=True)
    assert len(opened) == 4
