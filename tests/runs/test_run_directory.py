"""What identifies a run's model, and what a run owns."""

import fake_run

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
