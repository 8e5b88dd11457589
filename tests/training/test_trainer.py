"""Whole trainings: what a run learns, leaves behind and decides."""

import csv
import itertools
import json

import keras
import numpy as np
import pytest
from numbered_shards import striped_image
from scipy import special
from striped_trainings import STEPS, TINY, comparable, model_weights, stop_after, train, with_

from engine.base.config import UserError
from engine.base.settings import TrainConfig
from engine.metrics import curves, predictions
from engine.pipeline import augmentation, batch_order, tiers
from engine.pipeline.reading import StoredSplit
from engine.runs import contract
from engine.runs.run_directory import RunDirectory
from engine.training import checkpoints, finishing, optimization, trainer
from engine.training.training_step import TrainingStep

pytestmark = pytest.mark.usefixtures("undrawn")
TUTORIAL = TrainConfig(
    model="tutorial", augment="tutorial", epochs=1, global_batch_size=16, precision="float32"
)


def test_a_run_learns_and_leaves_all_its_files(striped, drawn, tmp_path):
    result = train(striped, tmp_path / "run", with_(epochs=6))
    run = RunDirectory(tmp_path / "run")
    assert result.best_value > 0.95
    assert not result.stopped
    for path in (run.config, run.environment, run.history, run.model, run.threshold):
        assert path.is_file(), path
    assert run.history_figure.read_bytes().startswith(b"\x89PNG")
    assert list(run.tensorboard.iterdir())
    rows = list(csv.DictReader(run.history.open()))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert TrainConfig.from_json(json.loads(run.config.read_text())) == with_(epochs=6)
    data = json.loads(run.environment.read_text())["data"]
    assert data["class_names"] == ["well", "ill"]
    assert data["image_size"] == [16, 16]
    summary = json.loads(run.training_summary.read_text())
    assert summary["best_value"] == result.best_value
    assert summary["images_per_second"] > 0


def test_a_run_ends_with_a_calibration_of_its_prior_and_a_threshold_on_it(
    undisturbed,
):
    images, labels = np.stack([striped_image(n) for n in range(40)]), np.arange(40) % 3 > 0
    shares = {"balanced": (0.5, 0.5), "none": (1 / 3, 2 / 3)}
    for class_weights, expected in shares.items():
        result, run = undisturbed(with_(class_weights=class_weights))
        found = contract.read(run)
        assert found.calibration.prior == pytest.approx(expected, abs=0.01)
        record = json.loads(run.threshold.read_text())
        assert record["calibration"] == found.calibration.to_json()
        assert record["threshold"] == found.threshold == result.threshold
        own = keras.saving.load_model(run.model).predict(images, verbose=0)[:, 0]
        decided = own >= record["own_threshold"]
        calibrated = predictions.probabilities(found.calibration.log_odds(special.logit(own)))
        np.testing.assert_array_equal(decided, calibrated >= record["threshold"])
        assert record["sensitivity"] == pytest.approx(decided[labels].mean(), abs=0.05)


def test_a_validation_split_too_small_to_choose_by_is_said_once(striped, tmp_path):
    said = []
    trainer.train(with_(epochs=1), striped, tmp_path / "run", say=said.append)
    assert sum("validation has 14 images of class 'well'" in line for line in said) == 1


def test_the_model_file_holds_the_best_epochs_weights(striped, tmp_path):
    config = with_(epochs=4, monitor="val_auroc", refit_head=False)
    result = train(striped, tmp_path / "run", config)
    model = keras.saving.load_model(RunDirectory(tmp_path / "run").model)
    manifest_images = np.stack([striped_image(n) for n in range(40)])
    labels = np.arange(40) % 3 > 0
    probabilities = model.predict(manifest_images, verbose=0)[:, 0]
    best = max(row["val_auroc"] for row in result.history)
    assert result.best_value == best
    assert curves.mean_auroc(labels.astype(int), probabilities) == pytest.approx(best, abs=1e-6)


def test_validation_ranks_images_whose_probabilities_are_all_one(
    striped, undisturbed, tmp_path, monkeypatch
):
    config = with_(epochs=1, deterministic=True)
    usual, _ = undisturbed(config)
    predict = TrainingStep.predict
    monkeypatch.setattr(TrainingStep, "predict", lambda step, images: 40 + predict(step, images))
    saturated = train(striped, tmp_path / "saturated", config)
    area = usual.history[0]["val_auroc"]
    assert area > 0.6  # of tied images it is 0.5
    assert saturated.history[0]["val_auroc"] == pytest.approx(area, abs=0.01)


def test_what_training_is_measured_with_is_what_is_switched_on(striped):
    plain = with_(
        augment="none", label_smoothing=0, class_weights="none", dropout=0, ema_momentum=0
    )
    assert finishing.learned_with(plain, has_dropout=False) == []
    assert finishing.learned_with(
        with_(plain, label_smoothing=0.1, class_weights="balanced"), has_dropout=False
    ) == [
        "labels smoothed by 0.1",
        "classes weighted alike",
    ]
    drawn = with_(plain, sampling="balanced", class_weights="balanced", rotation=5)
    assert finishing.learned_with(drawn, has_dropout=False) == [
        "augmented images",
        "classes drawn alike",
    ]


