"""What a run learned from may know images that the run never saw."""

import dataclasses

import pytest
from stored_results import SUBJECT

from engine.base import files
from engine.runs import lineage
from engine.runs.evaluation_ranking import Relation, relation
from engine.runs.run_directory import RunDirectory

OWN = {
    "fingerprint": SUBJECT.fingerprint,
    "identity": SUBJECT.identity,
    "class_names": ["NORMAL", "PNEUMONIA"],
    "image_size": [12, 16],
    "channels": 1,
    "keep_aspect_ratio": False,
    "group_by": "patient",
    "seed": 0,
    "splits": {"train": {"num_examples": 10, "class_counts": {}, "records": "r"}},
}
OTHER_SPLITS = {"identity": "e" * 64, "seed": 1}
OTHER_SIZE = {
    "identity": "s" * 64,
    "image_size": [6, 8],
    "splits": {"train": {**OWN["splits"]["train"], "records": "q"}},
}
OTHER_IMAGES = {"identity": "o" * 64, "fingerprint": "others"}


@pytest.fixture
def taught_by(tmp_path):
    def data_of(flag=lineage.TEACHER, name="teacher", **changes):
        run = RunDirectory(tmp_path / name)
        run.path.mkdir(exist_ok=True)
        files.write_json(run.environment, {"data": {**OWN, **changes}})
        return {**OWN, lineage.KEY: lineage.describe({flag: str(run.path)}, OWN)}

    return data_of


@pytest.mark.parametrize("flag", [lineage.TEACHER, lineage.START])
def test_a_teacher_of_other_splits_makes_no_set_of_these_images_an_unseen_one(taught_by, flag):
    data = taught_by(flag, **OTHER_SPLITS)
    (said,) = lineage.warnings(data)
    assert said.startswith(flag) and "divided in another way" in said and "\n" not in said
    assert lineage.warnings_about(data, OWN, "test") == [said]
    assert relation(data, SUBJECT) is Relation.LEARNED and not Relation.LEARNED.is_unseen
    elsewhere = dataclasses.replace(SUBJECT, fingerprint="x", identity="y")
    assert relation(data, elsewhere) is Relation.OTHER
    assert relation(data, dataclasses.replace(SUBJECT, split="train")) is Relation.TRAINED


@pytest.mark.parametrize("changes", [{}, OTHER_SIZE])
def test_a_teacher_of_the_same_splits_changes_nothing(taught_by, changes):
    data = taught_by(**changes)
    assert lineage.warnings(data) == lineage.warnings_about(data, OWN, "test") == []
    assert relation(data, SUBJECT) is Relation.OWN


def test_a_teacher_of_other_images_may_know_those_and_perhaps_these(taught_by):
    data = taught_by(**OTHER_IMAGES)
    (said,) = lineage.warnings(data)
    assert "other images" in said and lineage.warnings_about(data, OWN, "test") == [said]
    assert relation(data, SUBJECT) is Relation.OWN
    measured = dataclasses.replace(SUBJECT, fingerprint="others", identity="o" * 64)
    assert relation(data, measured) is Relation.OTHER  # the split that the teacher was tested on
    for changes in ({"split": "train"}, {"identity": "z"}):
        assert relation(data, dataclasses.replace(measured, **changes)) is Relation.LEARNED
    # To start from weights of other images is what --init-from is for.
    assert lineage.warnings(taught_by(lineage.START, **OTHER_IMAGES)) == []


def test_what_a_teacher_learned_from_is_inherited(taught_by):
    inherited = taught_by(name="first", **OTHER_SPLITS)[lineage.KEY]
    data = taught_by(**{lineage.KEY: inherited})
    assert len(data[lineage.KEY]) == 2
    assert relation(data, SUBJECT) is Relation.LEARNED


def test_sources_that_say_nothing_are_left_out(tmp_path):
    (tmp_path / "model.keras").write_bytes(b"")
    sources = {
        lineage.TEACHER: str(tmp_path / "gone"),
        lineage.START: str(tmp_path / "model.keras"),
    }
    assert lineage.describe(sources, OWN) == []
    assert relation({}, SUBJECT) is relation({lineage.KEY: "damaged"}, SUBJECT) is Relation.OWN
