"""A run that was stopped or killed and then resumed ends as the undisturbed one."""

import dataclasses
import itertools
import json
import shutil

import numpy as np
import pytest
from numbered_shards import striped_image, write_shards
from striped_trainings import STEPS, comparable, model_weights, stop_after, train, with_

from engine.base.config import UserError
from engine.networks import registry
from engine.runs.run_directory import RunDirectory
from engine.training import checkpoints, train_arguments, trainer

pytestmark = pytest.mark.usefixtures("undrawn")


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


def test_a_pretrained_run_is_resumed_where_its_weights_are_gone(striped, tmp_path, monkeypatch):
    usual, gone = registry.resolve("cnn"), []

    def check(settings):
        if gone and settings["weights"] != "none":
            raise UserError("the weights are gone")

    def build(*arguments, weights, **settings):
        check({"weights": weights})
        return usual.build(*arguments, **settings)

    settings = (*usual.settings, "weights")
    network = dataclasses.replace(usual, build=build, settings=settings, check_weights=check)
    monkeypatch.setattr(registry, "built_in", lambda: {"cnn": network})
    config = with_(epochs=1, deterministic=True)
    whole = train(striped, tmp_path / "whole", config)
    assert train(striped, tmp_path / "run", config, should_stop=stop_after(3)).stopped
    gone.append(True)
    places = {name: (striped, tmp_path / name) for name in ("run", "new")}
    train_arguments.check_start(config, *places["run"], resume=True, overwrite=False)
    resumed = train(*places["run"], config, resume=True)
    assert comparable(resumed.history) == comparable(whole.history)
    with pytest.raises(UserError, match="the weights are gone"):
        train_arguments.check_start(config, *places["new"], resume=True, overwrite=False)
    with pytest.raises(UserError, match="the weights are gone"):
        train(*places["new"], config, resume=True)


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
    copy_of, tmp_path
):
    config = with_(epochs=1, deterministic=True)
    _, run = copy_of(config)
    before = run.environment.read_bytes()
    write_shards(tmp_path / "split", {"train": 97, "validation": 43}, draw=striped_image)
    large = {"draw": lambda n: np.kron(striped_image(n), np.ones((2, 2, 1), np.uint8))}
    write_shards(tmp_path / "size", {"train": 100, "validation": 40}, **large)
    for name in ("split", "size"):
        with pytest.raises(UserError, match="other data"):
            train(tmp_path / name, run.path, config, resume=True)
    assert run.environment.read_bytes() == before


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


def test_a_resumed_run_ends_early_where_the_undisturbed_one_does(striped, tmp_path):
    train(striped, tmp_path / "run", with_(epochs=8), should_stop=stop_after(3 * STEPS + 1))
    ends = {"ends_early": lambda rows: len(rows) >= 3}
    result = train(striped, tmp_path / "run", with_(epochs=8), resume=True, **ends)
    assert len(result.history) == 3 and not result.stopped


def test_a_resumed_run_with_batch_statistics_equals_the_undisturbed_one(striped, tmp_path):
    config = with_(ema_momentum=0.995, normalization="batch", deterministic=True)
    whole = train(striped, tmp_path / "whole", config)
    train(striped, tmp_path / "parts", config, should_stop=stop_after(STEPS + 3))
    resumed = train(striped, tmp_path / "parts", config, resume=True)
    assert comparable(resumed.history) == comparable(whole.history)


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
