"""Layouts, patients and contents. Files hold a few bytes; nothing is decoded here."""

import errno
import os
from collections import Counter
from pathlib import Path

import other_user
import pytest
from image_trees import make

from engine.base.config import UserError
from engine.images import image_folder

# ---------------------------------------------------------------------------- layouts


@pytest.mark.parametrize(
    ("folder", "split"),
    [("train", "train"), ("VAL", "validation"), ("valid", "validation"), ("Test", "test")],
)
def test_split_folders_in_any_case(tmp_path, folder, split):
    make(tmp_path, f"{folder}/a/1.png", f"{folder}/b/2.png")
    scanned = image_folder.scan(tmp_path)
    assert scanned.own_splits == (split,)
    assert scanned.class_names == ("a", "b")
    assert [one.path for one in scanned.examples] == [f"{folder}/a/1.png", f"{folder}/b/2.png"]


def test_class_folders_only_with_folders_inside(tmp_path):
    make(tmp_path, "b/1.png", "a/deep/er/2.png", "c/3.png")
    scanned = image_folder.scan(tmp_path)
    assert scanned.class_names == ("a", "b", "c")
    assert {one.path: one.class_name for one in scanned.examples} == {
        "a/deep/er/2.png": "a",
        "b/1.png": "b",
        "c/3.png": "c",
    }
    assert scanned.own_splits == ()


def test_a_class_may_be_called_test(tmp_path):
    make(tmp_path, "test/1.png", "control/2.png")
    assert image_folder.scan(tmp_path).class_names == ("control", "test")


def test_clutter_is_passed_over(tmp_path):
    make(tmp_path, "a/1.png", "b/2.png")
    make(tmp_path, ".git/x", "__MACOSX/a/._1.png", "a/.DS_Store", "a/Thumbs.db", "b/desktop.ini")
    make(tmp_path, "a/.hidden/3.png", "a/@eaDir/4.png")
    scanned = image_folder.scan(tmp_path)
    assert [one.path for one in scanned.examples] == ["a/1.png", "b/2.png"]
    assert scanned.warnings == ()


def test_a_lone_folder_around_is_stepped_into(tmp_path):
    make(tmp_path, "chest_xray/train/a/1.png", "chest_xray/train/b/2.png", "__MACOSX/x")
    scanned = image_folder.scan(tmp_path)
    assert scanned.own_splits == ("train",)
    assert scanned.examples[0].path == "chest_xray/train/a/1.png"
    assert "chest_xray" in scanned.warnings[0]


def test_links_inside_classes_are_not_followed(tmp_path):
    make(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    scanned = image_folder.scan(tmp_path)
    assert [one.path for one in scanned.examples] == ["a/1.png", "b/2.png"]
    assert "loop" in scanned.warnings[0]


def test_class_folders_may_be_links(tmp_path):
    make(tmp_path / "elsewhere", "1.png")
    make(tmp_path / "images", "b/2.png")
    (tmp_path / "images" / "a").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert len(image_folder.scan(tmp_path / "images").examples) == 2


def test_class_names_that_differ_in_case_are_one_class(tmp_path):
    make(tmp_path, "train/NORMAL/1", "train/SICK/2", "test/normal/3", "test/Sick/4")
    scanned = image_folder.scan(tmp_path)
    assert scanned.class_names == ("NORMAL", "SICK")
    assert Counter(one.class_name for one in scanned.examples) == {"NORMAL": 2, "SICK": 2}
    assert len(scanned.warnings) == 2


def test_warns_of_an_absent_class_and_of_loose_files(tmp_path):
    make(tmp_path, "train/a/1", "train/b/2", "test/a/3", "train/notes.txt", "other/x/1")
    warnings = " | ".join(image_folder.scan(tmp_path).warnings)
    assert "test folder has no images of class 'b'" in warnings
    assert "notes.txt" in warnings and "other" in warnings


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ((), "is empty"),
        (("1.png", "2.png"), "no class folders"),
        (("a/1.png",), "only one class"),
        (("train/a/1.png",), "only one class"),
    ],
)
def test_wrong_folders(tmp_path, paths, message):
    make(tmp_path, *paths)
    with pytest.raises(UserError, match=message):
        image_folder.scan(tmp_path)


