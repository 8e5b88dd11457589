"""`--refit-head` in a training: what it changes, when it is done, when it is given up."""

import dataclasses

import keras
import numpy as np
import pytest
from striped_trainings import STEPS, TINY, comparable, model_weights, stop_after, train, with_

from engine.base import files
from engine.base.config import UserError
from engine.base.settings import TrainConfig
from engine.networks import registry
from engine.pipeline.reading import StoredSplit
from engine.runs import contract
from engine.runs.run_directory import RunDirectory
from engine.training import building, head_solver, losses, refitted_head, trainer
from engine.training.refitted_head import is_worse
from engine.training.solved_head import SolvedHead

ALIKE = (0.5, 0.5)
LEFT = with_(refit_head=False)


def summary(run):
    return files.read_json(run.training_summary)


def decides(config, **changes):
    config = with_(config, **changes)
    network = registry.resolve(config.model)
    return building.refits_head(config, network, losses.choose(config.loss))


@pytest.fixture(scope="module")
def runs(striped, tmp_path_factory):
    """One training with its head solved for anew, and the same one without."""
    place = tmp_path_factory.mktemp("refitted")
    results = {name: train(striped, place / name, c) for name, c in (("on", TINY), ("off", LEFT))}
    return results, {name: RunDirectory(place / name) for name in results}


@pytest.mark.usefixtures("undrawn")
def test_the_head_alone_is_another_one_and_nothing_else_of_the_training(striped, runs):
    results, places = runs
    assert comparable(results["on"].history) == comparable(results["off"].history)
    on, off = (keras.saving.load_model(places[name].model) for name in ("on", "off"))
    changed = [
        layer.name
        for layer, other in zip(on.layers, off.layers, strict=True)
        if any(
            (a != b).any() for a, b in zip(layer.get_weights(), other.get_weights(), strict=True)
        )
    ]
    assert changed == ["standardize", "logits"]


@pytest.mark.usefixtures("undrawn")
def test_the_summary_says_what_validation_saw_of_both_heads(striped, runs):
    _, places = runs
    assert "refit_head" not in summary(places["off"])
    told = summary(places["on"])["refit_head"]
    assert told["kept"]
    split = StoredSplit(striped, "validation").load(("image", "label"))
    for name, said in (("on", told["after"]), ("off", told["before"])):
        model = keras.saving.load_model(places[name].model)
        given = np.asarray(model(split["image"]))[:, 0]
        own = np.where(split["label"] == 1, given, 1 - given)
        assert said["val_loss"] == pytest.approx(-np.log(own).mean(), rel=1e-3)
        assert said["val_accuracy"] == (own > 0.5).mean()


