"""Stored probabilities are those of the present model, for the images at hand, and say who was trained on them."""

import numpy as np
import pytest
import stored_runs

from engine.base import files
from engine.images.format import ImageFormat
from engine.inspection import stored_probabilities
from engine.runs import contract
from engine.runs.contract import InferenceContract
from engine.runs.run_directory import RunDirectory

OWN = {"fingerprint": "f" * 64, "identity": "i" * 64}


@pytest.fixture
def run(tmp_path):
    """A run with a model, trained on the data set `OWN`."""
    return made(tmp_path / "run", stored_runs.CLASS_NAMES)


def made(directory, class_names, **data):
    run = RunDirectory(directory)
    files.write_json(run.environment, {"data": {**OWN, **data}})
    run.model.write_bytes(b"a model")
    image_format = ImageFormat(image_size=(8, 8), channels=1)
    contract.begin(run, InferenceContract(image_format=image_format, class_names=class_names))
    return run


def add(run, name, log_odds, *, labels=(0, 1), **subject):
    """An evaluation of the images 0 and 1, by the run's own model unless `subject` says otherwise."""
    subject = {"model": run.model_digest(), **subject}
    names = contract.stored(run).class_names
    stored_runs.store(
        run.path, np.array(labels), np.array(log_odds), name=name, class_names=names, **subject
    )


def read(run):
    return stored_probabilities.read(run, OWN["fingerprint"])


def values(found):
    return [found.by_path[path].values.round(4).tolist() for path in sorted(found.by_path)]


def test_probabilities_of_all_classes_and_labels_are_read(run, tmp_path):
    add(run, "test", [0.0, np.log(3)])
    found = read(run)
    assert values(found) == [[0.5, 0.5], [0.25, 0.75]]
    assert [found.by_path[path].label for path in sorted(found.by_path)] == ["NORMAL", "PNEUMONIA"]
    assert found.used == ("test",) and not found.unused
    three = made(tmp_path / "three", ("a", "b", "c"))
    add(three, "test", np.log([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]), labels=(0, 2))
    assert values(read(three)) == [[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        ({"model": "e" * 64}, "figures of an earlier model"),
        ({"averaged": ("one", "two")}, "average of 2 runs"),
        ({"prevalence": (0.5, 0.5)}, "probabilities for another prevalence"),
        ({"prevalence": (0.9, 0.1)}, "probabilities for another prevalence"),
        ({"flip_average": True}, "averaged over each image and its mirror image"),
        ({"classes": {"NORMAL": "PNEUMONIA"}}, "classes left out or taken for others"),
    ],
)
def test_probabilities_other_than_the_runs_own_are_not_used(run, subject, reason):
    add(run, "x", [0.0, 1.0], **subject)
    found = read(run)
    assert not found.by_path and found.used == ()
    assert found.unused_text == f"x, {reason}"


def test_evaluations_of_other_images_are_neither_used_nor_named(run):
    add(run, "nih", [0.0, 1.0], fingerprint="other")
    assert read(run) == stored_probabilities.StoredProbabilities({}, (), {})


def test_a_damaged_file_is_named_and_the_others_are_used(run):
    add(run, "test", [0.0, 1.0])
    add(run, "again", [0.0, 1.0])
    (run.evaluation("again") / "predictions.csv").write_text("path,label\n", encoding="utf-8")
    found = read(run)
    assert found.used == ("test",) and "holds no column" in found.unused["again"]


@pytest.mark.parametrize(
    ("name", "subject", "was_trained_on"),
    [
        ("train", {"split": "train"}, True),
        ("x", {"split": "train"}, True),
        ("train", {"split": "test"}, False),
        ("validation", {"split": "validation"}, False),
        ("resplit", {"identity": "j" * 64}, True),
        ("test", {"held_out_by": "person"}, False),
    ],
)
def test_what_was_trained_on_is_known_by_the_split_and_not_by_the_name(
    run, name, subject, was_trained_on
):
    add(run, name, [0.0, 1.0], **subject)
    assert {one.was_trained_on for one in read(run).by_path.values()} == {was_trained_on}


def test_images_of_a_teacher_may_be_known(tmp_path):
    teacher = {"flag": "--distill-from", "source": "t", "divided_alike": False}
    run = made(
        tmp_path / "run",
        stored_runs.CLASS_NAMES,
        learned_from=[{**teacher, "fingerprint": OWN["fingerprint"]}],
    )
    add(run, "test", [0.0, 1.0])
    assert all(one.was_trained_on for one in read(run).by_path.values())


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_an_image_of_several_evaluations_has_that_furthest_from_training(run, names):
    resplit, own = names
    add(run, resplit, [0.0, 1.0], identity="j" * 64)
    add(run, own, [2.0, 3.0])
    found = read(run)
    assert found.used == (own, resplit)
    assert not any(one.was_trained_on for one in found.by_path.values())
    np.testing.assert_allclose(found.by_path["images/0000.png"].values[1], 0.8808, atol=1e-4)
