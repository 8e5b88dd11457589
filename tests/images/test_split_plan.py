"""Splits and the audit, on files of a few bytes that are never decoded."""

import itertools
import os
import random
from collections import Counter
from pathlib import Path

import pytest
from image_trees import make

from engine.base.config import UserError
from engine.images import folder_contents, image_folder, patients, split_plan


def planned(root: Path, **options) -> split_plan.Plan:
    folder = image_folder.scan(root)
    contents = folder_contents.hash_contents(folder, workers=2)
    settings = {
        "group_by": "patient",
        "validation_fraction": None,
        "test_fraction": None,
        "on_leak": "warn",
        "seed": 0,
    }
    return split_plan.plan_splits(folder, contents, **{**settings, **options})


def split_of(plan: split_plan.Plan) -> dict[str, str]:
    return {one.path: split for split, members in plan.splits.items() for one in members}


def xrays(root: Path, *, patients: int = 120, images: int = 3) -> Path:
    """Class folders, where each patient has `images` images."""
    for patient in range(patients):
        for image in range(images):
            make(root, f"NORMAL/IM-{patient:04d}-{image:04d}.jpeg")
            make(root, f"PNEUMONIA/person{patient}_virus_{image}.jpeg")
    return root


def test_own_splits_stand(tmp_path):
    make(tmp_path, "train/a/1", "train/b/2", "val/a/3", "val/b/4", "test/a/5", "test/b/6")
    plan = planned(tmp_path, group_by="none")
    expected = {"train": "train", "val": "validation", "test": "test"}
    assert split_of(plan) == {path: expected[path.split("/")[0]] for path in split_of(plan)}
    assert any("fewer than 50" in warning for warning in plan.warnings)


def test_a_drawn_split_is_a_partition_by_patient_and_class(tmp_path):
    root = xrays(tmp_path)
    plan = planned(root, validation_fraction=0.1, test_fraction=0.2)
    where = split_of(plan)
    assert len(where) == 720
    folder, _ = patients.with_patients(image_folder.scan(root).examples, "patient")
    splits_of: dict[str, set] = {}
    for one in folder:
        splits_of.setdefault(one.patient, set()).add(where[one.path])
    assert all(len(splits) == 1 for splits in splits_of.values())
    counts = Counter((split, path.split("/")[0]) for path, split in where.items())
    for name in ("NORMAL", "PNEUMONIA"):
        assert abs(counts["validation", name] - 36) <= 1
        assert abs(counts["test", name] - 72) <= 1


def test_the_draw_is_a_function_of_the_seed_alone(tmp_path, monkeypatch):
    root = xrays(tmp_path)
    first = planned(root, validation_fraction=0.2)
    walk = os.walk

    def shuffled(*args, **options):
        for where, folders, names in walk(*args, **options):
            random.Random(3).shuffle(names)
            yield where, folders, names

    monkeypatch.setattr(os, "walk", shuffled)
    assert planned(root, validation_fraction=0.2).splits == first.splits
    assert split_of(planned(root, validation_fraction=0.2, seed=1)) != split_of(first)


def test_the_test_draw_does_not_depend_on_validation(tmp_path):
    root = xrays(tmp_path)
    small = planned(root, validation_fraction=0.1, test_fraction=0.1)
    large = planned(root, validation_fraction=0.3, test_fraction=0.1)
    assert small.splits["test"] == large.splits["test"]


def test_classes_are_mixed_within_a_split(tmp_path):
    names = [one.class_name for one in planned(xrays(tmp_path)).splits["train"]]
    assert 0.4 < sum(a != b for a, b in itertools.pairwise(names)) / len(names) < 0.6


def test_duplicates_are_kept_together(tmp_path):
    for index in range(60):
        make(tmp_path, f"a/IM-{index}-1", f"b/person{index}_virus_1")
        make(tmp_path, f"a/IM-{index + 500}-1", content=f"a/IM-{index}-1".encode())
    where = split_of(planned(tmp_path, validation_fraction=0.3))
    assert all(where[f"a/IM-{i}-1"] == where[f"a/IM-{i + 500}-1"] for i in range(60))


def test_class_folders_alone_get_both_splits_by_default(tmp_path):
    root = xrays(tmp_path)
    plan = planned(root)
    assert set(plan.splits) == {"train", "validation", "test"}
    assert len(plan.notes) == 2
    assert set(planned(root, validation_fraction=0, test_fraction=0).splits) == {"train"}


def test_tiny_folders_get_one_of_each(tmp_path):
    make(tmp_path, *(f"{name}/{index}.png" for name in "ab" for index in range(4)))
    counts = Counter(split_of(planned(tmp_path, group_by="none")).values())
    assert counts == {"train": 4, "validation": 2, "test": 2}


