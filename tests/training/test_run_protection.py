"""A run directory is in use once at a time, and nobody's files are lost."""

import pytest
from striped_trainings import STEPS, train, with_

from engine.base import locks
from engine.base.config import UserError
from engine.runs.run_directory import RunDirectory
from engine.training import finishing, train_arguments

pytestmark = pytest.mark.usefixtures("undrawn")


def test_one_training_at_a_time_in_a_directory(striped, tmp_path):
    refused = []

    def begin_another():
        with pytest.raises(UserError, match="is in use: a training") as raised:
            train(striped, tmp_path / "run", with_(epochs=1), overwrite=True)
        refused.append(raised)
        return False

    result = train(striped, tmp_path / "run", with_(epochs=1), should_stop=begin_another)
    # After each step, and while the head is refitted.
    assert len(refused) == STEPS + 1 and not result.stopped
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
    epochs, refitted, at_the_end = written
    assert epochs != refitted == at_the_end == run.model_digest()


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


def test_a_depth_that_does_not_fit_leaves_the_directory_free(striped, tmp_path):
    with pytest.raises(UserError, match="--depth 6"):
        train(striped, tmp_path / "run", with_(depth=6))
    assert not any((tmp_path / "run").iterdir())
    assert train(striped, tmp_path / "run", with_(epochs=1)).history


def test_the_directory_is_left_to_the_chief_by_workers_as_their_settings_say(
    striped, tmp_path, monkeypatch
):
    (tmp_path / "notes.txt").write_text("mine")

    def check(strategy, **options):
        settings = with_(strategy=strategy)
        train_arguments.check_start(
            settings, striped, tmp_path, resume=False, overwrite=False, **options
        )

    check("multi_worker")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    check("auto")
    for strategy, options in (("single", {}), ("auto", {"for_all": True})):
        with pytest.raises(UserError, match="holds other files"):
            check(strategy, **options)
