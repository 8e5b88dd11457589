"""`engine.explain` draws each image beside its evidence."""

import fake_run
import numpy as np
import pytest
from PIL import Image

import engine
from engine import explain
from engine.base.config import UserError
from engine.explaining import request


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
        request.target_class("NORML", ("NORMAL", "PNEUMONIA"))


def test_a_layer_can_be_named_and_a_wrong_one_lists_those_there_are(run, images, tmp_path, capsys):
    arguments = [str(run), str(images / "b"), "--output", str(tmp_path / "out")]
    assert explain.main([*arguments, "--layer", "last_convolution"]) == 0
    assert explain.main([*arguments, "--layer", "first"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.endswith("--layer: the model has no feature map 'first'; it has last_convolution")


@pytest.fixture(scope="module")
def spotted(tmp_path_factory):
    """Dark images with one bright spot each, in images of another aspect than the network's, and their boxes."""
    folder = tmp_path_factory.mktemp("spotted")
    rows = ["path,x,y,width,height"]
    for number, (x, y) in enumerate([(40, 30), (300, 120), (200, 20)]):
        pixels = np.full((180, 400), 20, np.uint8)
        pixels[y : y + 45, x : x + 60] = 250
        Image.fromarray(pixels).save(folder / f"spot{number}.png")
        rows.append(f"spot{number}.png,{x - 20},{y - 20},100,85")
    (folder / "boxes.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.mark.parametrize("method", ["auto", "grad-cam", "grad-cam++", "occlusion"])
def test_every_method_finds_the_spot_and_says_how_often(run, spotted, capsys, method):
    arguments = [str(run), str(spotted / "spot*.png"), "--method", method, "--target", "PNEUMONIA"]
    before = sorted(path.name for path in run.rglob("*"))
    assert explain.main([*arguments, "--boxes", str(spotted / "boxes.csv")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    row = next(line.split() for line in lines if line.split()[:1] == ["PNEUMONIA"])
    assert row[1:3] == ["3", "100.0%"]
    assert sorted(path.name for path in run.rglob("*")) == before


def test_with_an_output_the_checks_leave_pictures_and_a_table(run, spotted, tmp_path, capsys):
    arguments = [str(run), str(spotted / "spot*.png"), "--target", "PNEUMONIA", "--outside-body"]
    arguments += ["--boxes", str(spotted / "boxes.csv"), "--output", str(tmp_path / "out")]
    assert explain.main([*arguments, "--figures", "png,svg"]) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "localisation.csv",
        *(f"spot{n}.{kind}" for n in range(3) for kind in ("png", "svg")),
    }
    rows = (tmp_path / "out" / "localisation.csv").read_text().splitlines()
    assert rows[0] == "path,target,x,y,in_box,outside_body" and len(rows) == 4
    assert all(row.split(",")[4] == "1" for row in rows[1:])
    assert "outside the body" in capsys.readouterr().out


def test_filters_need_no_image_and_feature_maps_one(run, spotted, tmp_path, capsys):
    output = ["--output", str(tmp_path / "out")]
    assert explain.main([str(run), "--filters", *output]) == 0
    assert (
        capsys.readouterr().out == f"{run}\t{tmp_path / 'out' / 'filters-last_convolution.png'}\n"
    )
    assert explain.main([str(run), str(spotted / "spot0.png"), "--feature-maps", *output]) == 0
    names = [
        line.split("\t")[1].rpartition("/")[2] for line in capsys.readouterr().out.splitlines()
    ]
    assert names == ["spot0.png", "spot0-last_convolution.png"]


def test_an_ensembles_filters_are_refused_and_its_evidence_is_not(tmp_path, spotted, capsys):
    from engine.runs import ensemble

    for number in range(2):
        fake_run.make_run(tmp_path / f"seed-{number}")
    members = [ensemble.Member(f"seed-{number}", seed=number) for number in range(2)]
    ensemble.write(ensemble.EnsembleDirectory(tmp_path, members))
    assert explain.main([str(tmp_path), "--filters"]) == 2
    assert "stands for 2 runs; give one of them" in capsys.readouterr().err
    assert explain.main([str(tmp_path), str(spotted / "spot0.png")]) == 0
    assert (tmp_path / "explanations" / "spot0.png").is_file()


def test_more_than_two_classes_are_explained(tmp_path, spotted, capsys):
    run = fake_run.make_run(tmp_path / "run", class_names=("dark", "grey", "bright"))
    for method in ("auto", "grad-cam++", "occlusion"):
        arguments = [str(run), str(spotted / "spot0.png"), "--target", "bright", "--method", method]
        assert explain.main([*arguments, "--output", str(tmp_path / method)]) == 0
        assert (tmp_path / method / "spot0.png").is_file()


def test_the_sanity_check_says_in_a_line_whether_it_passes(tmp_path, capsys):
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    inputs = keras.Input((*fake_run.IMAGE_SIZE, 1), dtype="uint8")
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, padding="same", activation="relu")(x))
    outputs = layers.Activation("sigmoid")(layers.Dense(1, name="logits")(x))
    run = fake_run.make_run(tmp_path / "run", model=keras.Model(inputs, outputs))
    rng = np.random.default_rng(0)
    for number in range(4):
        pixels = rng.integers(0, 256, fake_run.IMAGE_SIZE, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    kept = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert (
        explain.main([str(run), str(tmp_path / "*.png"), "--sanity-check", "--method", "occlusion"])
        == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1].startswith(("passes: ", "FAILS: "))
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == kept


def test_from_python_each_image_has_its_evidence(run, spotted):
    found = engine.explain(run, spotted / "spot1.png", method="occlusion", target="PNEUMONIA")[0]
    assert found.target == "PNEUMONIA" and found.predicted == "NORMAL"
    placed = found.on_image((180, 400))
    row, column = np.unravel_index(placed.argmax(), placed.shape)
    assert 120 <= row <= 165 and 300 <= column <= 360
    assert found.image().shape == (180, 400, 1)
    with pytest.raises(UserError, match="did you mean 'method'"):
        engine.explain(run, spotted, metod="occlusion")


def test_neither_an_image_nor_a_foreign_table_is_replaced(run, images, tmp_path, capsys):
    inputs = {path: path.read_bytes() for path in images.rglob("*.png")}
    for paths in ([str(images / "a")], [str(images / "*" / "*.png")], [str(images)]):
        assert explain.main([str(run), *paths, "--output", str(images / "b" / ".." / "a")]) == 2
        assert "holds same.png, which is read" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in images.rglob("*.png")} == inputs
    output = tmp_path / "out"
    output.mkdir()
    (output / "localisation.csv").write_text("patient,finding\n1,none\n")
    arguments = [str(run), str(images / "a"), "--outside-body", "--output", str(output)]
    assert explain.main(arguments) == 2
    assert "localisation.csv of something else" in capsys.readouterr().err
    assert [path.name for path in output.iterdir()] == ["localisation.csv"]
    (output / "localisation.csv").unlink()
    for _ in range(2):  # its own is replaced
        assert explain.main(arguments) == 0


def test_without_a_readable_image_in_a_box_that_is_said(run, images, tmp_path, capsys):
    (images / "b" / "bad.png").write_bytes(b"bad")
    (tmp_path / "boxes.csv").write_text("path,x,y,width,height\nb/bad.png,0,0,5,5\n")
    arguments = [str(run), str(images / "a"), str(images / "b")]
    assert explain.main([*arguments, "--boxes", str(tmp_path / "boxes.csv")]) == 0
    assert "no image with a box could be read" in capsys.readouterr().out


def test_pictures_replace_earlier_ones_and_no_other_images(run, images, tmp_path, capsys):
    before = (images / "a" / "same.png").read_bytes()
    arguments = [str(run), str(images / "b"), "--output", str(images / "a"), "--figures", "png,svg"]
    for _ in range(2):
        assert explain.main(arguments) == 0
        names = sorted(path.name for path in (images / "a").iterdir())
        assert names == ["same-2.png", "same-2.svg", "same.png"]
    assert (images / "a" / "same.png").read_bytes() == before