@pytest.mark.usefixtures("undrawn")
def test_a_run_that_was_stopped_ends_with_the_same_head(striped, tmp_path, runs):
    train(striped, tmp_path / "parts", should_stop=stop_after(9))
    train(striped, tmp_path / "parts", resume=True)
    again = train(
        striped, tmp_path / "parts", resume=True
    )  # a finished run: once more from the epoch's
    assert not again.stopped
    for one, other in zip(
        model_weights(runs[1]["on"]), model_weights(RunDirectory(tmp_path / "parts")), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("undrawn")
def test_a_head_that_is_worse_is_given_up(striped, tmp_path, runs, monkeypatch):
    solve = SolvedHead.__call__

    def spoiled(self, should_stop):
        found = solve(self, should_stop)
        self._dense.kernel.assign(-self._dense.kernel)
        return found

    monkeypatch.setattr(SolvedHead, "__call__", spoiled)
    said = []
    refitted = tmp_path / "run"
    trainer.train(TINY, striped, refitted, say=said.append)
    assert [line for line in said if "so the head stays as it was" in line]
    assert not summary(RunDirectory(refitted))["refit_head"]["kept"]
    for one, other in zip(
        model_weights(runs[1]["off"]), model_weights(RunDirectory(refitted)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_it_is_done_for_built_in_networks_that_were_trained_from_scratch_by_cross_entropy():
    assert decides(TrainConfig())
    assert not decides(TrainConfig(), pooling="average")
    assert not decides(TrainConfig(), loss="focal")
    assert not decides(TrainConfig(), distill_from="teacher")
    assert not decides(TrainConfig(), model="efficientnet_lite0")
    assert decides(TrainConfig(), model="efficientnet_lite0", weights="none")
    assert not decides(TrainConfig(), model="tutorial")
    assert decides(TrainConfig(), loss="focal", refit_head=True)
    assert not decides(TrainConfig(), refit_head=False)


def test_asked_for_with_a_network_that_has_no_dense_head_it_is_an_error_at_once(striped, tmp_path):
    def convolutional(image_format, num_classes):
        image = keras.Input(image_format.image_shape)
        x = keras.layers.Conv2D(num_classes, 3, name="maps")(image)
        return keras.Model(image, keras.layers.Softmax()(keras.layers.GlobalAveragePooling2D()(x)))

    own = {name: getattr(TrainConfig(), name) for name in ("depth", "width")}
    with pytest.raises(UserError, match="this one's last weights are of 'maps'"):
        train(striped, tmp_path / "run", with_(**own, refit_head=True), model=convolutional)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_log_odds_are_worse_when_they_tell_less_and_not_when_they_are_only_surer(num_classes):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, num_classes, 400)
    shape = (400,) if num_classes == 2 else (400, num_classes)
    signal = (2.0 * labels - 1) if num_classes == 2 else 4.0 * np.eye(num_classes)[labels] - 2
    good, poor = signal + rng.normal(size=shape), signal + 2.5 * rng.normal(size=shape)
    prior = (1 / num_classes,) * num_classes
    assert is_worse(labels, poor, good, prior=prior)
    assert not is_worse(labels, good, poor, prior=prior)
    if num_classes == 2:
        assert not is_worse(labels, 10 * good, good, prior=prior)
    assert not is_worse(labels, good, good, prior=prior)


def test_a_difference_within_chance_is_not_worse():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    signal = 2.0 * labels - 1
    one, other = signal + rng.normal(size=60), signal + 1.05 * rng.normal(size=60)
    assert not is_worse(labels, other, one, prior=ALIKE)
    assert not is_worse(labels, one, other, prior=ALIKE)


def test_log_odds_that_are_not_finite_are_worse():
    labels = np.array([0, 1, 0, 1])
    good = np.array([-1.0, 1.0, -2.0, 2.0])
    assert is_worse(labels, np.array([-1.0, np.nan, -2.0, 2.0]), good, prior=ALIKE)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("error", [np.linalg.LinAlgError("no convergence"), MemoryError()])
def test_a_head_that_cannot_be_solved_for_costs_no_training(
    striped, tmp_path, runs, monkeypatch, error
):
    def failing(*arguments, **options):
        raise error

    monkeypatch.setattr(head_solver, "solve", failing)
    result = train(striped, tmp_path / "run")
    assert result.threshold is not None
    assert result.refitted.problem == (str(error) or "MemoryError")
    assert "could not be refitted" in result.refitted.described
    for one, other in zip(
        model_weights(runs[1]["off"]), model_weights(RunDirectory(tmp_path / "run")), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("undrawn")
def test_a_stop_while_it_is_solved_for_is_a_stop_of_the_training(striped, tmp_path, runs):
    steps = 2 * STEPS
    stopped = train(striped, tmp_path / "run", should_stop=stop_after(steps + 1))
    assert stopped.stopped and len(stopped.history) == 2
    run = RunDirectory(tmp_path / "run")
    assert not run.refitted_head.exists() and not run.training_summary.exists()
    assert not train(striped, tmp_path / "run", resume=True).stopped
    for one, other in zip(model_weights(runs[1]["on"]), model_weights(run), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("undrawn")
def test_a_finished_run_keeps_its_head_whatever_solving_again_would_give(
    striped, tmp_path, monkeypatch
):
    first = train(striped, tmp_path / "run")
    run = RunDirectory(tmp_path / "run")
    weights, digest = model_weights(run), run.model_digest()
    monkeypatch.setattr(SolvedHead, "__call__", lambda *_: pytest.fail("solved again"))
    again = train(striped, tmp_path / "run", resume=True)
    assert again.refitted == first.refitted
    assert run.model_digest() == digest
    run.refitted_head.write_bytes(b"damaged")
    monkeypatch.undo()
    train(striped, tmp_path / "run", resume=True)
    for one, other in zip(weights, model_weights(run), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("undrawn")
def test_it_can_be_turned_off_for_a_run_that_has_begun(striped, tmp_path, runs):
    train(striped, tmp_path / "run", should_stop=stop_after(2 * STEPS + 1))
    result = train(striped, tmp_path / "run", LEFT, resume=True)
    assert result.refitted is None
    for one, other in zip(
        model_weights(runs[1]["off"]), model_weights(RunDirectory(tmp_path / "run")), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("undrawn")
def test_turned_off_for_a_finished_run_the_model_has_the_epochs_head_again(striped, tmp_path, runs):
    train(striped, tmp_path / "run")
    train(striped, tmp_path / "run", LEFT, resume=True)
    run = RunDirectory(tmp_path / "run")
    assert not run.refitted_head.exists()
    assert contract.read(run).threshold == contract.read(runs[1]["off"]).threshold
    for one, other in zip(model_weights(runs[1]["off"]), model_weights(run), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("undrawn")
def test_an_epoch_that_was_solved_is_not_solved_again(striped, tmp_path):
    config = with_(epochs=1, freeze_epochs=1, head_solver="lbfgs")
    assert train(striped, tmp_path / "run", config).refitted is None


@pytest.mark.usefixtures("undrawn")
def test_a_network_of_ones_own_that_changes_its_logits_is_refused_before_it_is_trained(
    striped, tmp_path
):
    def scaled(image_format, num_classes):
        image = keras.Input(image_format.image_shape)
        x = keras.layers.Dense(num_classes, name="classifier")(keras.layers.Flatten()(image))
        return keras.Model(image, keras.layers.Softmax()(keras.layers.Rescaling(0.5)(x)))

    own = {name: getattr(TrainConfig(), name) for name in ("depth", "width")}
    with pytest.raises(UserError, match="'classifier' gives is changed behind it"):
        train(striped, tmp_path / "run", with_(**own, refit_head=True), model=scaled)
    assert not RunDirectory(tmp_path / "run").history.exists()


@pytest.mark.usefixtures("undrawn")
def test_in_mixed_precision_it_is_solved_in_full_precision(striped, tmp_path):
    result = train(striped, tmp_path / "run", with_(precision="mixed_bfloat16"))
    assert result.refitted.kept
    assert result.refitted.after["val_loss"] < result.refitted.before["val_loss"]


def test_what_is_told_names_both_heads():
    told = refitted_head.Refit(True, {"val_loss": 0.1}, {"val_loss": 0.05})
    assert told.described == "head refitted: val_loss 0.1000 -> 0.0500"
    given_up = dataclasses.replace(told, kept=False)
    assert given_up.described.endswith("; that is worse, so the head stays as it was")
    undefined = refitted_head.Refit(True, {"val_auroc": None}, {"val_auroc": None})
    assert undefined.described == "head refitted: val_auroc undefined -> undefined"
