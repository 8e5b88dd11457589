"""What is held out is a split of its own, and training knows nobody in it."""

from pathlib import Path

import pytest
from image_trees import make

from engine.base.build_settings import BuildConfig
from engine.base.config import UserError
from engine.images import folder_contents, image_folder, patients, split_plan
from engine.images.hold_out import HoldOut

SERIES = r"NORMAL2-|_virus_"


def planned(
    root: Path, *, pattern=None, metadata=None, split="auto", shared="held-out", **options
) -> split_plan.Plan:
    folder = image_folder.scan(root)
    settings = {
        "group_by": "patient",
        "validation_fraction": None,
        "test_fraction": None,
        "on_leak": "warn",
        "seed": 0,
    }
    return split_plan.plan_splits(
        folder,
        folder_contents.hash_contents(folder, workers=1),
        hold_out=HoldOut(pattern=pattern, metadata=metadata, split=split, shared=shared),
        **{**settings, **options},
    )


def paths(plan: split_plan.Plan, split: str) -> set[str]:
    return {example.path for example in plan.splits.get(split, ())}


def two_series(root: Path, *, folder: str = "") -> Path:
    """Of each class 40 patients in one series, 20 in the other, and 10 in both; a copy in both."""
    for patient in range(60):
        if patient < 50:
            make(root, f"{folder}NORMAL/IM-{patient:04d}-0001.jpeg")
            make(root, f"{folder}PNEUMONIA/person{patient}_bacteria_1.jpeg")
        if patient >= 40:
            make(root, f"{folder}NORMAL/NORMAL2-IM-{patient:04d}-0001.jpeg")
            make(root, f"{folder}PNEUMONIA/person{patient}_virus_2.jpeg")
    make(root, f"{folder}NORMAL/IM-0900-0001.jpeg", content=b"copy")
    make(root, f"{folder}NORMAL/NORMAL2-IM-0901-0001.jpeg", content=b"copy")
    return root


def patients_of(plan: split_plan.Plan, split: str) -> set[str]:
    return {example.patient for example in plan.splits.get(split, ())}


def test_matching_paths_are_test_and_training_knows_none_of_their_patients(tmp_path):
    plan = planned(two_series(tmp_path), pattern=SERIES)
    every = {example.path for example in image_folder.scan(tmp_path).examples}
    matching = {path for path in every if "NORMAL2-" in path or "_virus_" in path}
    assert paths(plan, "test") == matching
    for one, other in [("train", "validation"), ("train", "test"), ("validation", "test")]:
        assert not patients_of(plan, one) & patients_of(plan, other)
    assert set(plan.dropped) == {
        "NORMAL/IM-0900-0001.jpeg",  # the copy
        *(f"NORMAL/IM-{patient:04d}-0001.jpeg" for patient in range(40, 50)),
        *(f"PNEUMONIA/person{patient}_bacteria_1.jpeg" for patient in range(40, 50)),
    }
    assert set(plan.dropped.values()) == {"shares a patient or its content with test (--hold-out)"}
    kept = paths(plan, "train") | paths(plan, "validation")
    assert kept | matching | set(plan.dropped) == every
    assert len(paths(plan, "validation")) == 8  # a tenth of what is left, by class
    recipe = plan.audit["hold_out"]
    assert (recipe["pattern"], recipe["split"]) == (SERIES, "test")
    assert (recipe["images"], recipe["removed"]) == (41, 21)
    assert recipe["class_counts"] == {"NORMAL": 21, "PNEUMONIA": 20}
    assert recipe["removed_class_counts"] == {"NORMAL": 11, "PNEUMONIA": 10}
    assert plan.audit["leaking_images"] == 0


def test_the_plan_is_a_function_of_the_seed_and_what_is_held_out_is_not_drawn(tmp_path):
    root = two_series(tmp_path)
    first, again, other = (planned(root, pattern=SERIES, seed=seed) for seed in (0, 0, 1))
    assert first.splits == again.splits
    assert paths(first, "validation") != paths(other, "validation")
    assert paths(first, "test") == paths(other, "test")


