import csv
import functools
import itertools
import json
import shutil
import weakref

import keras
import numpy as np
import pytest
from numbered_shards import striped_image, write_shards

from engine.base import locks
from engine.base.config import UserError
from engine.base.settings import TrainConfig
from engine.metrics import curves
from engine.networks.stock import StockModel
from engine.pipeline import augmentation, batch_order, datasets, tiers
from engine.pipeline.reading import StoredSplit
from engine.runs.run_directory import RunDirectory
from engine.training import (
    checkpoints,
    diagnosis,
    finishing,
    history,
    optimization,
    periodic,
    trainer,
)
from engine.training.runtime import Runtime
from engine.training.training_step import TrainingStep

TINY = TrainConfig(
    epochs=2,
    global_batch_size=16,
    depth=2,
    width=8,
    augment="light",
    precision="float32",
    warmup_epochs=0.0,
    learning_rate=3e-3,
    ema_momentum=0.5,
    steps_per_execution="1",
)
TUTORIAL = TrainConfig(
    model="tutorial", augment="tutorial", epochs=1, global_batch_size=16, precision="float32"
)
STEPS = 6  # an epoch: 100 // 16


@pytest.fixture(scope="module")
def striped(tmp_path_factory):
    directory = tmp_path_factory.mktemp("striped")
    write_shards(directory, {"train": 100, "validation": 40}, draw=striped_image)
    return directory


@pytest.fixture
def drawn():
    """For a test that looks at the figure of a run."""


