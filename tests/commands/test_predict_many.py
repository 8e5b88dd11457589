"""`engine.predict` into files, from lists of paths, in parts, and of more files than memory should hold."""

import csv
import io
import json
import os
import sys
import tracemalloc
from pathlib import Path

import fake_run
import grey_files
import numpy as np
import pytest

import engine
from engine import predict
from engine.base.config import UserError
from engine.images import decoding, image_files

LEVELS = (30, 220, 100, 200, 60, 140, 90)
MANY = 120_000  # more than a command line takes


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return str(fake_run.make_run(tmp_path_factory.mktemp("run"), threshold=0.6))


@pytest.fixture
def images(tmp_path):
    grey_files.write_all(tmp_path / "images", LEVELS)
    return tmp_path / "images"


@pytest.fixture
def printed(run, images, capsys):
    """What the command prints as text, CSV and JSON."""
    found = {}
    for kind, flags in (("text", []), ("csv", ["--csv"]), ("json", ["--json"])):
        assert predict.main([run, str(images), *flags]) == 0
        found[kind] = capsys.readouterr().out
    return found


@pytest.mark.parametrize(
    ("name", "flags", "kind"),
    [
        ("a.csv", [], "csv"),
        ("a.json", [], "json"),
        ("A.JSON", [], "json"),
        ("a.txt", [], "text"),
        ("a", [], "text"),
        ("a.csv", ["--json"], "json"),
        ("a.txt", ["--csv"], "csv"),
    ],
)
def test_a_file_holds_what_would_be_printed(
    run, images, printed, tmp_path, capsys, name, flags, kind
):
    output = tmp_path / "new" / name
    assert predict.main([run, str(images), "--output", str(output), *flags]) == 0
    assert output.read_text() == printed[kind]
    captured = capsys.readouterr()
    assert captured.out == f"predictions: {output}\n"
    assert "predicting: 7/7 images" in captured.err
    assert list(output.parent.iterdir()) == [output]


def test_a_dash_is_standard_output(run, images, printed, capsys):
    assert predict.main([run, str(images), "--output", "-"]) == 0
    assert capsys.readouterr().out == printed["text"]


def test_unreadable_files_count_as_progress(run, images, tmp_path, capsys):
    (images / "3.png").write_bytes(b"no image")
    output = str(tmp_path / "a.csv")
    assert predict.main([run, str(images), str(images / "absent"), "--output", output]) == 0
    err = capsys.readouterr().err
    assert "predicting: 7/7 images" in err and "2 not read, 6 predicted" in err


def test_a_file_in_a_folder_of_images_is_not_taken_for_one(run, images, capsys):
    output = images / "a.csv"
    for _ in range(2):
        assert predict.main([run, str(images), "--output", str(output)]) == 0
        captured = capsys.readouterr()
        assert "not read" not in captured.err
        assert len(list(csv.DictReader(io.StringIO(output.read_text())))) == len(LEVELS)


def test_a_run_that_fails_leaves_the_earlier_file(run, images, tmp_path, monkeypatch, capsys):
    output = tmp_path / "a.csv"
    output.write_text("earlier\n")

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(decoding, "decode_file", interrupted)
    assert predict.main([run, str(images), "--output", str(output)]) == 130
    assert output.read_text() == "earlier\n"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a.csv"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\0"])
def test_a_list_of_paths(run, images, printed, tmp_path, capsys, end):
    listed = tmp_path / "list"
    listed.write_bytes(end.join([*(str(images / f"{i}.png") for i in range(7)), ""]).encode())
    assert predict.main([run, "--paths-from", str(listed)]) == 0
    assert capsys.readouterr().out == printed["text"]


def test_lists_hold_folders_and_names_of_any_bytes(run, images, tmp_path, capsysbinary):
    odd = os.fsdecode(b"caf\xe9.png")
    try:
        (images / "0.png").rename(images / odd)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    listed = tmp_path / "list"
    listed.write_bytes(b"\xef\xbb\xbf\n" + os.fsencode(images) + b"\n\n")
    assert predict.main([run, str(images / odd), "--paths-from", str(listed)]) == 0
    lines = capsysbinary.readouterr().out.splitlines()
    assert len(lines) == 8 and lines[0] == lines[-1]