def test_external_stands_beside_a_test_split_of_the_rest(tmp_path):
    plan = planned(two_series(tmp_path), pattern=SERIES, split="external", test_fraction=0.2)
    assert len(paths(plan, "external")) == 41
    assert len(paths(plan, "test")) == 16
    assert list(plan.splits) == ["train", "validation", "test", "external"]
    assert not patients_of(plan, "external") & (
        patients_of(plan, "train") | patients_of(plan, "validation") | patients_of(plan, "test")
    )


def test_a_test_folder_stays_as_it_is(tmp_path):
    root = two_series(tmp_path, folder="train/")
    own = ["test/NORMAL/NORMAL2-IM-0955-0001.jpeg", "test/PNEUMONIA/person955_bacteria_1.jpeg"]
    make(root, *own)
    plan = planned(root, pattern=SERIES, validation_fraction=0.1)
    assert paths(plan, "test") == set(own)
    assert len(paths(plan, "external")) == 41
    assert any("1 image of the test folder" in note for note in plan.notes)
    with pytest.raises(UserError, match="test folder of its own; leave"):
        planned(root, pattern=SERIES, split="test")
    with pytest.raises(UserError, match=r"of the test folder alone \(1\)"):
        planned(root, pattern="IM-0955")


def test_on_leak_decides_where_a_held_out_patient_is_in_the_test_folder(tmp_path):
    root = two_series(tmp_path, folder="train/")
    make(root, "test/NORMAL/IM-0055-0002.jpeg", "test/PNEUMONIA/person955_bacteria_1.jpeg")
    warned = planned(root, pattern=SERIES)
    assert any("external, train or validation share" in warning for warning in warned.warnings)
    dropped = planned(root, pattern=SERIES, on_leak="drop")
    assert paths(warned, "external") - paths(dropped, "external") == {
        "train/NORMAL/NORMAL2-IM-0055-0001.jpeg"
    }


def test_validation_is_drawn_where_its_folder_loses_a_class(tmp_path):
    root = two_series(tmp_path, folder="train/")
    make(root, "val/NORMAL/NORMAL2-IM-0955-0001.jpeg", "val/PNEUMONIA/person955_bacteria_1.jpeg")
    plan = planned(root, pattern=SERIES)
    assert {example.class_name for example in plan.splits["validation"]} == {"NORMAL", "PNEUMONIA"}
    assert len(paths(plan, "test")) == 42
    assert any("only 0 of class NORMAL" in note for note in plan.notes)


@pytest.mark.parametrize(("left", "drawn"), [(2, True), (6, False)])
def test_validation_is_drawn_where_its_folder_keeps_fewer_than_a_draw_gives(tmp_path, left, drawn):
    root = two_series(tmp_path, folder="train/")  # 40 patients of a class are left of it
    for patient in range(900, 900 + left):
        make(root, f"val/NORMAL/IM-{patient}-0001.jpeg")
        make(root, f"val/PNEUMONIA/person{patient}_bacteria_1.jpeg")
    make(root, "val/PNEUMONIA/person955_virus_1.jpeg")
    plan = planned(root, pattern=SERIES)
    own = {path for path in paths(plan, "validation") if path.startswith("val/")}
    assert len(paths(plan, "validation")) == (8 if drawn else 2 * left)
    assert (len(own) == 2 * left) is not drawn
    assert any(f"only {left} of class NORMAL" in note for note in plan.notes) is drawn
    # A folder that loses nothing stays, however small.
    assert len(paths(planned(root, pattern="IM-0040-"), "validation")) == 2 * left + 1