@pytest.fixture(autouse=True)
def undrawn(request, monkeypatch):
    """The figure, a quarter of so short a training's time, is drawn only where it is looked at."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(
            finishing.history_plot, "draw", lambda rows, path, **options: path.write_bytes(b"")
        )


def with_(config=TINY, **changes):
    return TrainConfig.from_json({**config.to_json(), **changes})


def train(shards, workdir, config=TINY, **options):
    return trainer.train(config, shards, workdir, say=lambda line: None, **options)


@pytest.fixture(scope="module")
def undisturbed(striped, tmp_path_factory):
    """The run of a configuration, trained once for all tests that compare with it: (result, run). Read only.

    A training costs 2 s of tracing, whatever its length.
    """
    trained = {}

    def run_of(config):
        if config not in trained:
            run = RunDirectory(tmp_path_factory.mktemp("undisturbed") / "run")
            trained[config] = train(striped, run.path, config), run
        return trained[config]

    return run_of


@pytest.fixture
def copy_of(undisturbed, tmp_path):
    """As `undisturbed`, but the run is a copy in `tmp_path / "run"`, to be changed."""

    def copy(config):
        result, run = undisturbed(config)
        shutil.copytree(run.path, tmp_path / "run")
        return result, RunDirectory(tmp_path / "run")

    return copy


def stop_after(steps):
    calls = itertools.count(1)
    return lambda: next(calls) >= steps


def model_weights(run):
    return keras.saving.load_model(run.model).get_weights()


def comparable(rows):
    """History without what the clock decides."""
    return [{k: v for k, v in row.items() if k not in history.CLOCK_FIELDS} for row in rows]


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


def test_a_validation_split_too_small_to_choose_by_is_said_once(striped, tmp_path):
    said = []
    trainer.train(with_(epochs=1), striped, tmp_path / "run", say=said.append)
    assert sum("validation has 14 images of class 'well'" in line for line in said) == 1


def test_the_model_file_holds_the_best_epochs_weights(striped, tmp_path):
    result = train(striped, tmp_path / "run", with_(epochs=4))
    model = keras.saving.load_model(RunDirectory(tmp_path / "run").model)
    manifest_images = np.stack([striped_image(n) for n in range(40)])
    labels = np.arange(40) % 3 > 0
    probabilities = model.predict(manifest_images, verbose=0)[:, 0]
    best = max(row["val_auroc"] for row in result.history)
    assert result.best_value == best
    assert curves.mean_auroc(labels.astype(int), probabilities) == pytest.approx(best, abs=1e-6)


def test_validation_ranks_images_whose_probabilities_are_all_one(striped, tmp_path, monkeypatch):
    config = with_(epochs=1, deterministic=True)
    usual = train(striped, tmp_path / "usual", config)
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


def test_the_same_seed_gives_the_same_run_and_another_seed_another(striped, undisturbed, tmp_path):
    config = with_(epochs=1, deterministic=True)
    one, _ = undisturbed(config)
    same = train(striped, tmp_path / "same", config)
    other = train(striped, tmp_path / "other", with_(config, seed=1))
    assert comparable(one.history) == comparable(same.history)
    assert one.history[0]["loss"] != other.history[0]["loss"]


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


@pytest.mark.parametrize("cache", ["memory", "streaming"])
@pytest.mark.parametrize("stop", [2, STEPS, STEPS + 3])
def test_a_stopped_and_resumed_run_equals_the_undisturbed_one(
    striped, undisturbed, tmp_path, cache, stop
):
    config = with_(cache=cache, deterministic=True, dropout=0.5)
    whole, run = undisturbed(config)
    stopped = train(striped, tmp_path / "parts", config, should_stop=stop_after(stop))
    assert stopped.stopped
    resumed = train(striped, tmp_path / "parts", config, resume=True)
    assert comparable(resumed.history) == comparable(whole.history)
    assert resumed.threshold == whole.threshold
    one, other = model_weights(run), model_weights(RunDirectory(tmp_path / "parts"))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_resuming_a_finished_run_changes_nothing(striped, copy_of):
    first, run = copy_of(with_(deterministic=True))
    again = train(striped, run.path, with_(deterministic=True), resume=True)
    assert comparable(again.history) == comparable(first.history)
    assert again.threshold == first.threshold


def test_a_run_is_not_resumed_with_other_settings_and_the_message_names_them(striped, copy_of):
    config = with_(epochs=1, deterministic=True)
    _, run = copy_of(config)
    with pytest.raises(UserError, match=r"--learning-rate was 0\.003, now 0\.1"):
        train(striped, run.path, with_(config, learning_rate=0.1), resume=True)


def test_a_run_is_not_resumed_on_other_images(striped, copy_of):
    config = with_(epochs=1, deterministic=True)
    _, run = copy_of(config)
    environment = run.environment
    environment.write_text(
        environment.read_text().replace('"fingerprint": "f"', '"fingerprint": "g"')
    )
    with pytest.raises(UserError, match="other images"):
        train(striped, run.path, config, resume=True)


def test_a_run_is_not_resumed_on_another_split_or_pixel_size_and_its_record_stays(
    striped, tmp_path
):
    train(striped, tmp_path / "run", with_(epochs=1))
    run = RunDirectory(tmp_path / "run")
    before = run.environment.read_bytes()
    write_shards(tmp_path / "split", {"train": 97, "validation": 43}, draw=striped_image)
    large = {"draw": lambda n: np.kron(striped_image(n), np.ones((2, 2, 1), np.uint8))}
    write_shards(tmp_path / "size", {"train": 100, "validation": 40}, **large)
    for name in ("split", "size"):
        with pytest.raises(UserError, match="other data"):
            train(tmp_path / name, run.path, with_(epochs=1), resume=True)
    assert run.environment.read_bytes() == before


def test_one_training_at_a_time_in_a_directory(striped, tmp_path):
    refused = []

    def begin_another():
        with pytest.raises(UserError, match="is in use: a training") as raised:
            train(striped, tmp_path / "run", with_(epochs=1), overwrite=True)
        refused.append(raised)
        return False

    result = train(striped, tmp_path / "run", with_(epochs=1), should_stop=begin_another)
    assert len(refused) == STEPS and not result.stopped
    assert not (tmp_path / "run" / locks.LOCK_NAME).exists()


def test_a_report_follows_the_model_as_soon_as_training_replaces_it(striped, tmp_path, monkeypatch):
    run, written = RunDirectory(tmp_path / "run"), []
    monkeypatch.setattr(
        finishing.report, "write_report", lambda run: written.append(run.model_digest())
    )

    def evaluated_meanwhile():
        run.report.write_text("figures of the model before")
        return False

    train(striped, run.path, with_(epochs=1), should_stop=evaluated_meanwhile)
    assert len(written) == 2  # after the epoch, and at the end
    assert set(written) == {run.model_digest()}


def test_a_resume_is_added_to_the_record_of_the_start(striped, tmp_path):
    train(striped, tmp_path / "run", should_stop=stop_after(2))
    run = RunDirectory(tmp_path / "run")
    first = run.read_environment()
    train(striped, run.path, with_(cache="streaming"), resume=True)
    stored = run.read_environment()
    (session,) = stored.pop("resumed")
    assert stored == first and session["host"] == first["host"]
    assert json.loads(run.threshold.read_text())["model"] == run.model_digest()


@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_a_resume_keeps_the_order_that_the_run_began_in(tmp_path, encoding):
    write_shards(
        tmp_path / "s", {"train": 40, "validation": 20}, encoding=encoding, draw=striped_image
    )
    train(tmp_path / "s", tmp_path / "run", with_(cache="memory"), should_stop=stop_after(1))
    resume = {"config": with_(cache="streaming"), "resume": True}
    if encoding == "raw":
        assert train(tmp_path / "s", tmp_path / "run", **resume).history
    else:
        with pytest.raises(UserError, match="give --cache memory"):
            train(tmp_path / "s", tmp_path / "run", **resume)


def test_an_earlier_run_is_kept_unless_told_otherwise(striped, copy_of, tmp_path):
    config = with_(epochs=1, deterministic=True)
    copy_of(config)
    with pytest.raises(UserError, match="--resume"):
        train(striped, tmp_path / "run", config)
    (tmp_path / "run" / "notes.txt").write_text("mine")
    train(striped, tmp_path / "run", config, overwrite=True)
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_a_directory_with_other_files_is_refused(striped, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="other files"):
        train(striped, tmp_path)
    with pytest.raises(UserError, match="by hand"):
        train(striped, tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_damaged_checkpoint_is_passed_over(striped, copy_of):
    config = with_(deterministic=True)
    whole, run = copy_of(config)
    newest = checkpoints.paths(run.checkpoints)[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    lines = []
    resumed = trainer.train(config, striped, run.path, resume=True, say=lines.append)
    assert any(newest.name in line for line in lines)
    assert comparable(resumed.history) == comparable(whole.history)


class Killed(BaseException):
    """What stands in for a kill: nothing of the run's own gets to do anything more."""


