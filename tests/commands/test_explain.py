"""`engine.explain` draws each image beside its evidence."""

import fake_run
import numpy as np
import pytest
from PIL import Image

from engine import explain
from engine.base.config import UserError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return fake_run.make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def images(tmp_path):
    for folder, level in (("a", 30), ("b", 220)):
        (tmp_path / folder).mkdir()
        pixels = np.full((30, 40), level, np.uint8)
        Image.fromarray(pixels).save(tmp_path / folder / "same.png")
    return tmp_path


def test_each_image_has_a_picture_of_its_own(run, images, tmp_path, capsys):
    output = tmp_path / "out"
    arguments = [str(run), str(images / "a"), str(images / "b"), "--output", str(output)]
    assert explain.main(arguments) == 0
    assert sorted(path.name for path in output.iterdir()) == ["same-2.png", "same.png"]
    for path in output.iterdir():
        with Image.open(path) as picture:
            assert picture.format == "PNG" and picture.width > picture.height
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        [str(images / "a" / "same.png"), str(output / "same.png")],
        [str(images / "b" / "same.png"), str(output / "same-2.png")],
    ]


def test_pictures_go_into_the_run_unless_told(run, images, capsys):
    assert explain.main([str(run), str(images / "b")]) == 0
    assert (run / "explanations" / "same.png").is_file()


def test_the_target_changes_the_picture(run, images, tmp_path, capsys):
    for target in ("NORMAL", "PNEUMONIA"):
        arguments = [str(run), str(images / "b"), "--target", target]
        assert explain.main([*arguments, "--output", str(tmp_path / target)]) == 0
    pictures = [(tmp_path / name / "same.png").read_bytes() for name in ("NORMAL", "PNEUMONIA")]
    assert pictures[0] != pictures[1]


def test_wrong_input_is_status_2_and_one_line(run, images, tmp_path, capsys):
    (tmp_path / "bad.png").write_bytes(b"bad")
    assert explain.main([str(run), str(tmp_path / "bad.png")]) == 2
    assert "Traceback" not in capsys.readouterr().err
    with pytest.raises(UserError, match="did you mean 'NORMAL'"):
        explain.target_class("NORML", ("NORMAL", "PNEUMONIA"))


def test_a_layer_can_be_named_and_a_wrong_one_lists_those_there_are(run, images, tmp_path, capsys):
    arguments = [str(run), str(images / "b"), "--output", str(tmp_path / "out")]
    assert explain.main([*arguments, "--layer", "last_convolution"]) == 0
    assert explain.main([*arguments, "--layer", "first"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.endswith("--layer: the model has no feature map 'first'; it has last_convolution")
