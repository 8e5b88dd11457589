"""Both runs are measured once, in a process of its own each, and read back as they were stored."""

import fake_run
import pytest
from stored_results import make_evaluation

from engine.base import files
from engine.base.config import UserError
from engine.runs.run_directory import RunDirectory
from tuning import held_out
from tuning.held_out import HeldOut


def test_what_was_measured_is_read_back_and_not_measured_again(tmp_path, monkeypatch):
    measured = []
    winner, default = RunDirectory(tmp_path / "winner"), RunDirectory(tmp_path / "default")

    def measure(run, shards):
        measured.append(run.path.name)
        return make_evaluation()

    monkeypatch.setattr(held_out, "measure", measure)
    path = tmp_path / "held_out.json"
    first = held_out.compare("3", winner, default, tmp_path, path)
    again = held_out.compare("3", winner, default, tmp_path, path)
    assert measured == ["winner", "default"]
    assert again.to_json() == first.to_json() == files.read_json(path)
    held_out.compare("4", winner, None, tmp_path, path)
    assert HeldOut.read(path).default is None
    assert measured == ["winner", "default", "winner"]


@pytest.mark.parametrize("text", [None, "{", '{"trial_id": "3", "winner": {"auroc": {}}}'])
def test_a_file_of_an_earlier_version_is_measured_again(tmp_path, monkeypatch, text):
    path = tmp_path / "held_out.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="cannot be read"):
        HeldOut.read(path)
    monkeypatch.setattr(held_out, "measure", lambda run, shards: make_evaluation())
    assert held_out.compare("3", RunDirectory(tmp_path), None, tmp_path, path).trial_id == "3"
    assert HeldOut.read(path).trial_id == "3"


def test_a_run_is_measured_as_the_command_does_and_a_failure_says_why(tmp_path):
    run = RunDirectory(fake_run.make_run(tmp_path / "run"))
    images = fake_run.grey_images([50, 60, 190, 200])
    shards = fake_run.make_shards(tmp_path / "s", images, [0, 0, 1, 1], [""] * 4)
    found = held_out.measure(run, shards)
    assert found.metrics["auroc"].value == 1
    assert found.subject.name == found.subject.split == "test"
    with pytest.raises(RuntimeError, match="no such run directory"):
        held_out.measure(RunDirectory(tmp_path / "absent"), shards)
