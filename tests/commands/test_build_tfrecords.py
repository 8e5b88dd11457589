"""The command: exit statuses, the summary, what stands where."""

import numpy as np
import pytest
from PIL import Image

from engine import build_tfrecords
from engine.base import command_line

FLAGS = ["--image-size", "16", "--workers", "1"]


@pytest.fixture
def images(tmp_path):
    """60 images in two classes, one of which is no image."""
    for index in range(60):
        folder = tmp_path / "images" / ("ill" if index % 2 else "well")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(index).integers(0, 256, (20, 20), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"person{index}_virus_1.png")
    (tmp_path / "images" / "ill" / "person99_virus_1.png").write_bytes(b"")
    return tmp_path / "images"


def run(*arguments) -> int:
    return build_tfrecords.main([str(one) for one in arguments])


def test_summary_on_stdout_progress_on_stderr(images, tmp_path, capsys):
    assert run(images, tmp_path / "shards", *FLAGS) == command_line.DONE
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0].split() == ["split", "ill", "well", "images", "shards"]
    assert lines[1].split()[0] == "train"
    assert any(line.startswith("warning: validation has 3 images") for line in lines)
    assert "60 images in 3 shards, 1 left out" in lines[-1]
    assert "images/s" in lines[-1]
    assert "building train" in captured.err
    assert all(len(line) <= 80 for line in lines[:-1])


def test_again_and_verify(images, tmp_path, capsys):
    run(images, tmp_path / "shards", *FLAGS)
    capsys.readouterr()
    assert run(images, tmp_path / "shards", *FLAGS, "--verify") == command_line.DONE
    last = capsys.readouterr().out.splitlines()[-1]
    assert "complete already" in last and "every shard verified" in last


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--channels", "2"], "expected one of 1, 3"),
        (["--image-size", "4"], "between 8 and 8192"),
        (["--validation-fraction", "0.6", "--test-fraction", "0.6"], "at least a tenth"),
        (["--group-by", "(["], "regular expression"),
        (["--shard-size-mb", "0"], "above 0"),
    ],
)
def test_wrong_flags_are_one_line_and_status_2(images, tmp_path, capsys, flags, message):
    status = run(images, tmp_path / "shards", *flags)
    error = capsys.readouterr().err
    assert status == command_line.WRONG_INPUT
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "shards").exists()


def test_a_wrong_folder_is_one_line_and_status_2(tmp_path, capsys):
    assert run(tmp_path / "absent", tmp_path / "shards") == command_line.WRONG_INPUT
    assert "no such folder" in capsys.readouterr().err


def test_many_classes_are_listed_downwards(tmp_path, capsys):
    for index in range(36):
        folder = tmp_path / "images" / f"class with a long name {index % 12}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), index).save(folder / f"{index}.png")
    assert run(tmp_path / "images", tmp_path / "shards", *FLAGS, "--group-by", "none") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["split", "train", "validation", "test"]
    assert lines[1].startswith("class with a long name 0 ")
