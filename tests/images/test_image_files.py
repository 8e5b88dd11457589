"""Paths stand for the files a user means, and one bad file costs only itself."""

import os

import grey_files
import numpy as np
import other_user
import pytest

from engine.base import files
from engine.base.config import UserError
from engine.images import image_files
from engine.images.format import ImageFormat

FORMAT = ImageFormat(image_size=(12, 16), channels=1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("b.png", "a.png", "sub/c.png", ".hidden.png", ".git/d.png", "sub [1]/e.png"):
        grey_files.write(tmp_path / "images" / name, 90)
    (tmp_path / "images" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "images" / "notes.txt").write_text("no image", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "images"


def found(*paths):
    failures = image_files.Failures()
    return [path.as_posix() for path in image_files.find_files(paths, failures)], failures.count


def test_a_folder_is_searched_through_without_hidden_files_and_clutter(folder):
    assert found("images")[0] == [
        "images/a.png",
        "images/b.png",
        "images/notes.txt",
        "images/sub/c.png",
        "images/sub [1]/e.png",
    ]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("images/*.png", ["images/a.png", "images/b.png"]),
        ("images/?.png", ["images/a.png", "images/b.png"]),
        ("images/[b]*", ["images/b.png"]),
        ("images/sub [1]/*.png", ["images/sub [1]/e.png"]),
        ("images/s*", ["images/sub/c.png", "images/sub [1]/e.png"]),
        ("images/**/c.png", ["images/sub/c.png"]),
        ("images/.h*", ["images/.hidden.png"]),
    ],
)
def test_globs_find_what_they_say(folder, pattern, expected):
    assert found(pattern) == (expected, 0)


def test_a_recursive_glob_finds_each_file_once(folder):
    for pattern in ("images/**", "images/**/*"):
        matches, _ = found(pattern)
        assert set(matches) == set(found("images")[0])
        assert len(matches) == len(set(matches))


def test_absolute_globs_work(folder):
    assert found(f"{folder}/*.png")[0] == [f"{folder}/a.png", f"{folder}/b.png"]


def test_what_exists_is_taken_literally(folder):
    odd = folder / "odd[ab]*.png"
    odd.write_bytes(b"x")
    (folder / "odda.png").write_bytes(b"x")
    assert found(str(odd))[0] == [odd.as_posix()]
    assert found("images/.hidden.png")[0] == ["images/.hidden.png"]


def test_what_matches_nothing_is_named(folder, capsys):
    (folder / "empty").mkdir()
    matches, failures = found("absent.png", "images/*.gif", "images/empty", "images/a.png")
    assert matches == ["images/a.png"]
    assert failures == 3
    errors = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in errors] == ["absent.png", "images/*.gif", "images/empty"]


def test_link_loops_end(folder):
    (folder / "sub" / "loop").symlink_to(folder)
    assert len(found("images")[0]) == 5
    assert len(found("images/**/*.png")[0]) <= 5


def test_images_come_in_order_and_bad_ones_are_named(folder, capsys):
    paths = [grey_files.write(folder / f"{i:02d}.png", 10 * i) for i in range(23)]
    paths[5].write_bytes(paths[5].read_bytes()[:40])
    paths[9].write_bytes(b"")
    paths[11].unlink()
    failures = image_files.Failures()
    decoded = list(image_files.decoded_images(paths, failures, workers=3, image_format=FORMAT))
    good = [path for i, path in enumerate(paths) if i not in (5, 9, 11)]
    assert [path for path, _ in decoded] == good
    for path, image in decoded:
        assert image.shape == (12, 16, 1) and image.dtype == np.uint8
        assert abs(int(image.mean()) - 10 * int(path.stem)) <= 1
    assert failures.count == 3
    errors = capsys.readouterr().err
    assert all(str(paths[i]) in errors for i in (5, 9, 11))


