"""What a directory of several runs holds, and what paths stand for."""

import pytest

from engine.base import files
from engine.base.config import UserError
from engine.runs import ensemble
from engine.runs.ensemble import EnsembleDirectory, Member, RunGroup
from engine.runs.run_directory import RunDirectory

MEMBERS = (Member("seed-0", seed=0, epochs=3), Member("seed-1", seed=1))


def test_an_ensemble_comes_back_from_disk(tmp_path):
    ensemble.write(EnsembleDirectory(tmp_path, MEMBERS))
    found = ensemble.opened(tmp_path)
    assert isinstance(found, EnsembleDirectory) and found.listed == MEMBERS
    assert [member.path for member in found.members] == [tmp_path / "seed-0", tmp_path / "seed-1"]
    assert found.evaluation("test") == tmp_path / "evaluation" / "test"
    assert ensemble.names(found) == ["seed-0", "seed-1"]


def test_one_path_is_a_run_and_several_are_a_group(tmp_path):
    assert type(ensemble.opened(tmp_path)) is RunDirectory
    assert type(ensemble.opened([str(tmp_path)])) is RunDirectory
    group = ensemble.opened([tmp_path / "a" / "run", tmp_path / "b" / "run"])
    assert isinstance(group, RunGroup) and not group.has_contract
    assert group.path == tmp_path / "a" / "run"
    assert ensemble.names(group) == [str(tmp_path / "a" / "run"), str(tmp_path / "b" / "run")]
    with pytest.raises(UserError, match="no run is given"):
        ensemble.opened([])


def test_a_model_is_named_by_those_of_all_members_in_order(tmp_path):
    found = EnsembleDirectory(tmp_path, MEMBERS)
    found.members[0].path.mkdir()
    found.members[0].model.write_bytes(b"first")
    assert found.model_digest() is None
    with pytest.raises(
        UserError, match=r"seed-1 has not finished an epoch.*--num-seeds 2 --resume"
    ):
        found.require_trained()
    found.members[1].path.mkdir()
    found.members[1].model.write_bytes(b"second")
    found.require_trained()
    swapped = EnsembleDirectory(tmp_path, MEMBERS[::-1])
    assert found.model_digest() != swapped.model_digest()
    group = RunGroup(found.members)
    assert group.model_digest() == found.model_digest()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format_version": 2}, "format_version"),
        ({"members": []}, "at least one member"),
        ({"members": [{"directory": "../run", "seed": 0, "epochs": None}]}, "directory: got"),
        ({"members": [{"directory": "a", "seed": -1, "epochs": None}]}, "seed: got"),
        ({"members": [{"directory": "a", "seed": 1}]}, "epochs is missing"),
    ],
)
def test_a_damaged_list_is_refused_by_name(tmp_path, changes, said):
    ensemble.write(EnsembleDirectory(tmp_path, MEMBERS))
    values = files.read_json(tmp_path / "ensemble.json")
    files.write_json(tmp_path / "ensemble.json", {**values, **changes})
    with pytest.raises(UserError, match=rf"ensemble\.json: cannot be read .*{said}"):
        ensemble.opened(tmp_path)
