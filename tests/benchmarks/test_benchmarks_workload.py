import io

import numpy as np
import pytest
from numbered_shards import striped_image, write_shards
from PIL import Image

from benchmarks import workload
from benchmarks.__main__ import DEFAULT_SUITES, SUITES, chosen_suites, main, shown_command
from benchmarks.suites import accuracy, augment, scaling
from engine.base.config import UserError
from engine.pipeline.augmentation import PRESETS
from engine.shards.tfrecords import read_manifest


def prepare(tmp_path, **changes):
    options = {
        "images": None,
        "shards": tmp_path / "shards",
        "workdir": tmp_path / "work",
        "image_size": (16, 16),
        "num_images": 64,
        "tell": lambda line: None,
    }
    return workload.prepare(**{**options, **changes})


@pytest.fixture
def shards(tmp_path):
    (tmp_path / "shards").mkdir()
    return write_shards(
        tmp_path / "shards", {"train": 12, "validation": 6}, draw=striped_image, num_shards=2
    )


def test_shards_alone_give_their_training_images_as_files(tmp_path, shards):
    found = prepare(tmp_path)
    files = sorted(found.folder.rglob("*.jpeg"))
    assert len(files) == 12
    counts = {
        path.name: len(list(path.glob("*"))) for path in found.folder.iterdir() if path.is_dir()
    }
    assert counts == {"well": 4, "ill": 8}
    with Image.open(files[0]) as image:
        assert image.size == (16, 16)


def test_files_written_once_are_found_again(tmp_path, shards):
    first = prepare(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in first.folder.rglob("*")}
    second = prepare(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in second.folder.rglob("*")} == before


def test_a_folder_of_the_right_size_is_linked_not_copied(tmp_path, shards):
    images = tmp_path / "images"
    images.mkdir()
    for number in range(12):
        Image.fromarray(striped_image(number)[..., 0]).save(images / f"{number}.png")
    found = prepare(tmp_path, images=images)
    links = [path for path in found.folder.rglob("*") if path.is_symlink()]
    assert len(links) == 12
    assert {path.resolve().parent for path in links} == {images.resolve()}


def test_a_folder_that_the_shards_were_not_made_of_is_refused(tmp_path, shards):
    images = tmp_path / "images"
    images.mkdir()
    Image.fromarray(striped_image(0)[..., 0]).save(images / "other.png")
    with pytest.raises(UserError, match="does not hold"):
        prepare(tmp_path, images=images)


def test_suites_are_chosen_by_name_and_each_has_a_file():
    assert chosen_suites([]) == list(DEFAULT_SUITES)
    assert chosen_suites(["all"]) == list(SUITES)
    assert chosen_suites(["step", "input", "step"]) == ["step", "input"]
    folder = workload.Path(workload.__file__).parent / "suites"
    assert {path.stem for path in folder.glob("[a-z]*.py")} == set(SUITES)


def test_results_name_no_path_of_the_machine_they_were_measured_on():
    command = shown_command(["input", "--shards", "/home/someone/data/shards", "--json", "results"])
    assert command == "python -m benchmarks input --shards shards --json results"


def test_a_suite_that_is_none_ends_with_status_2_and_a_line(capsys):
    assert main(["imput"]) == 2
    assert "did you mean 'input'?" in capsys.readouterr().err


def test_the_keras_side_does_what_the_strengths_ask_for():
    assert augment.layer_names(PRESETS["none"]) == []
    names = augment.layer_names(PRESETS["tutorial"])
    assert {"RandomRotation", "RandomTranslation", "RandomZoom", "RandomFlip"} <= set(names)
    assert "RandomBrightness" in augment.layer_names(PRESETS["strong"])


def test_both_augmentation_sides_do_as_many_images_as_they_say():
    images = np.stack([striped_image(number) for number in range(4)])
    assert augment.fused(images, PRESETS["tutorial"])(2) == 32
    assert augment.keras_layers(images, PRESETS["tutorial"])(1) == 16


def test_generated_shards_hold_what_their_manifest_says(tmp_path):
    directory = scaling.generated_shards(tmp_path, 30)
    manifest = read_manifest(directory)
    assert manifest.splits["train"].num_examples == 30
    assert scaling.generated_shards(tmp_path, 30) == directory


def test_minutes_to_a_target_sum_the_epochs_before_it():
    history = [{"seconds": 30.0, "val_auroc": auroc} for auroc in (0.9, 0.97, 0.985, 0.97)]
    assert accuracy.minutes_to(history, 0.98) == pytest.approx(1.5)
    assert accuracy.minutes_to(history, 0.995) == float("inf")


@pytest.mark.slow
def test_the_command_measures_writes_json_and_draws(tmp_path, shards, capsys):
    arguments = ["latency", "--quick", "--shards", str(tmp_path / "shards"), "--seconds", "0.01"]
    folders = ["--workdir", str(tmp_path / "work"), "--json", str(tmp_path / "results")]
    assert main([*arguments, *folders, "--plots", str(tmp_path / "plots"), "--repeats", "1"]) == 0
    assert (tmp_path / "results/latency.json").is_file()
    assert (tmp_path / "plots/latency.png").is_file()
    out = io.StringIO(capsys.readouterr().out)
    assert max(len(line.rstrip("\n")) for line in out) <= 80
