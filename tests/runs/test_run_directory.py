"""What identifies a run's model, and what a run owns."""

import fake_run
import pytest

from engine.base.config import UserError
from engine.runs import run_directory
from engine.runs.run_directory import RunDirectory


def test_equal_weights_have_one_digest_and_others_another(tmp_path):
    first = RunDirectory(fake_run.make_run(tmp_path / "first"))
    again = RunDirectory(fake_run.make_run(tmp_path / "again"))
    model = fake_run.brightness_model()
    model.get_layer("logits").bias.assign([-4.5])
    other = RunDirectory(fake_run.make_run(tmp_path / "other", model=model))
    assert first.model.read_bytes() != other.model.read_bytes()
    assert first.model_digest() == again.model_digest() != other.model_digest()


def test_a_damaged_model_file_has_a_digest_of_its_own_and_an_absent_one_none(tmp_path):
    run = RunDirectory(tmp_path)
    assert run.model_digest() is None
    run.model.write_bytes(b"nonsense")
    assert len(run.model_digest()) == 64


def test_a_run_owns_every_path_that_it_names():
    run = RunDirectory("run")
    named = {value for name, value in vars(run).items() if name != "path"}
    assert set(run.owned) == named
    assert run.owned[-1] == run.config
    assert run.evaluation("test").parent in named


@pytest.mark.parametrize("name", ["model.keras", "card.md", "config.json", "evaluation/test/a.md"])
def test_no_output_replaces_a_file_of_a_run(tmp_path, name):
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    run.config.write_text("{}", "utf-8")
    with pytest.raises(UserError, match="a file of the run's own"):
        run_directory.require_no_own_file(run.path / name, "--json")
    run_directory.require_no_own_file(run.path / "other.json", "--json")
    run_directory.require_no_own_file(tmp_path / name, "--json")


def test_results_go_to_a_directory_without_a_run_or_an_evaluation(tmp_path):
    run_directory.require_other_directory(tmp_path, "--output")
    (tmp_path / "metrics.json").write_text("{}", "utf-8")
    with pytest.raises(UserError, match="holds an evaluation"):
        run_directory.require_other_directory(tmp_path, "--output")
