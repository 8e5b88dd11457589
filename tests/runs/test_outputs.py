"""A result takes the place of no part of a run or an ensemble, nor does it go among an evaluation's files."""

import os
from pathlib import Path

import pytest

from engine.base.config import UserError
from engine.runs import ensemble, outputs, stored_evaluations
from engine.runs.ensemble import EnsembleDirectory, Member
from engine.runs.run_directory import RunDirectory


@pytest.fixture
def run(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    run.config.write_text("{}", "utf-8")
    return run


@pytest.fixture
def averaged(tmp_path):
    """An ensemble of one member, which is a run."""
    found = EnsembleDirectory(tmp_path / "several", [Member("seed-0", seed=0)])
    found.members[0].path.mkdir(parents=True)
    found.members[0].config.write_text("{}", "utf-8")
    ensemble.write(found)
    return found


def check_refused(path: Path, owner: Path) -> None:
    with pytest.raises(UserError, match=f"^--json {path}: is part of {owner}, which has to stay"):
        outputs.require_text_file(path, "--json")


@pytest.mark.parametrize(
    "name", ["config.json", "card.md", "model.keras", "evaluation/test/metrics.json", "exports"]
)
def test_no_file_of_a_run_is_replaced(run, name):
    check_refused(run.path / name, run.path)
    outputs.require_text_file(run.path / "other.json", "--json")
    outputs.require_text_file(run.path.parent / name, "--json")


def test_a_model_makes_a_directory_a_run_as_its_settings_do(run):
    run.config.rename(run.model)
    check_refused(run.report, run.path)
    run.model.unlink()
    outputs.require_text_file(run.report, "--json")


@pytest.mark.parametrize(
    "name",
    ["ensemble.json", "card.md", "inference.json", "report.md", "evaluation/test/metrics.json"],
)
def test_no_file_of_an_ensemble_is_replaced(averaged, name):
    check_refused(averaged.path / name, averaged.path)
    outputs.require_text_file(averaged.path / "other.json", "--json")


def test_members_of_an_ensemble_are_runs(averaged):
    for name in ("config.json", "card.md", "evaluation/test/predictions.csv"):
        member = averaged.members[0].path
        check_refused(member / name, member)


def test_a_damaged_list_of_members_is_named(averaged):
    listed = averaged.path / ensemble.ENSEMBLE
    listed.write_text("{", "utf-8")
    with pytest.raises(UserError, match=f"^{listed}: cannot be read"):
        outputs.require_text_file(averaged.path / "a" / "other.json", "--json")


def test_links_are_followed(run, averaged, tmp_path):
    (tmp_path / "link").symlink_to(run.path)
    (tmp_path / "link.json").symlink_to(averaged.inference)  # which does not exist yet
    check_refused(tmp_path / "link" / "config.json", run.path)
    (run.path / "notes.txt").symlink_to(run.config)
    check_refused(run.path / "notes.txt", run.path)
    check_refused(tmp_path / "link.json", averaged.path)


def test_what_a_run_keeps_elsewhere_is_its_own_too(run, tmp_path):
    (tmp_path / "large").mkdir()
    run.evaluations.symlink_to(tmp_path / "large")
    check_refused(run.evaluation("test") / "metrics.json", run.path)


def test_relative_paths_start_in_the_working_directory(run, monkeypatch):
    run.evaluations.mkdir()
    monkeypatch.chdir(run.evaluations)
    check_refused(Path("notes.txt"), run.path)
    check_refused(Path(os.pardir, "card.md"), run.path)
    outputs.require_text_file(Path(os.pardir, "other.json"), "--json")


def test_a_file_that_holds_no_text_stays_too(tmp_path):
    (tmp_path / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    with pytest.raises(UserError, match="holds no text, such as an image"):
        outputs.require_text_file(tmp_path / "image.png", "--json")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        (stored_evaluations.METRICS, "an evaluation"),
        ("config.json", "a run"),
        (ensemble.ENSEMBLE, "an ensemble"),
    ],
)
def test_a_directory_of_something_else_is_refused(tmp_path, name, what):
    (tmp_path / "link").symlink_to(tmp_path)
    outputs.require_directory(tmp_path, "--output")
    outputs.require_directory(tmp_path / "new", "--output")
    (tmp_path / name).write_text("{}", "utf-8")
    for path in (tmp_path, tmp_path / "link"):
        with pytest.raises(UserError, match=f"^--output {path}: holds {what}; give a directory"):
            outputs.require_directory(path, "--output")


def test_a_file_is_no_directory(tmp_path):
    (tmp_path / "file").write_text("text", "utf-8")
    with pytest.raises(UserError, match="it is a file; expected a directory"):
        outputs.require_directory(tmp_path / "file", "--output")