def test_the_same_seed_gives_the_same_run(striped, undisturbed, tmp_path):
    config = with_(epochs=1, deterministic=True)
    one, _ = undisturbed(config)
    same = train(striped, tmp_path / "same", config)
    assert comparable(one.history) == comparable(same.history)


@pytest.mark.parametrize("change", ["seed", "order", "draws"])
def test_losses_tell_another_seed_order_or_draw(
    striped, undisturbed, tmp_path, monkeypatch, change
):
    """What equal losses show: no more than this would move them past what is taken for equal."""
    config = with_(epochs=1, deterministic=True)
    one, _ = undisturbed(config)
    shuffled, draw = batch_order.shuffled, augmentation.draw
    if change == "seed":
        config = with_(config, seed=1)
    elif change == "order":
        monkeypatch.setattr(
            batch_order,
            "shuffled",
            lambda positions, seed, *rest, **named: shuffled(positions, 1, *rest, **named),
        )
    else:
        monkeypatch.setattr(
            augmentation, "draw", lambda *rest, seed, **named: draw(*rest, seed=1, **named)
        )
    other = train(striped, tmp_path / "other", config)
    difference = other.history[0]["loss"] / one.history[0]["loss"] - 1
    assert abs(difference) > 1e-4


def test_auto_counts_the_validation_split_that_training_holds(striped, tmp_path, monkeypatch):
    """140 images: with the 40 to validate on, more than half of what is free."""
    lines = []
    monkeypatch.setattr(tiers, "available_memory_bytes", lambda: 2 * 139 * 16 * 16)
    trainer.train(with_(epochs=1, cache="auto"), striped, tmp_path / "run", say=lines.append)
    assert [line for line in lines if line.startswith("input: streaming tier")]


@pytest.mark.parametrize("steps", ["2", "4", "100"])
def test_steps_run_together_give_the_run_of_single_ones(striped, undisturbed, tmp_path, steps):
    config = with_(deterministic=True, checkpoint_every="5", profile="3:4")
    single, one = undisturbed(config)
    together = train(striped, tmp_path / "together", with_(config, steps_per_execution=steps))
    assert comparable(together.history) == comparable(single.history)
    other = RunDirectory(tmp_path / "together")
    for a, b in zip(model_weights(one), model_weights(other), strict=True):
        np.testing.assert_array_equal(a, b)
    names = [[p.name for p in checkpoints.paths(run.checkpoints)] for run in (one, other)]
    assert names[0] == names[1]


def test_chosen_steps_are_traced(striped, tmp_path):
    train(striped, tmp_path / "run", with_(epochs=1, profile="2:3"))
    traces = list((tmp_path / "run" / "tensorboard").rglob("*.xplane.pb"))
    assert len(traces) == 1


def test_early_stopping_ends_a_run_without_progress(striped, tmp_path, monkeypatch):
    values = itertools.chain([0.9], itertools.repeat(0.5))
    monkeypatch.setattr(curves, "mean_auroc", lambda labels, probabilities: next(values))
    result = train(striped, tmp_path / "run", with_(epochs=20, early_stopping_patience=2))
    assert len(result.history) == 3
    assert result.best_epoch == 1


def test_epochs_of_the_head_alone_try_no_patience(striped, tmp_path, monkeypatch):
    values = itertools.chain([0.9], itertools.repeat(0.5))
    monkeypatch.setattr(curves, "mean_auroc", lambda labels, probabilities: next(values))
    config = with_(
        epochs=20,
        freeze_epochs=4,
        schedule="constant",
        plateau_patience=1,
        early_stopping_patience=2,
    )
    rows = train(striped, tmp_path / "run", config).history
    assert len(rows) == 6
    rates = [row["learning_rate"] for row in rows]
    assert rates[:5] == rates[:1] * 5 and rates[5] < rates[0]


def test_a_caller_ends_a_run_early_and_it_is_finished(striped, tmp_path):
    seen = []

    def after_three(rows):
        seen.append(len(rows))
        return len(rows) >= 3

    result = train(striped, tmp_path / "run", with_(epochs=8), ends_early=after_three)
    assert len(result.history) == 3 and not result.stopped
    assert seen == [1, 2, 3]
    assert result.threshold is not None
    assert RunDirectory(tmp_path / "run").training_summary.is_file()


def test_a_run_at_a_smaller_image_size_trains_and_its_model_takes_the_shards_size(
    striped, tmp_path
):
    train(striped, tmp_path / "run", with_(epochs=1, image_size=[8, 8]))
    model = keras.saving.load_model(RunDirectory(tmp_path / "run").model)
    assert model.input_shape == (None, 16, 16, 1)
    with pytest.raises(UserError, match="--image-size 32x32 is larger"):
        train(striped, tmp_path / "large", with_(image_size=[32, 32]))