def test_only_a_bounded_number_is_ever_decoded_ahead(folder):
    asked = []

    def paths():
        for _ in range(1000):
            asked.append(1)
            yield folder / "a.png"

    images = image_files.decoded_images(
        paths(), image_files.Failures(), workers=2, image_format=FORMAT
    )
    for _ in range(3):
        next(images)
    assert len(asked) < 20
    images.close()


def test_batches_hold_everything_once_and_only_the_last_is_smaller():
    images = [(f"{i}.png", np.full((2, 2, 1), i, np.uint8)) for i in range(10)]
    batches = list(image_files.batched(iter(images), 4))
    assert [len(batch["path"]) for batch in batches] == [4, 4, 2]
    assert np.concatenate([b["image"] for b in batches])[:, 0, 0, 0].tolist() == list(range(10))


@pytest.mark.parametrize("clutter", ["Thumbs.db", "ehthumbs.db", "desktop.ini", "@eaDir/x.png"])
def test_what_the_builder_passes_over_is_passed_over_here(folder, clutter):
    before = found("images")[0]
    (folder / clutter).parent.mkdir(exist_ok=True)
    (folder / clutter).write_bytes(b"x")
    for pattern in ("images", "images/*", "images/**"):
        assert set(found(pattern)[0]) == set(before)
    assert found(f"images/{clutter}")[0] == [f"images/{clutter}"]


def test_an_empty_path_is_refused():
    image_files.check_paths(["."])
    with pytest.raises(UserError, match="empty"):
        image_files.check_paths(["a.png", ""])


@pytest.mark.parametrize("pattern", ["images", "images/**", "images/*/*.png", "images/s*"])
def test_folders_that_cannot_be_searched_are_named(folder, capsys, monkeypatch, pattern):
    """As `test_another_user_is_told_of_what_it_may_not_read`, for those who are not root."""
    refused = [f"images/{name}" for name in ("sub", "sub [1]")]

    def refusing(function):
        def instead(path="."):
            if os.fspath(path) == refused[0]:
                raise PermissionError(13, "Permission denied", os.fspath(path))
            return function(path)

        return instead

    monkeypatch.setattr(os, "scandir", refusing(os.scandir))
    monkeypatch.setattr(os, "listdir", refusing(os.listdir))
    matches, failures = found(pattern)
    assert failures == 1
    assert capsys.readouterr().err == "images/sub: cannot be read (Permission denied)\n"
    assert "images/sub [1]/e.png" in matches


def test_another_user_is_told_of_what_it_may_not_read(folder, tmp_path):
    (folder / "sub").chmod(0o700)
    (folder / "a.png").chmod(0o600)
    (folder / "sub [1]").chmod(0o744)  # its names can be listed, its files not reached
    over_long = "x" * 300
    done = other_user.run(
        "from engine.images import image_files\n"
        "from engine.images.format import ImageFormat\n"
        "failures = image_files.Failures()\n"
        f"paths = ['images', 'images/sub/c.png', {over_long!r}, 'images/sub/*', 'images/b.png']\n"
        "found = image_files.find_files(paths, failures)\n"
        "small = ImageFormat(image_size=(8, 8), channels=1)\n"
        "for path, _ in image_files.decoded_images(found, failures, image_format=small):\n"
        "    print(path)\n",
        tmp_path,
    )
    assert done.stdout.splitlines() == ["images/b.png", "images/b.png"]
    denied = "cannot be read (Permission denied)"
    assert sorted(done.stderr.splitlines()) == sorted(
        [
            f"images/sub: {denied}",
            f"images/a.png: {denied}",
            f"images/sub [1]/e.png: {denied}",
            "images/notes.txt: text, not an image",
            f"images/sub/c.png: {denied}",
            f"{over_long}: cannot be read (File name too long)",
            f"images/sub: {denied}",
        ]
    )


def test_names_with_line_ends_take_one_line(folder, capsys):
    odd = "a\nb\r\x1b[2Jc\udcff.png"
    assert files.one_line(odd) == r"a\nb\r\x1b[2Jc\xff.png"
    assert found(odd) == ([], 1)
    assert len(capsys.readouterr().err.splitlines()) == 1
