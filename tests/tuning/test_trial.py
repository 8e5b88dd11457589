"""A trial's own process, here in this one."""

import csv
import dataclasses
import shutil

import numpy as np
import pytest
import tensorflow as tf

from engine.base import files
from engine.base.settings import TrainConfig
from engine.metrics import curves
from engine.training import history as epochs
from engine.training import trainer
from engine.training.training_step import TrainingStep
from tuning import trial as trial_command
from tuning.search_directory import TrialDirectory
from tuning.trial_files import Outcome, TrialSpec

CONFIG = TrainConfig(
    epochs=4,
    global_batch_size=16,
    depth=2,
    width=4,
    augment="light",
    precision="float32",
    monitor="val_auroc",
    deterministic=True,
)


def make(path, *, config=CONFIG, **spec):
    trial = TrialDirectory(path)
    options = {"objective": "val_auroc", "last_epoch": config.epochs, **spec}
    TrialSpec(trial_id=path.name, values={}, config=config.to_json(), **options).write(trial.spec)
    return trial


def run(trial, shards):
    """The exit status."""
    return trial_command.main([str(shards), str(trial.path)])


def history(trial):
    rows = list(csv.DictReader(trial.run.history.open()))
    return [{k: row[k] for k in row if k not in epochs.CLOCK_FIELDS} for row in rows]


def test_of_epochs_that_tie_a_trial_names_the_one_whose_weights_were_kept(
    striped, tmp_path, monkeypatch
):
    monkeypatch.setattr(curves, "mean_auroc", lambda labels, probabilities: 1.0)
    trial = make(tmp_path / "0")
    assert run(trial, striped) == 0
    losses = [float(row["val_loss"]) for row in history(trial)]
    outcome = Outcome.read(trial.outcome)
    assert outcome.best_epoch == 1 + losses.index(min(losses)) > 1
    assert outcome.metrics["val_loss"] == pytest.approx(min(losses), rel=1e-4)


def test_a_trial_is_the_training_of_its_configuration(striped, tmp_path, completed):
    trial = completed
    undisturbed = trainer.train(CONFIG, striped, tmp_path / "run", say=lambda line: None)
    outcome = Outcome.read(trial.outcome)
    assert outcome.status == "completed"
    assert outcome.history == [row["val_auroc"] for row in undisturbed.history]
    assert (outcome.value, outcome.best_epoch) == (undisturbed.best_value, undisturbed.best_epoch)
    before = trial.outcome.read_bytes()
    assert run(trial, striped) == 0  # once it has ended it does nothing more
    assert trial.outcome.read_bytes() == before


def test_a_trial_carried_further_is_one_training(striped, tmp_path, completed):
    first = make(tmp_path / "0", last_epoch=2)
    further = make(tmp_path / "1", last_epoch=4, continue_from="0")
    for trial in (first, further):
        assert run(trial, striped) == 0
    assert history(first) == history(completed)[:2]
    assert history(further) == history(completed)
    assert Outcome.read(further.outcome).history == Outcome.read(completed.outcome).history


def test_without_the_earlier_trials_checkpoint_it_is_trained_anew(striped, tmp_path, capsys):
    first = make(tmp_path / "0", last_epoch=1)
    assert run(first, striped) == 0
    shutil.rmtree(first.run.checkpoints)
    further = make(tmp_path / "1", last_epoch=2, continue_from="0")
    assert run(further, striped) == 0
    assert len(history(further)) == 2
    assert history(further)[:1] == history(first)


@pytest.fixture(scope="module")
def completed(striped, tmp_path_factory):
    """A trial of all epochs. Read only."""
    trial = make(tmp_path_factory.mktemp("completed") / "0")
    assert run(trial, striped) == 0
    return trial


def began_elsewhere(trial, **values):
    """As if `auto` had come to other values where the trial was begun."""
    described = trial.run.read_environment()
    described["runtime"].update(values)
    files.write_json(trial.run.environment, described)


def test_a_trial_begun_in_another_precision_is_trained_from_its_start(
    striped, tmp_path, capsys, completed
):
    """A search cannot be told what `auto` came to there, and one trial must not end it."""
    trial = make(tmp_path / "1")
    begun = trainer.train(CONFIG, striped, trial.run.path, should_stop=iter([False, True]).__next__)
    assert begun.stopped
    began_elsewhere(trial, precision="mixed_bfloat16", order="windows")
    capsys.readouterr()
    assert run(trial, striped) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning: prec" in line]
    assert warnings == [
        "warning: precision is float32 here, was mixed_bfloat16; order is whole split here, was "
        "windows; restarting trial 1"
    ]
    assert history(trial) == history(completed)
    assert trial.run.read_environment()["runtime"]["precision"] == "float32"


def test_a_trial_carried_further_in_another_precision_is_trained_anew(striped, tmp_path):
    first, further = make(tmp_path / "0", last_epoch=1), make(tmp_path / "1", last_epoch=2)
    whole = make(tmp_path / "2", last_epoch=2, continue_from="0")
    for trial in (first, further):
        assert run(trial, striped) == 0
    began_elsewhere(first, precision="mixed_bfloat16")
    before = first.run.environment.read_bytes()
    assert run(whole, striped) == 0
    assert history(whole) == history(further)
    assert first.run.environment.read_bytes() == before  # the earlier trial stays as it was


def test_a_trial_behind_the_bar_ends_and_says_why(striped, tmp_path):
    trial = make(tmp_path / "0", bars=[None, 1.1, 1.1, 1.1])
    assert run(trial, striped) == 0
    outcome = Outcome.read(trial.outcome)
    assert outcome.status == "pruned" and len(outcome.history) == 2
    assert "after 2 epochs, the median of earlier trials was 1.1000" in outcome.reason
    assert trial.run.model.is_file()


def test_files_of_a_run_killed_before_its_first_checkpoint_do_no_harm(striped, tmp_path):
    trial = make(tmp_path / "0", last_epoch=1)
    trial.run.path.mkdir(parents=True)
    (trial.run.path / "config.partial.json").write_text("{")
    assert run(trial, striped) == 0
    trial.outcome.unlink()
    trial.run.environment.unlink()
    shutil.rmtree(trial.run.checkpoints)
    assert run(trial, striped) == 0


@pytest.mark.parametrize(
    ("ends", "failure"),
    [
        (lambda: (np.array([np.nan]), 0, False), "diverged"),
        (MemoryError("no more"), "out of memory"),
        (tf.errors.ResourceExhaustedError(None, None, "OOM when allocating"), "out of memory"),
    ],
)
def test_what_a_trial_fails_of_is_told(striped, tmp_path, monkeypatch, ends, failure):
    def step(*_, **options):
        if isinstance(ends, Exception):
            raise ends
        return ends()

    monkeypatch.setattr(TrainingStep, "run", step)
    trial = make(tmp_path / "0")
    assert run(trial, striped) == 1
    outcome = Outcome.read(trial.outcome)
    assert (outcome.status, outcome.failure) == ("failed", failure)
    assert outcome.reason and "\n" not in outcome.reason


def test_wrong_settings_are_the_users_to_mend_and_no_outcome(striped, tmp_path, capsys):
    trial = make(tmp_path / "0", config=dataclasses.replace(CONFIG, depth=7))
    assert run(trial, striped) == 2
    assert "--depth 7" in capsys.readouterr().err
    assert not trial.outcome.exists()