def test_a_plateau_reduces_a_constant_rate(striped, tmp_path, monkeypatch):
    falling = itertools.count(0.9, -0.1)
    monkeypatch.setattr(curves, "mean_auroc", lambda labels, probabilities: next(falling))
    config = with_(epochs=3, schedule="constant", plateau_patience=1, plateau_factor=0.5)
    rates = [row["learning_rate"] for row in train(striped, tmp_path / "run", config).history]
    np.testing.assert_allclose(rates, [3e-3, 3e-3, 1.5e-3], rtol=1e-5)


def test_a_plateau_reduces_a_rate_no_further_than_the_least_resumed_or_not(
    striped, tmp_path, monkeypatch
):
    config = with_(
        epochs=5,
        schedule="constant",
        plateau_patience=1,
        plateau_factor=0.5,
        min_learning_rate=1e-3,
        deterministic=True,
    )

    def train_with_falling_auroc(name, stops=()):
        falling = itertools.count(0.9, -0.1)
        monkeypatch.setattr(curves, "mean_auroc", lambda labels, probabilities: next(falling))
        for steps in stops:
            train(striped, tmp_path / name, config, should_stop=stop_after(steps))
        result = train(striped, tmp_path / name, config, resume=bool(stops))
        return comparable(result.history)

    whole = train_with_falling_auroc("whole")
    rates = [row["learning_rate"] for row in whole]
    np.testing.assert_allclose(rates, [3e-3, 3e-3, 1.5e-3, 1e-3, 1e-3], rtol=1e-5)
    # In the epoch after the first reduction.
    assert train_with_falling_auroc("parts", stops=[2 * STEPS + 3]) == whole


def test_the_rate_of_an_epoch_is_that_of_its_last_step(striped, tmp_path):
    result = train(striped, tmp_path / "run", with_(warmup_epochs=1.0, epochs=4))
    schedule = optimization.WarmupCosine(3e-3, warmup_steps=STEPS, total_steps=4 * STEPS)
    expected = [float(schedule(last)) for last in range(STEPS - 1, 4 * STEPS, STEPS)]
    np.testing.assert_allclose([row["learning_rate"] for row in result.history], expected, 1e-5)


def test_of_epochs_that_tie_the_weights_of_the_lowest_loss_are_kept(striped, tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "mean_auroc", lambda labels, probabilities: 1.0)
    result = train(striped, tmp_path / "run", with_(epochs=4))
    losses = [row["val_loss"] for row in result.history]
    assert losses[0] > min(losses)
    assert result.best_epoch == 1 + losses.index(min(losses))


@pytest.mark.slow
@pytest.mark.parametrize("normalization", ["weight", "batch"])
def test_averaged_weights_are_as_good_as_the_last_steps(striped, tmp_path, normalization):
    """With a fixed momentum and the last steps' batch statistics: an accuracy of 0.65 instead of 1."""
    config = with_(epochs=6, normalization=normalization)
    accuracies = {}
    for ema_momentum in (0.0, 0.995):
        result = train(
            striped, tmp_path / str(ema_momentum), with_(config, ema_momentum=ema_momentum)
        )
        accuracies[ema_momentum] = result.history[-1]["val_accuracy"]
    assert accuracies[0.0] > 0.9
    assert accuracies[0.995] >= accuracies[0.0] - 0.05


def test_the_model_file_holds_the_batch_statistics_that_were_validated(striped, tmp_path):
    config = with_(ema_momentum=0.995, normalization="batch", refit_head=False)
    result = train(striped, tmp_path / "run", config)
    model = keras.saving.load_model(RunDirectory(tmp_path / "run").model)
    probabilities = model.predict(np.stack([striped_image(n) for n in range(40)]), verbose=0)[:, 0]
    labels = np.arange(40) % 3 > 0
    loss = -np.log(np.where(labels, probabilities, 1 - probabilities)).mean()
    assert loss == pytest.approx(result.history[result.best_epoch - 1]["val_loss"], rel=1e-4)


def test_images_for_statistics_and_for_the_sample_are_read_once_for_all_epochs(
    striped, tmp_path, monkeypatch
):
    read, first_images = [], StoredSplit.first_images

    def counted(split, count):
        read.append(count)
        return first_images(split, count)

    monkeypatch.setattr(StoredSplit, "first_images", counted)
    train(striped, tmp_path / "run", with_(epochs=2, normalization="batch", training_sample=30))
    assert read == [1024, 30]


def test_the_tutorial_network_trains(striped, tmp_path):
    result = train(striped, tmp_path / "run", TUTORIAL)
    assert len(result.history) == 1


def test_a_run_begins_where_the_one_that_it_starts_from_was_best(striped, tmp_path, undisturbed):
    source, run = undisturbed(TINY)
    config = with_(init_from=str(run.path), learning_rate=1e-8, epochs=1)
    said = []
    result = trainer.train(config, striped, tmp_path / "run", say=said.append)
    best = source.history[source.best_epoch - 1]
    assert result.history[0]["val_loss"] == pytest.approx(best["val_loss"], rel=1e-3)
    record = json.loads(RunDirectory(tmp_path / "run").initial_weights.read_text())
    count = len(record["taken"])
    expected = f"initial weights: {count} of {count} variables from epoch {source.best_epoch} of"
    assert any(line.startswith(expected) for line in said)