def test_wrong_roots(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        image_folder.scan(tmp_path / "absent")
    make(tmp_path, "file")
    with pytest.raises(UserError, match="is a file"):
        image_folder.scan(tmp_path / "file")
    make(tmp_path, "images/a/1.png")
    (tmp_path / "images" / "b").mkdir()
    with pytest.raises(UserError, match="'b' holds no files"):
        image_folder.scan(tmp_path / "images")


# ---------------------------------------------------------------------------- what cannot be read


def test_a_folder_that_cannot_be_searched_costs_only_itself(tmp_path, monkeypatch):
    make(tmp_path, "a/1.png", "a/closed/2.png", "b/3.png")
    closed = tmp_path / "a" / "closed"
    scandir = os.scandir

    def refusing(path="."):
        if Path(os.fsdecode(path)) == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    scanned = image_folder.scan(tmp_path)
    assert [one.path for one in scanned.examples] == ["a/1.png", "b/3.png"]
    assert scanned.unreadable == {"a/closed": "folder cannot be read (Permission denied)"}
    assert scanned.warnings[-1].startswith("1 folder cannot be read")
    (tmp_path / "a" / "1.png").unlink()
    with pytest.raises(UserError, match=r"no file of class 'a' can be read \(a/closed: .*denied"):
        image_folder.scan(tmp_path)


def test_another_user_builds_from_what_it_may_read(tmp_path):
    """Closed folders, folders that can be listed only, and links into them, in every place."""
    make(tmp_path / "images", "a/1.png", "a/closed/2.png", "b/3.png", "b/listed/4.png")
    make(tmp_path / "elsewhere", "c/5.png")
    (tmp_path / "images" / "c").symlink_to(tmp_path / "elsewhere" / "c")
    for name, mode in (
        ("images/a/closed", 0o700),
        ("images/b/listed", 0o744),
        ("elsewhere", 0o700),
    ):
        (tmp_path / name).chmod(mode)
    (tmp_path / "images" / "b" / "link.png").symlink_to(tmp_path / "elsewhere" / "c" / "5.png")
    done = other_user.run(
        "from engine.images import folder_contents, image_folder\n"
        "folder = image_folder.scan('images')\n"
        "contents = folder_contents.hash_contents(folder, workers=1)\n"
        "print([one.path for one in folder.examples], sorted(contents.empty), sep='\\n')\n"
        "print(*folder.unreadable, *folder.warnings, sep='\\n')\n",
        tmp_path,
    )
    assert not done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == [
        "['a/1.png', 'b/3.png', 'b/link.png', 'b/listed/4.png']",
        "['b/link.png', 'b/listed/4.png']",
    ]
    assert lines[2] == "a/closed"
    assert "1 file in folder images skipped, outside the class folders (c)" in lines[3]
    assert "1 folder cannot be read" in lines[-1]


def test_a_split_folder_that_cannot_be_read_is_an_error(tmp_path):
    make(tmp_path / "images", "train/a/1", "train/b/2", "test/a/3", "test/b/4")
    (tmp_path / "images" / "test").chmod(0o700)
    done = other_user.run(
        "from engine.images import image_folder\nimage_folder.scan('images')", tmp_path
    )
    assert "UserError: images/test: cannot be read (Permission denied)" in done.stderr


def test_what_cannot_be_trained_on_can_still_be_looked_at(tmp_path):
    make(tmp_path / "one", "only/1.png", "only/2.png")
    make(tmp_path / "hollow", "a/1.png", "c/1.png")
    (tmp_path / "hollow/b").mkdir()
    for name, classes, words in (
        ("one", ("only",), "one class"),
        ("hollow", ("a", "b", "c"), "'b'"),
    ):
        with pytest.raises(UserError, match=words):
            image_folder.scan(tmp_path / name)
        found = image_folder.scan(tmp_path / name, for_training=False)
        assert found.class_names == classes and len(found.examples) == 2
        assert any("cannot be trained on" in line and words in line for line in found.warnings)
    (tmp_path / "bare/a").mkdir(parents=True)
    with pytest.raises(UserError, match="holds no files"):
        image_folder.scan(tmp_path / "bare", for_training=False)