def test_a_list_on_standard_input(run, images, monkeypatch, capsys):
    listed = io.BytesIO(f"{images}/2.png\n{images}/1.png".encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(listed))
    assert predict.main([run, "--paths-from", "-", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [Path(row["path"]).name for row in rows] == ["2.png", "1.png"]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_parts_are_the_whole_in_order(run, images, printed, capsys, count):
    parts = []
    for number in range(1, count + 1):
        assert predict.main([run, str(images), "--part", f"{number}/{count}"]) == 0
        parts.append(capsys.readouterr().out)
    assert "".join(parts) == printed["text"]
    sizes = [part.count("\n") for part in parts]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("given", ["{0}", "{0}/*", "{0}/../images/?.*", "{0}/**"])
def test_a_part_is_not_written_among_the_files_of_the_next_one(run, images, capsys, given):
    """Whose cuts it would move, so that an image is in no part."""
    output = images / "1.csv"
    flags = ["--part", "1/2", "--output", str(output)]
    assert predict.main([run, given.format(images), *flags]) == 2
    assert f"--part: the results go to {output}, which is among" in capsys.readouterr().err
    assert not output.exists()


def test_a_part_may_lie_beside_the_files_that_a_glob_takes(run, images, capsys):
    shown = []
    for number in (1, 2, 3):
        output = images / f"part-{number}.csv"
        flags = ["--part", f"{number}/3", "--output", str(output)]
        assert predict.main([run, f"{images}/*.png", *flags]) == 0
        assert f"part {number} of 3:" in capsys.readouterr().err
        shown += [Path(row["path"]).name for row in csv.DictReader(output.open())]
    assert shown == [f"{i}.png" for i in range(7)]


def test_a_part_is_not_redirected_among_the_files_either(run, images, monkeypatch, capsys):
    with open(images / "out.txt", "w", encoding="utf-8") as redirected:
        monkeypatch.setattr(sys, "stdout", redirected)
        assert predict.main([run, str(images), "--part", "1/2"]) == 2
    assert "--part: the results go to" in capsys.readouterr().err


def test_what_it_reads_is_not_replaced(run, images, tmp_path, capsys):
    listed = tmp_path / "list"
    listed.write_text(f"{images}/0.png\n")
    for flags in (["--paths-from", str(listed)], [str(images), str(listed)]):
        assert predict.main([run, *flags, "--output", str(listed)]) == 2
        assert f"--output {listed}: is among what is read" in capsys.readouterr().err
    assert listed.read_text() == f"{images}/0.png\n"


@pytest.mark.parametrize("name", ["inference.json", "card.md", "evaluation/test/predictions.csv"])
def test_what_a_run_keeps_is_not_replaced(run, images, capsys, name):
    path = Path(run, name)
    before = path.read_bytes() if path.exists() else None
    assert predict.main([run, str(images), "--output", str(path)]) == 2
    assert f"--output {path}: is part of {run}" in capsys.readouterr().err
    assert (path.read_bytes() if path.exists() else None) == before


def test_a_json_array_has_its_end_only_where_it_is_whole(run, images, monkeypatch, capsys):
    def decoded(paths, failures, **options):
        yield next(paths), np.zeros((*fake_run.IMAGE_SIZE, 1), np.uint8)
        raise UserError("killed")

    monkeypatch.setattr(image_files, "decoded_images", decoded)
    assert predict.main([run, str(images), "--json", "--batch-size", "1"]) == 2
    shown = capsys.readouterr().out
    assert shown.startswith("[")
    with pytest.raises(json.JSONDecodeError):
        json.loads(shown)


def test_parts_from_python(run, images):
    found = [engine.predict(run, images, part=f"{number}/2") for number in (1, 2)]
    assert [len(part) for part in found] == [3, 4]
    with pytest.raises(UserError, match="K-th of N"):
        engine.predict(run, images, part="3/2")


def test_flags_may_stand_between_paths(run, images, printed, capsys):
    first, *others = (str(images / f"{i}.png") for i in range(7))
    assert predict.main([run, first, "--batch-size", "4", *others]) == 0
    assert capsys.readouterr().out == printed["text"]


def test_more_files_than_a_command_line_takes(run, tmp_path, monkeypatch, capsys):
    """120,000 paths of one list, the first quarter of them, in bounded memory beyond the paths."""
    image = grey_files.write(tmp_path / "a.png", 90)
    pixels = decoding.decode_file(image, fake_run_format())

    def decoded(paths, failures, **options):
        for path in paths:
            yield path, pixels

    monkeypatch.setattr(image_files, "decoded_images", decoded)
    listed, output = tmp_path / "list", tmp_path / "a.json"
    listed.write_text(f"{image}\n" * MANY)
    flags = ["--paths-from", str(listed), "--output", str(output), "--batch-size", "2048"]
    assert predict.main([run, *flags, "--part", "1/4"]) == 0
    assert f"predicting: {MANY // 4:,}/{MANY // 4:,} images" in capsys.readouterr().err
    assert len(json.loads(output.read_text())) == MANY // 4


def test_memory_does_not_grow_with_the_number_of_files(run, tmp_path, monkeypatch):
    """Beyond their names, of which each costs a text: with images, doubts and failures."""
    image = tmp_path / ("a" * 60)
    image.touch()

    def decode(path, image_format, *, warn, **limits):
        warn("that is doubtful")
        return np.zeros(image_format.image_shape, np.uint8)

    monkeypatch.setattr(decoding, "decode_file", decode)
    peaks = []
    for count in (500, 500, 2500):
        (tmp_path / "list").write_text(f"{image}\n" * count)
        tracemalloc.start()
        flags = ["--paths-from", str(tmp_path / "list"), "--output", str(tmp_path / "out")]
        assert predict.main([run, *flags]) == 0
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    _, few, many = peaks
    per_file = (many - few) / 2000
    assert per_file < 6 * (len(str(image)) + 60)  # the list, its lines, texts and paths


def fake_run_format():
    from engine.images.format import ImageFormat

    return ImageFormat(image_size=fake_run.IMAGE_SIZE, channels=1)