def test_a_small_validation_folder_joins_the_pool(tmp_path):
    make(tmp_path, *(f"train/{name}/{index}.png" for name in "ab" for index in range(100)))
    make(tmp_path, *(f"val/{name}/{index}.png" for name in "ab" for index in range(4)))
    make(tmp_path, "test/a/1.png", "test/b/1.png")
    plan = planned(tmp_path, group_by="none", validation_fraction=0.5)
    assert len(plan.splits["validation"]) == 104
    assert any("too small to use" in note for note in plan.notes)
    assert [one.path for one in sorted(plan.splits["test"], key=lambda one: one.path)] == [
        "test/a/1.png",
        "test/b/1.png",
    ]
    assert not any("fewer than" in warning for warning in plan.warnings)


def test_fractions_that_cannot_be_drawn(tmp_path):
    make(tmp_path, "test/a/1", "test/b/2")
    assert set(planned(tmp_path, group_by="none").splits) == {"test"}
    with pytest.raises(UserError, match="no train folder"):
        planned(tmp_path, group_by="none", validation_fraction=0.1)
    make(tmp_path, "train/a/3", "train/b/4")
    with pytest.raises(UserError, match="test folder of its own"):
        planned(tmp_path, group_by="none", test_fraction=0.1)


def test_the_warning_names_a_fraction_that_is_enough(tmp_path):
    make(tmp_path, *(f"train/{name}/{index}.png" for name in "ab" for index in range(200)))
    plan = planned(tmp_path, group_by="none")
    (warning,) = plan.warnings
    assert "--validation-fraction 0.25" in warning
    assert not planned(tmp_path, group_by="none", validation_fraction=0.25).warnings


# ---------------------------------------------------------------------------- audit


@pytest.fixture
def leaky(tmp_path) -> Path:
    """A duplicate within train, one across, one under two classes, and a patient in train and test."""
    make(tmp_path, *(f"train/a/IM-{i}-1" for i in range(60)))
    make(tmp_path, *(f"train/b/person{i}_virus_1" for i in range(60)))
    make(tmp_path, "test/a/IM-7-2", "test/a/IM-200-1", "test/b/person300_virus_1")
    make(tmp_path, "train/a/IM-100-1", "train/a/IM-101-1", content=b"within")
    make(tmp_path, "train/a/IM-102-1", "test/a/IM-202-1", content=b"across")
    make(tmp_path, "train/a/IM-103-1", "train/b/person103_virus_1", content=b"two classes")
    return tmp_path


def test_the_copies_that_are_named_are_under_two_classes_and_in_two_splits(tmp_path):
    """Where there are several, the first two may agree."""
    make(tmp_path, *(f"train/{name}/{number}" for name in "ab" for number in range(9)))
    make(tmp_path, "train/a/x", "train/a/y", "train/b/z", "test/a/z", content=b"four")
    plan = planned(tmp_path, group_by="none", validation_fraction=0)
    assert plan.audit["conflicting_examples"][0][:2] == ["test/a/z", "train/b/z"]
    assert plan.audit["duplicates_across_examples"][0][:2] == ["test/a/z", "train/a/x"]
    assert sorted(plan.audit["duplicate_examples"][0]) == sorted(
        plan.audit["conflicting_examples"][0]
    )
    assert any("two classes: 1 (test/a/z = train/b/z)" in text for text in plan.warnings)


def test_audit_counts(leaky):
    plan = planned(leaky, validation_fraction=0)
    audit = plan.audit
    assert audit["duplicate_images"] == 3
    assert audit["duplicates_across_own_splits"] == 1
    assert audit["conflicting_labels"] == 1
    assert audit["patients_in_two_own_splits"] == 1
    assert audit["patient_examples"] == ["IM-7"]
    assert audit["leaking_images"] == 2
    text = " | ".join(plan.warnings)
    assert "two classes" in text and "--on-leak drop" in text


def test_on_leak_drop_leaves_out_the_train_side(leaky):
    plan = planned(leaky, validation_fraction=0, on_leak="drop")
    assert set(plan.dropped) == {"train/a/IM-7-1", "train/a/IM-102-1"}
    assert not set(plan.dropped) & set(split_of(plan))
    assert len(plan.splits["test"]) == 4


def test_on_leak_fail(leaky):
    with pytest.raises(UserError, match="2 images of train"):
        planned(leaky, on_leak="fail")


def test_empty_and_unreadable_files_are_no_duplicates(tmp_path):
    make(tmp_path, "a/1", "a/2", "b/3", content=b"")
    make(tmp_path, "a/4", "b/5")
    assert planned(tmp_path, group_by="none").audit["duplicate_images"] == 0


@pytest.mark.parametrize("elsewhere", ["test", "val"])
def test_a_class_that_train_lacks_is_refused(tmp_path, elsewhere):
    for index in range(3):
        for name in ("train/a", "train/b", f"{elsewhere}/a", f"{elsewhere}/c"):
            file = tmp_path / name / f"{index}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(f"{name}{index}".encode())
    with pytest.raises(UserError, match=r"'c' has images in \w+ but none in train"):
        planned(tmp_path, group_by="none")
