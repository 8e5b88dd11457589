"""Oracles are driven as KerasTuner's loop drives them, and killed wherever they write."""

import itertools

import keras_tuner
import pytest

from engine.base import files
from tuning import oracles
from tuning.search_directory import SearchDirectory
from tuning.search_space import Choices, Range, SearchSpace
from tuning.settings import SearchConfig

SPACE = SearchSpace((Range("depth", 2, 5), Choices("width", (8, 16)), Range("dropout", 0.0, 0.5)))
GRID = SearchSpace((Range("depth", 2, 4), Choices("width", (8, 16))))


class Killed(BaseException):
    """What stands in for kill -9."""


def make(directory, tuner="random", space=SPACE, **settings):
    config = SearchConfig(tuner=tuner, **{"max_trials": 6, "epochs": 9, **settings})
    return oracles.make_oracle(config, space, SearchDirectory(directory))


def quality(trial):
    values = trial.hyperparameters.values
    return 1 - 0.1 * abs(values["depth"] - 4) - values.get("dropout", 0) / 10


def drive(oracle, *, worker="tuner0", trials=10**6, fails=()):
    """What `BaseTuner.search` does, with a trial that is done at once."""
    for _ in range(trials):
        trial = oracle.create_trial(worker)
        if trial.status == "STOPPED":
            return
        if trial.trial_id in fails:
            trial.status = "FAILED"
        else:
            if not oracle.get_trial(trial.trial_id).metrics.exists("val_auroc"):
                oracle.update_trial(trial.trial_id, {"val_auroc": quality(trial)}, step=1)
            trial.status = "COMPLETED"
        oracle.end_trial(trial)
        oracle.save()


def finished(oracle):
    """Every trial that has ended, with its values and score."""
    return {
        trial_id: (oracle.trials[trial_id].hyperparameters.values, oracle.trials[trial_id].score)
        for trial_id in oracle.end_order
    }


@pytest.mark.parametrize("tuner", ["random", "bayesian", "hyperband", "grid"])
def test_every_tuner_runs_the_trials_it_plans(tuner, tmp_path):
    space = GRID if tuner == "grid" else SPACE
    limit = None if tuner in ("grid", "hyperband") else 10
    oracle = make(tmp_path, tuner, space, max_trials=limit)
    drive(oracle)
    config = SearchConfig(tuner=tuner, max_trials=limit, epochs=9)
    assert len(finished(oracle)) == oracles.planned_trials(config, space)
    for values, _ in finished(oracle).values():
        assert 2 <= values["depth"] <= 5 and values["width"] in (8, 16)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("tuner", ["random", "hyperband", "grid"])
def test_killed_at_any_write_a_search_ends_as_the_undisturbed_one(
    tuner, when, tmp_path, monkeypatch
):
    space = GRID if tuner == "grid" else SPACE
    _check_kills(tuner, when, range(1, 16), space, tmp_path, monkeypatch, max_trials=6, epochs=4)


def test_a_bayesian_search_proposes_after_a_kill_what_it_would_have(tmp_path, monkeypatch):
    # Random at first; from the tenth trial on it takes half a second to think.
    _check_kills("bayesian", "after", [26], SPACE, tmp_path, monkeypatch, max_trials=10)


def _check_kills(tuner, when, places, space, tmp_path, monkeypatch, **options):
    whole = make(tmp_path / "whole", tuner, space, **options)
    drive(whole)
    write = files.write_json

    def killed_at(place):
        calls = itertools.count(1)

        def write_json(path, value):
            fatal = next(calls) == place
            if fatal and when == "before":
                raise Killed
            write(path, value)
            if fatal:
                raise Killed

        return write_json

    for place in places:
        monkeypatch.setattr(files, "write_json", killed_at(place))
        directory = tmp_path / str(place)
        try:
            drive(make(directory, tuner, space, **options))
        except Killed:
            monkeypatch.setattr(files, "write_json", write)
            again = make(directory, tuner, space, **options)
            drive(again)
            assert finished(again) == finished(whole), place
            assert len(again.end_order) == len(set(again.end_order))
            assert set(again.trials) == set(again.end_order)


def test_seed_zero_is_a_seed(tmp_path):
    drive(one := make(tmp_path / "one", seed=0))
    drive(same := make(tmp_path / "same", seed=0))
    drive(other := make(tmp_path / "other", seed=1))
    assert finished(one) == finished(same) != finished(other)


def test_more_trials_go_on_with_a_finished_search(tmp_path):
    drive(make(tmp_path / "short", max_trials=3))
    longer = make(tmp_path / "short", max_trials=9)
    drive(longer)
    drive(whole := make(tmp_path / "whole", max_trials=9))
    assert finished(longer) == finished(whole)


def test_a_worker_that_is_no_more_leaves_its_trial_to_the_next(tmp_path):
    oracle = make(tmp_path)
    lost = oracle.create_trial("tuner1")
    assert oracle.workers() == ["tuner1"]
    assert oracle.release("tuner1") == lost.trial_id
    assert oracle.release("tuner1") is None
    assert oracle.create_trial("tuner2").trial_id == lost.trial_id
    assert oracle.workers() == ["tuner2"]


def test_a_worker_that_comes_back_under_its_name_finds_its_trial(tmp_path):
    oracle = make(tmp_path)
    assert oracle.create_trial("tuner1").trial_id == oracle.create_trial("tuner1").trial_id


def test_failures_in_a_row_end_a_search_and_another_call_tries_again(tmp_path):
    oracle = make(tmp_path, max_trials=9, max_failures=3)
    drive(oracle, fails={"1", "3", "4", "5"})
    assert oracle.finished_trials == 6 and oracle.failures_in_a_row == 3
    again = make(tmp_path, max_trials=9, max_failures=3)
    drive(again)
    assert again.finished_trials == 9


def test_values_that_lost_precision_on_the_way_are_not_taken_for_new_ones(tmp_path):
    oracle = make(tmp_path)
    trial = oracle.create_trial("tuner0")
    values = dict(trial.hyperparameters.values)
    oracle.update_trial(trial.trial_id, {"val_auroc": 0.9}, step=1)
    told = keras_tuner.engine.trial.Trial.from_proto(trial.to_proto())
    told.status = "COMPLETED"
    oracle.end_trial(told)
    assert oracle.trials[trial.trial_id].hyperparameters.values == values


@pytest.mark.parametrize("objective", ["val_auroc", "val_loss"])
def test_losses_are_minimized_and_all_else_maximized(objective, tmp_path):
    oracle = make(tmp_path, objective=objective)
    assert oracle.objective.direction == ("min" if objective == "val_loss" else "max")
