"""Training images are measured as validation is, by the same weights, and training does not notice."""

import csv

import keras
import numpy as np
import pytest
from striped_trainings import TINY, comparable, model_weights, stop_after, train, with_

from engine.metrics import curves
from engine.pipeline.reading import StoredSplit
from engine.runs.run_directory import RunDirectory
from engine.training.history import SAMPLE_FIELDS
from engine.training.training_sample import TrainingSample

SMOOTHED = with_(
    TINY,
    label_smoothing=0.2,
    dropout=0.3,
    class_weights="balanced",
    cache="streaming",
    refit_head=False,
)


def without_sample(rows):
    return [{k: v for k, v in row.items() if k not in SAMPLE_FIELDS} for row in comparable(rows)]


def test_training_is_the_same_to_the_bit_with_a_sample_and_without(undisturbed):
    with_sample, its_run = undisturbed(SMOOTHED)
    without, run = undisturbed(with_(SMOOTHED, training_sample=0))
    assert without_sample(with_sample.history) == comparable(without.history)
    for one, other in zip(model_weights(its_run), model_weights(run), strict=True):
        np.testing.assert_array_equal(one, other)
    assert all(name in row for row in with_sample.history for name in SAMPLE_FIELDS)
    assert not any(name in row for row in without.history for name in SAMPLE_FIELDS)


def test_the_figures_are_those_of_the_model_that_is_saved_on_plain_images(undisturbed, striped):
    result, run = undisturbed(SMOOTHED)
    row = result.history[result.best_epoch - 1]
    split = StoredSplit(striped, "train")
    count = StoredSplit(striped, "validation").num_examples
    images, labels = split.load().values()
    shares = keras.saving.load_model(run.model).predict(images[:count], verbose=0)[:, 0]
    odds, positive = np.log(shares / (1 - shares)), labels[:count] == 1
    loss = np.logaddexp(0, np.where(positive, -odds, odds)).mean()
    assert row["sample_loss"] == pytest.approx(loss, rel=1e-4)
    assert row["sample_accuracy"] == pytest.approx(((odds > 0) == positive).mean())
    assert row["sample_auroc"] == pytest.approx(curves.mean_auroc(labels[:count], odds))


def test_a_resumed_run_has_the_figures_of_an_undisturbed_one(undisturbed, striped, tmp_path):
    expected, _ = undisturbed(SMOOTHED)
    train(striped, tmp_path / "run", SMOOTHED, should_stop=stop_after(8))
    resumed = train(striped, tmp_path / "run", SMOOTHED, resume=True)
    assert comparable(resumed.history) == comparable(expected.history)


def test_a_run_may_be_resumed_with_another_sample(striped, tmp_path):
    train(striped, tmp_path / "run", TINY, should_stop=stop_after(8))
    train(striped, tmp_path / "run", with_(training_sample=0), resume=True)
    with open(RunDirectory(tmp_path / "run").history, encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert float(first["sample_loss"]) > 0 and second["sample_loss"] == ""


@pytest.mark.parametrize(("count", "measured"), [(0, 0), (7, 7), (10_000, 100)])
def test_a_sample_is_no_larger_than_the_split_and_reads_nothing_else(striped, count, measured):
    split, seen = StoredSplit(striped, "train"), []

    def predict(images):
        seen.append(images)
        return np.zeros((len(images), 1), np.float32)

    sample = TrainingSample(split, count, predict=predict, loss=lambda labels, logits: logits[:, 0])
    assert sample.count == measured and "images" not in vars(split)
    assert list(sample.measure()) == (list(SAMPLE_FIELDS) if measured else [])
    assert [len(images) for images in seen] == ([measured] if measured else [])


def test_large_images_are_fewer(striped, monkeypatch):
    monkeypatch.setattr("engine.training.training_sample._MOST_BYTES", 16 * 16 * 5)
    split = StoredSplit(striped, "train")
    assert (
        TrainingSample(split, 50, predict=None, loss=None).count
        * np.prod(split.manifest.image_shape)
        <= 16 * 16 * 5
    )