def killed_at(step):
    calls = itertools.count(1)

    def should_stop():
        if next(calls) == step:
            raise Killed
        return False

    return should_stop


@pytest.mark.parametrize("cache", ["memory", "streaming"])
@pytest.mark.parametrize("step", [1, 5, 9])
def test_a_run_killed_inside_an_epoch_ends_as_the_undisturbed_one(
    striped, undisturbed, tmp_path, cache, step
):
    config = with_(deterministic=True, checkpoint_every="2", cache=cache)
    whole, whole_run = undisturbed(config)
    with pytest.raises(Killed):
        train(striped, tmp_path / "run", config, should_stop=killed_at(step))
    saved = [path.name for path in checkpoints.paths(RunDirectory(tmp_path / "run").checkpoints)]
    expected = [s for s in (2, 4, 6, 8) if s < step]
    assert saved == [f"step-{s:08d}.npz" for s in expected[-checkpoints.KEPT :]]
    resumed = train(striped, tmp_path / "run", config, resume=True)
    assert comparable(resumed.history) == comparable(whole.history)
    for ours, theirs in zip(
        model_weights(RunDirectory(tmp_path / "run")),
        model_weights(whole_run),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def diverging(monkeypatch, *steps):
    """Makes these steps of `TrainingStep.run` (counted from 1) find a loss that is not finite."""
    calls, run = itertools.count(1), TrainingStep.run

    def maybe(self, batches, count, **options):
        losses, *rest = run(self, batches, count, **options)
        return np.where([next(calls) in steps for _ in losses], np.nan, losses), *rest

    monkeypatch.setattr(TrainingStep, "run", maybe)


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


def test_auto_counts_the_validation_split_that_training_holds(striped, tmp_path, monkeypatch):
    """140 images: with the 40 to validate on, more than half of what is free."""
    lines = []
    monkeypatch.setattr(tiers, "available_memory_bytes", lambda: 2 * 139 * 16 * 16)
    trainer.train(with_(epochs=1, cache="auto"), striped, tmp_path / "run", say=lines.append)
    assert [line for line in lines if line.startswith("input: streaming tier")]


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


def test_a_diverging_step_among_several_is_named_with_its_rate(striped, tmp_path, monkeypatch):
    messages = []
    for steps in ("1", "4"):
        with monkeypatch.context() as patched:
            diverging(patched, 3)
            with pytest.raises(trainer.DivergenceError, match="at step 3 ") as raised:
                train(striped, tmp_path / steps, with_(steps_per_execution=steps))
        messages.append(str(raised.value).partition(" (all ")[0])
    assert messages[0] == messages[1]


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


def test_a_resumed_run_ends_early_where_the_undisturbed_one_does(striped, tmp_path):
    train(striped, tmp_path / "run", with_(epochs=8), should_stop=stop_after(3 * STEPS + 1))
    ends = {"ends_early": lambda rows: len(rows) >= 3}
    result = train(striped, tmp_path / "run", with_(epochs=8), resume=True, **ends)
    assert len(result.history) == 3 and not result.stopped


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
    result = train(striped, tmp_path / "run", with_(ema_momentum=0.995, normalization="batch"))
    model = keras.saving.load_model(RunDirectory(tmp_path / "run").model)
    probabilities = model.predict(np.stack([striped_image(n) for n in range(40)]), verbose=0)[:, 0]
    labels = np.arange(40) % 3 > 0
    loss = -np.log(np.where(labels, probabilities, 1 - probabilities)).mean()
    assert loss == pytest.approx(result.history[result.best_epoch - 1]["val_loss"], rel=1e-4)


def test_a_resumed_run_with_batch_statistics_equals_the_undisturbed_one(striped, tmp_path):
    config = with_(ema_momentum=0.995, normalization="batch", deterministic=True)
    whole = train(striped, tmp_path / "whole", config)
    train(striped, tmp_path / "parts", config, should_stop=stop_after(STEPS + 3))
    resumed = train(striped, tmp_path / "parts", config, resume=True)
    assert comparable(resumed.history) == comparable(whole.history)


class FakeTime:
    """A clock that goes on by 1 second per step, 10 per validation, 100 per model saved."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        watch = functools.partial(periodic.Stopwatch, clock=lambda: self.now)
        monkeypatch.setattr(periodic, "Stopwatch", watch)
        self._slow(monkeypatch, TrainingStep, "run", 1)
        self._slow(monkeypatch, TrainingStep, "predict", 10)
        self._slow(monkeypatch, StockModel, "save", 100)

    def _slow(self, monkeypatch, owner, name, seconds):
        original = getattr(owner, name)

        def slow(*values, **options):
            self.now += seconds
            return original(*values, **options)

        monkeypatch.setattr(owner, name, slow)


def falling_auroc(monkeypatch):
    """Every epoch is worse than the first."""
    values = iter(range(0, -10, -1))
    monkeypatch.setattr(curves, "mean_auroc", lambda labels, probabilities: next(values))


def test_the_seconds_of_an_epoch_hold_validation_and_saving(striped, tmp_path, monkeypatch):
    FakeTime(monkeypatch)
    falling_auroc(monkeypatch)
    result = train(striped, tmp_path / "run", with_(epochs=2))
    assert [row["seconds"] for row in result.history] == [STEPS + 110, STEPS + 10]
    # One more pass over validation chooses the threshold.
    assert result.seconds == 2 * STEPS + 130
    summary = json.loads(RunDirectory(tmp_path / "run").training_summary.read_text())
    assert summary["seconds"] == result.seconds
    assert summary["train_seconds"] == pytest.approx(result.train_seconds, abs=0.1)
    for row in result.history:
        speed = STEPS * 16 / row["train_seconds"]
        assert row["images_per_second"] == pytest.approx(speed)


@pytest.mark.parametrize("stop", [3, STEPS + 2])
def test_the_seconds_of_a_stopped_and_resumed_run_sum_up(striped, tmp_path, monkeypatch, stop):
    clock = FakeTime(monkeypatch)
    falling_auroc(monkeypatch)
    train(striped, tmp_path / "run", with_(epochs=2), should_stop=stop_after(stop))
    clock.now += 5000
    result = train(striped, tmp_path / "run", with_(epochs=2), resume=True)
    assert [row["seconds"] for row in result.history] == [STEPS + 110, STEPS + 10]


def test_a_rewind_gives_back_no_time(striped, tmp_path, monkeypatch):
    diverging(monkeypatch, 4)
    FakeTime(monkeypatch)
    config = with_(epochs=1, on_divergence="rewind", checkpoint_every="2")
    (row,) = train(striped, tmp_path / "run", config).history
    assert row["seconds"] == 2 + STEPS + 110


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


def test_a_depth_that_does_not_fit_is_the_users_to_mend(striped, tmp_path):
    with pytest.raises(UserError, match="--depth 6"):
        train(striped, tmp_path / "run", with_(depth=6))
    assert not any((tmp_path / "run").iterdir())
    assert train(striped, tmp_path / "run", with_(epochs=1)).history


def test_wrong_input_met_after_a_checkpoint_leaves_the_run(striped, tmp_path):
    shards = tmp_path / "shards"
    shutil.copytree(striped, shards)
    run = RunDirectory(tmp_path / "run")
    train(shards, run.path, with_(epochs=2, cache="streaming"), should_stop=stop_after(STEPS + 1))
    for path in shards.glob("train-*"):
        damaged = bytearray(path.read_bytes())
        for place in range(200, len(damaged), 200):
            damaged[place] ^= 255
        path.write_bytes(damaged)
    with pytest.raises(UserError, match=r"train-00.*--repair"):
        train(shards, run.path, with_(epochs=2, cache="streaming"), resume=True)
    assert checkpoints.paths(run.checkpoints)
    assert run.config.is_file()


def test_images_for_statistics_are_read_once_for_all_epochs(striped, tmp_path, monkeypatch):
    read, first_images = [], StoredSplit.first_images

    def counted(*arguments):
        read.append(arguments)
        return first_images(*arguments)

    monkeypatch.setattr(StoredSplit, "first_images", counted)
    train(striped, tmp_path / "run", with_(epochs=2, normalization="batch"))
    assert len(read) == 1


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
