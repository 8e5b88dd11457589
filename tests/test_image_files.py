"""Paths stand for the files a user means, and one bad file costs only itself."""

import numpy as np
import pytest
from PIL import Image

from engine import image_files

SIZE = {"image_size": (12, 16), "channels": 1, "keep_aspect_ratio": False}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("b.png", "a.png", "sub/c.png", ".hidden.png", ".git/d.png", "sub [1]/e.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 20), 90, np.uint8)).save(path)
    (tmp_path / "images" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "images" / "notes.txt").write_text("no image", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "images"


def found(*paths):
    failures = image_files.Failures()
    files = [path.as_posix() for path in image_files.find_files(paths, failures)]
    return files, failures.count


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
        files, _ = found(pattern)
        assert set(files) - {"images/Thumbs.db"} == set(found("images")[0])
        assert len(files) == len(set(files))


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
    files, failures = found("absent.png", "images/*.gif", "images/empty", "images/a.png")
    assert files == ["images/a.png"]
    assert failures == 3
    errors = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in errors] == ["absent.png", "images/*.gif", "images/empty"]


def test_link_loops_end(folder):
    (folder / "sub" / "loop").symlink_to(folder)
    assert len(found("images")[0]) == 5
    assert len(found("images/**/*.png")[0]) <= 5


def test_images_come_in_order_and_bad_ones_are_named(folder, capsys):
    paths = []
    for i in range(23):
        path = folder / f"{i:02d}.png"
        Image.fromarray(np.full((20, 20), 10 * i, np.uint8)).save(path)
        paths.append(path)
    paths[5].write_bytes(paths[5].read_bytes()[:40])
    paths[9].write_bytes(b"")
    paths[11].unlink()
    failures = image_files.Failures()
    decoded = list(image_files.decoded_images(paths, failures, workers=3, **SIZE))
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

    images = image_files.decoded_images(paths(), image_files.Failures(), workers=2, **SIZE)
    for _ in range(3):
        next(images)
    assert len(asked) < 20
    images.close()


def test_batches_hold_everything_once_and_only_the_last_is_smaller():
    images = [(f"{i}.png", np.full((2, 2, 1), i, np.uint8)) for i in range(10)]
    batches = list(image_files.batched(iter(images), 4))
    assert [len(batch["path"]) for batch in batches] == [4, 4, 2]
    assert np.concatenate([b["image"] for b in batches])[:, 0, 0, 0].tolist() == list(range(10))
