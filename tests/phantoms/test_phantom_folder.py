import hashlib
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.base import files
from engine.base.build_settings import PhantomConfig
from engine.base.config import UserError
from engine.phantoms import phantom_folder
from engine.phantoms.phantom_folder import RECORD, make_phantoms, plan

NAMES = {
    "NORMAL": r"(NORMAL2-)?IM-(?P<patient>\d{4})-\d{4}\.jpeg",
    "PNEUMONIA": r"person(?P<patient>\d+)_(bacteria|virus)_\d+\.jpeg",
}


def small(**changes) -> PhantomConfig:
    settings = {"train_images": 12, "val_images": 4, "test_images": 6, "workers": 1}
    return PhantomConfig(**{**settings, "min_size": 32, "max_size": 40, **changes})


def contents(directory: Path) -> dict[str, str]:
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file() and path.name != RECORD
    }


def test_layout_names_and_counts_are_those_of_the_public_set(tmp_path) -> None:
    make_phantoms(small(), tmp_path / "a")
    counts: dict[tuple[str, str], int] = {}
    for path in contents(tmp_path / "a"):
        split, label, name = path.split("/")
        assert re.fullmatch(NAMES[label], name), path
        counts[split, label] = counts.get((split, label), 0) + 1
    assert counts == {
        ("train", "NORMAL"): 5,
        ("train", "PNEUMONIA"): 7,
        ("val", "NORMAL"): 2,
        ("val", "PNEUMONIA"): 2,
        ("test", "NORMAL"): 2,
        ("test", "PNEUMONIA"): 4,
    }


def test_images_are_grey_jpegs_of_varied_size(tmp_path) -> None:
    make_phantoms(small(), tmp_path / "a")
    sizes = set()
    for path in contents(tmp_path / "a"):
        with Image.open(tmp_path / "a" / path) as image:
            assert (image.format, image.mode) == ("JPEG", "L")
            sizes.add(image.size)
    assert len(sizes) > 5


def test_default_plan_all_names_differ_and_patients_keep_to_one_split() -> None:
    phantoms = plan(PhantomConfig())
    assert len({phantom.path for phantom in phantoms}) == len(phantoms) == 1600 + 16 + 320
    splits: dict[str, set[str]] = {}
    images: dict[str, int] = {}
    for phantom in phantoms:
        split, label, name = phantom.path.split("/")
        match = re.fullmatch(NAMES[label], name)
        assert match is not None
        patient = f"{label} {match['patient']}"
        splits.setdefault(patient, set()).add(split)
        images[patient] = images.get(patient, 0) + 1
    assert all(len(found) == 1 for found in splits.values())
    assert set(images.values()) == {1, 2, 3}


def test_names_and_drawn_patients_agree() -> None:
    named: dict[tuple[int, ...], set[str]] = {}
    for phantom in plan(small(train_images=60)):
        _, label, name = phantom.path.split("/")
        match = re.fullmatch(NAMES[label], name)
        assert match is not None
        named.setdefault(phantom.patient, set()).add(f"{label} {match['patient']}")
    assert all(len(names) == 1 for names in named.values())
    assert len(set().union(*named.values())) == len(named)


def test_one_image_a_patient_where_asked_for() -> None:
    phantoms = plan(small(train_images=60, images_per_patient=1))
    assert len({phantom.patient for phantom in phantoms}) == len(phantoms)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.95])
@pytest.mark.parametrize("count", [2, 3, 40])
def test_each_split_has_both_classes_in_the_share_asked_for(count, share) -> None:
    phantoms = plan(small(train_images=count, pneumonia_share=share))
    sick = sum("train/PNEUMONIA" in phantom.path for phantom in phantoms)
    assert 1 <= sick <= count - 1
    assert abs(sick - count * share) <= 1


def test_a_split_of_no_images_is_left_out() -> None:
    phantoms = plan(small(train_images=0, val_images=0))
    assert {phantom.path.split("/")[0] for phantom in phantoms} == {"test"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train_images": 1}, "at least 2"),
        ({"train_images": 0, "val_images": 0, "test_images": 0}, "one split at least"),
        ({"min_size": 50}, "at most --max-size"),
    ],
)
def test_settings_that_make_no_folder_are_refused(changes, says) -> None:
    with pytest.raises(UserError, match=says):
        small(**changes)


