"""`engine.predict` prints every readable image once, in each format, and names the others."""

import csv
import io
import json
import subprocess
import sys

import fake_run
import grey_files
import numpy as np
import pytest
from PIL import Image

from engine import predict
from engine.metrics.temperature import Calibration

LEVELS = (30, 220, 100, 200, 60)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return fake_run.make_run(tmp_path_factory.mktemp("run"), threshold=0.6)


@pytest.fixture
def images(tmp_path):
    grey_files.write_all(tmp_path / "images", LEVELS)
    return tmp_path / "images"


def probability(level):
    return 1 / (1 + np.exp(4 - 8 * level / 255))


def test_lines_hold_path_probability_and_class(run, images, capsys):
    assert predict.main([str(run), str(images), "--batch-size", "2"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == [str(images / f"{i}.png") for i in range(5)]
    for (_, shown, label), level in zip(lines, LEVELS, strict=True):
        assert float(shown) == pytest.approx(probability(level), abs=2e-3)
        assert label == ("PNEUMONIA" if probability(level) >= 0.6 else "NORMAL")


def test_json_is_one_document_and_agrees_with_csv(run, images, capsys):
    assert predict.main([str(run), str(images), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert predict.main([str(run), str(images), "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(values) == len(rows) == 5
    for value, row in zip(values, rows, strict=True):
        assert list(row) == ["path", "probability", "predicted"]
        assert value["path"] == row["path"] and value["predicted"] == row["predicted"]
        assert value["probability"] == pytest.approx(float(row["probability"]))
        assert sum(value["probabilities"].values()) == pytest.approx(1)
        assert value["probabilities"]["PNEUMONIA"] == value["probability"]


def test_a_prevalence_changes_probabilities_and_no_class(tmp_path, images, capsys):
    calibration = Calibration(1.0, prior=(0.5, 0.5))
    run = str(fake_run.make_run(tmp_path / "run", threshold=0.6, calibration=calibration))
    found = []
    for flags in ([], ["--prevalence", "0.5"], ["--prevalence", "0.1"]):
        assert predict.main([run, str(images), "--json", *flags]) == 0
        found.append(json.loads(capsys.readouterr().out))
    plain, same, rare = found
    assert same == plain
    for before, after in zip(plain, rare, strict=True):
        assert after["predicted"] == before["predicted"]
        odds = before["probability"] / (1 - before["probability"]) / 9
        assert after["probability"] == pytest.approx(odds / (1 + odds), abs=1e-5)
    with pytest.raises(SystemExit, match="2"):
        sys.exit(predict.main([run, str(images), "--prevalence", "1.5"]))
    assert "--prevalence: got '1.5'" in capsys.readouterr().err


def test_more_classes_show_each_probability(tmp_path, images, capsys):
    names = ("dark", "grey", "light")
    run = fake_run.make_run(tmp_path / "run", class_names=names)
    assert predict.main([str(run), str(images), "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["predicted"] for row in rows] == ["dark", "light", "grey", "light", "dark"]
    for row in rows:
        each = {name: float(row[f"probability_{name}"]) for name in names}
        assert row["predicted"] == max(each, key=each.get)
        assert float(row["probability"]) == max(each.values())


def test_several_runs_are_averaged_and_their_spread_given(run, images, tmp_path, capsys):
    model = fake_run.brightness_model()
    model.get_layer("logits").bias.assign([-6.0])
    other = fake_run.make_run(tmp_path / "other", model=model)
    arguments = [str(run), str(images), "--with", str(other)]
    assert predict.main([*arguments, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert predict.main([*arguments, "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    for value, row, level in zip(values, rows, LEVELS, strict=True):
        logit = 8 * level / 255 - 5  # the mean of both
        assert value["probability"] == pytest.approx(1 / (1 + np.exp(-logit)), abs=2e-3)
        assert value["spread"] == pytest.approx(float(row["spread"])) and value["spread"] > 0


def test_unreadable_files_are_named_and_the_others_predicted(run, images, capsys):
    (images / "1.png").write_bytes(b"not an image")
    assert predict.main([str(run), str(images), str(images / "absent.png")]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 4
    assert str(images / "1.png") in captured.err
    assert str(images / "absent.png") in captured.err
    assert "2 not read, 4 predicted" in captured.err


@pytest.mark.parametrize("flags", [[], ["--json"], ["--csv"]])
def test_status_2_where_nothing_could_be_read(run, tmp_path, flags, capsys):
    bad = tmp_path / "bad.jpg"
    bad.write_text("text", encoding="utf-8")
    assert predict.main([str(run), str(bad), *flags]) == 2
    captured = capsys.readouterr()
    assert str(bad) in captured.err and "Traceback" not in captured.err
    if flags == ["--json"]:
        assert json.loads(captured.out) == []  # whole: every file was tried


def test_globs_and_single_files_are_taken(run, images, capsys):
    assert predict.main([str(run), str(images / "[01].png"), str(images / "4.png")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_images_over_the_limit_are_passed_over(run, images, capsys):
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(images / "small.png")
    assert predict.main([str(run), str(images), "--max-pixels", "200"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.fixture(scope="module")
def remembering(tmp_path_factory):
    """A run that knows grey noise of medium brightness, and images of which the second is black."""
    run = fake_run.make_run(tmp_path_factory.mktemp("run"))
    levels = np.random.default_rng(0).integers(90, 170, 80)
    fake_run.remember(run, fake_run.grey_images(levels))
    folder = tmp_path_factory.mktemp("images")
    for place, pixels in enumerate(fake_run.grey_images([100, 0, 150], seed=1)[..., 0]):
        Image.fromarray(pixels * (place != 1)).save(folder / f"{place}.png")
    return run, folder


@pytest.mark.parametrize("abstain", [False, True])
def test_images_unlike_the_training_images_are_marked_and_may_stay_undecided(
    remembering, abstain, capsys
):
    flags = [*map(str, remembering), *(["--abstain"] if abstain else [])]
    black = "undecided" if abstain else "NORMAL"
    assert predict.main(flags) == 0
    captured = capsys.readouterr()
    lines = [line.split("\t") for line in captured.out.splitlines()]
    assert [line[2] for line in lines] == ["NORMAL", black, "PNEUMONIA"]
    assert [line[3].endswith(" unlike") for line in lines] == [False, True, False]
    assert "1 of 3 are unlike the training images" in captured.err
    assert predict.main([*flags, "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["unlike"] for row in rows] == ["0", "1", "0"]
    assert predict.main([*flags, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert [value["unlike"] for value in values] == [False, True, False]
    for value, row in zip(values, rows, strict=True):
        assert value["predicted"] == row["predicted"]
        assert value["distance"] == pytest.approx(float(row["distance"]))
        assert (value["distance"] > 1) == value["unlike"]


def test_a_run_that_knows_no_distances_says_so_and_cannot_abstain(run, images, capsys):
    assert predict.main([str(run), str(images)]) == 0
    assert "applicability.npz is missing" in capsys.readouterr().err
    assert predict.main([str(run), str(images), "--abstain"]) == 2
    captured = capsys.readouterr()
    assert "--abstain" in captured.err and "--resume writes it" in captured.err
    assert captured.out == ""


def test_json_and_csv_exclude_each_other(run, images):
    with pytest.raises(SystemExit) as stop:
        predict.main([str(run), str(images), "--json", "--csv"])
    assert stop.value.code == 2


def test_help_does_not_import_tensorflow():
    program = (
        "import sys\nfrom engine import predict, explain\n"
        "for command in (predict, explain):\n"
        "    try:\n        command.main(['--help'])\n"
        "    except SystemExit as stop:\n        assert stop.code == 0\n"
        "assert 'tensorflow' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_deep_files_are_read_as_in_training(tmp_path, capsys):
    """A 12-bit image and its 8-bit twin give one probability; one beyond the range is clipped, and said."""
    run = fake_run.make_run(tmp_path / "run", bits=12)
    levels = np.random.default_rng(0).integers(0, 256, (30, 40))
    Image.fromarray(levels.astype(np.uint8)).save(tmp_path / "8.png")
    Image.fromarray(np.round(levels * (4095 / 255)).astype(np.uint16)).save(tmp_path / "12.png")
    Image.fromarray((levels * 257).astype(np.uint16)).save(tmp_path / "16.png")
    paths = [str(tmp_path / f"{bits}.png") for bits in (8, 12, 16)]
    assert predict.main([str(run), *paths]) == 0
    captured = capsys.readouterr()
    shown = [line.split("\t")[1] for line in captured.out.splitlines()]
    assert shown[0] == shown[1] != shown[2]
    # Before it come what is loaded and, in the first test of a process, TensorFlow's own lines.
    assert captured.err.splitlines()[-1] == (
        f"warning: 1 image with values above 4,095, clipped to white: read as 12-bit ({paths[2]})"
    )
    assert captured.err.count("warning: ") == 1


@pytest.mark.parametrize("flags", [[""], [".", ""], [".", "--batch-size", "1000000000"]])
def test_wrong_input_is_one_line(run, flags, capsys):
    assert predict.main([str(run), *flags]) == 2
    captured = capsys.readouterr()
    assert not captured.out and len(captured.err.splitlines()) == 1


def test_names_with_line_ends_are_one_row(run, images, capsys):
    (images / "0.png").rename(images / "a\rb\nc.png")
    assert predict.main([str(run), str(images), "--csv"]) == 0
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out, newline="")))
    assert len(rows) == 6 and {len(row) for row in rows} == {3}
    assert str(images / "a\rb\nc.png") in [row[0] for row in rows]
    assert predict.main([str(run), str(images)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