def test_metadata_holds_out_by_value(tmp_path):
    root = two_series(tmp_path / "images")
    table = tmp_path / "metadata.csv"
    names = sorted(example.path for example in image_folder.scan(root).examples)
    rows = [f"{path.rsplit('/', 1)[1]},{'ABC'[index % 3]}\n" for index, path in enumerate(names)]
    table.write_text("file,site\n" + "".join(rows[:-1]))
    plan = planned(root, metadata=f"{table}:site=B,C", group_by="none")
    expected = {path for index, path in enumerate(names[:-1]) if index % 3}
    assert paths(plan, "test") == expected
    assert any("1 image not described by metadata.csv" in warning for warning in plan.warnings)
    selected = plan.audit["hold_out"]["metadata"]
    assert selected["selection"] == "metadata.csv:site=B,C"
    assert selected["images"] == len(expected)
    both = planned(root, metadata=f"{table}:site=C", pattern="IM-0000", group_by="none")
    assert paths(both, "test") >= {"NORMAL/IM-0000-0001.jpeg"}
    with pytest.raises(UserError, match="no image has 'D' in column 'site'"):
        planned(root, metadata=f"{table}:site=D")
    with pytest.raises(UserError, match="no column 'sight', only file, site; did you mean site"):
        planned(root, metadata=f"{table}:sight=A")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("siteB", r"matches none of 142 paths \(for example NORMAL/IM-0000-0001.jpeg\)"),
        ("jpeg", "holds out all 142 images"),
        ("NORMAL/", r"leaves no image of class 'NORMAL' to train on \(72 held out, 0 removed"),
        ("NORMAL/.*[02468]-", "so it cannot show how well"),
    ],
)
def test_what_cannot_be_held_out_is_one_line(tmp_path, pattern, message):
    two_series(tmp_path)
    if "cannot show" in message:
        assert any(message in warning for warning in planned(tmp_path, pattern=pattern).warnings)
        return
    with pytest.raises(UserError, match=message):
        planned(tmp_path, pattern=pattern)


def test_patients_of_one_class_alone_can_empty_it(tmp_path):
    make(tmp_path, "a/IM-1-1", "a/IM-1-2", "a/IM-2-1", "b/IM-3-1", "b/IM-4-1")
    make(tmp_path, "b/IM-4-2", "a/IM-2-2")
    with pytest.raises(UserError, match=r"class 'a' .* \(2 held out, 2 removed"):
        planned(tmp_path, pattern=r"a/IM-.-2")


def test_a_test_fraction_beside_a_held_out_test_is_refused(tmp_path):
    with pytest.raises(UserError, match="--hold-out-split external keeps both"):
        planned(two_series(tmp_path), pattern=SERIES, test_fraction=0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hold_out": "("}, r"--hold-out: got '\(': no regular expression"),
        ({"hold_out_metadata": "metadata.csv:view"}, "expected FILE.csv:COLUMN=VALUE"),
        ({"hold_out_metadata": "metadata.csv:view=,"}, "expected FILE.csv:COLUMN=VALUE"),
        ({"hold_out_split": "external"}, "nothing is held out"),
        ({"hold_out": "a", "hold_out_split": "train"}, "expected one of auto, test, external"),
    ],
)
def test_settings_are_checked_before_anything_is_read(settings, message):
    with pytest.raises(UserError, match=message):
        BuildConfig(**settings)


def test_nothing_held_out_changes_nothing(tmp_path):
    plan = planned(two_series(tmp_path))
    assert "hold_out" not in plan.audit and not plan.dropped
    known = {
        one.patient
        for one in patients.with_patients(image_folder.scan(tmp_path).examples, "patient")[0]
    }
    assert set.union(*(patients_of(plan, split) for split in plan.splits)) == known


def test_shared_patients_can_stay_in_training_instead(tmp_path):
    plan = planned(two_series(tmp_path), pattern=SERIES, shared="train")
    every = {example.path for example in image_folder.scan(tmp_path).examples}
    trained_on = paths(plan, "train") | paths(plan, "validation")
    assert trained_on == {p for p in every if "NORMAL2-" not in p and "_virus_" not in p}
    assert paths(plan, "test") | set(plan.dropped) == every - trained_on
    assert not patients_of(plan, "test") & (
        patients_of(plan, "train") | patients_of(plan, "validation")
    )
    # Ten patients of each class are in both series, and a copy of one image.
    assert len(plan.dropped) == 21 and paths(plan, "test")


def test_nothing_left_to_hold_out_is_one_clear_line(tmp_path):
    for patient in range(4):
        make(tmp_path, f"NORMAL/IM-{patient:04d}-0001.jpeg")
        make(tmp_path, f"NORMAL/NORMAL2-IM-{patient:04d}-0001.jpeg")
        make(tmp_path, f"PNEUMONIA/person{patient}_bacteria_1.jpeg")
    with pytest.raises(UserError, match="--hold-out-shared held-out removes"):
        planned(tmp_path, pattern="NORMAL2-", shared="train")