def test_the_same_seed_gives_the_same_bytes_and_another_others(tmp_path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_phantoms(small(seed=seed), tmp_path / name)
    first, again, other = (contents(tmp_path / name) for name in "abc")
    assert first == again
    assert not set(first.values()) & set(other.values())
    assert len(set(first.values())) == len(first)  # no image twice


def test_the_number_of_workers_changes_no_byte(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(phantom_folder, "IMAGES_A_TASK", 2)
    make_phantoms(small(workers=1), tmp_path / "one")
    make_phantoms(small(workers=2), tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_complete_folder_is_left_alone(tmp_path, monkeypatch) -> None:
    assert make_phantoms(small(), tmp_path) is not None
    monkeypatch.setattr(phantom_folder, "_draw_all", lambda *_: pytest.fail("drawn again"))
    assert make_phantoms(small(), tmp_path) is None
    assert make_phantoms(small(workers=2), tmp_path) is None


def test_a_folder_that_lost_an_image_is_made_whole(tmp_path) -> None:
    make_phantoms(small(), tmp_path)
    before = contents(tmp_path)
    next(tmp_path.rglob("person*")).unlink()
    assert make_phantoms(small(), tmp_path) is not None
    assert contents(tmp_path) == before


def test_a_run_killed_in_the_middle_is_finished_by_the_next(tmp_path, monkeypatch) -> None:
    make_phantoms(small(), tmp_path / "undisturbed")
    encode, drawn = phantom_folder.encode_phantom, []

    def encode_some(config, phantom) -> bytes:
        if len(drawn) == 7:
            raise KeyboardInterrupt
        drawn.append(phantom)
        return encode(config, phantom)

    monkeypatch.setattr(phantom_folder, "encode_phantom", encode_some)
    with pytest.raises(KeyboardInterrupt):
        make_phantoms(small(), tmp_path / "killed")
    monkeypatch.undo()
    half_written = tmp_path / "killed" / drawn[0].path
    half_written.write_bytes(half_written.read_bytes()[:100])  # as kill -9 may leave it
    with pytest.raises(UserError, match="seed"):
        make_phantoms(small(seed=1), tmp_path / "killed")
    assert make_phantoms(small(), tmp_path / "killed") is not None
    assert contents(tmp_path / "killed") == contents(tmp_path / "undisturbed")
    assert make_phantoms(small(), tmp_path / "killed") is None


def test_other_settings_are_refused_and_named(tmp_path) -> None:
    make_phantoms(small(), tmp_path)
    before = contents(tmp_path)
    with pytest.raises(
        UserError, match=r"max_size is 40 there, 48 was requested.*--overwrite"
    ) as error:
        make_phantoms(small(max_size=48), tmp_path)
    assert "\n" not in str(error.value)
    assert contents(tmp_path) == before


def test_overwrite_removes_what_was_made_and_nothing_else(tmp_path) -> None:
    make_phantoms(small(), tmp_path / "a")
    own = tmp_path / "a" / "train" / "NORMAL" / "own.jpeg"
    own.write_bytes(b"not ours")
    changed = small(seed=5, test_images=0)
    make_phantoms(changed, tmp_path / "a", overwrite=True)
    make_phantoms(changed, tmp_path / "b")
    assert own.read_bytes() == b"not ours"
    own.unlink()
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert not (tmp_path / "a" / "test").exists()


def test_overwrite_touches_no_file_that_was_not_made_here(tmp_path) -> None:
    make_phantoms(small(val_images=0), tmp_path)
    own = tmp_path / plan(small())[-1].path
    in_the_way = tmp_path / next(p.path for p in plan(small()) if p.path.startswith("val/"))
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_bytes(b"not ours")
    with pytest.raises(UserError, match="in the way"):
        make_phantoms(small(), tmp_path, overwrite=True)
    assert in_the_way.read_bytes() == b"not ours"
    assert own != in_the_way


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_directory_of_something_else_is_refused(tmp_path, overwrite) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="did not make"):
        make_phantoms(small(), tmp_path, overwrite=overwrite)
    with pytest.raises(UserError, match="is a file"):
        make_phantoms(small(), tmp_path / "thesis.txt", overwrite=overwrite)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_damaged_record_is_refused(tmp_path) -> None:
    files.write_json(tmp_path / RECORD, ["?"])
    with pytest.raises(UserError, match="damaged"):
        make_phantoms(small(), tmp_path, overwrite=True)


def test_the_size_of_a_file_does_not_give_the_class_away() -> None:
    config = small(train_images=400, val_images=0, test_images=0, min_size=64, max_size=96)
    sizes: dict[bool, list[float]] = {True: [], False: []}
    for phantom in plan(config):
        encoded = phantom_folder.encode_phantom(config, phantom)
        with Image.open(io.BytesIO(encoded)) as image:
            sizes[phantom.finding is not None].append(len(encoded) / (image.width * image.height))
    difference = np.array(sizes[True])[:, None] - np.array(sizes[False])[None, :]
    assert abs((difference > 0).mean() - 0.5) < 0.12
