"""The images that exports are checked on are the same each time, and of every class."""

import fake_run
import grey_files
import numpy as np
import pytest

from engine.base import files
from engine.base.config import UserError
from engine.base.export_settings import ExportConfig
from engine.images.format import ImageFormat
from engine.inference.export import checked_images, exporting
from engine.inference.export.checked_images import ImageSource
from engine.inference.export.verification import Verification
from engine.runs.contract import InferenceContract
from engine.runs.run_directory import RunDirectory
from engine.shards import data_identity, tfrecords

CONTRACT = InferenceContract(
    image_format=ImageFormat(image_size=fake_run.IMAGE_SIZE, channels=1),
    class_names=fake_run.CLASS_NAMES,
)


def test_classes_are_chosen_equally_often_as_far_as_they_last():
    labels = np.array([0] * 50 + [1] * 4 + [2] * 30)
    chosen = checked_images.balanced_choice(labels, 30, seed=1)
    assert np.bincount(labels[chosen]).tolist() == [10, 4, 10]
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, checked_images.balanced_choice(labels, 30, seed=1))
    assert not np.array_equal(chosen, checked_images.balanced_choice(labels, 30, seed=2))


def test_generated_images_differ_and_use_the_range():
    images = checked_images.generated(ImageFormat(image_size=(40, 30), channels=3), seed=0)
    assert images.shape == (32, 40, 30, 3) and images.dtype == np.uint8
    assert len(np.unique(images.reshape(32, -1), axis=0)) == 32
    assert images.min() < 20 and images.max() > 230
    again = checked_images.generated(ImageFormat(image_size=(40, 30), channels=3), seed=0)
    np.testing.assert_array_equal(images, again)


@pytest.fixture
def run(tmp_path):
    """A run that knows the shards of its training, in `tmp_path / "shards"`; it has no model."""
    make_shards(tmp_path)
    manifest = tfrecords.read_manifest(tmp_path / "shards")
    found = RunDirectory(tmp_path / "run")
    data = {**data_identity.describe(manifest), "shards": str(tmp_path / "shards")}
    files.write_json(found.environment, {"data": data})
    return found


def make_shards(directory, *, level=40, split="validation"):
    images, labels = fake_run.grey_images([level, 200]), [0, 1]
    fake_run.make_shards(directory / "shards", images, labels, ["a", "b"], split=split)


def source_of(run, **settings):
    return checked_images.find_source(
        run, CONTRACT, ExportConfig(**settings), shards=None, paths=()
    )


def test_a_mistyped_split_is_refused(run, tmp_path):
    assert source_of(run).shards == tmp_path / "shards"
    with pytest.raises(UserError, match="no split 'validaton', only validation"):
        source_of(run, split="validaton")


def test_shards_of_other_images_are_not_taken_for_those_of_the_training(run, tmp_path, capsys):
    make_shards(tmp_path, level=60)
    assert source_of(run) == ImageSource()
    assert "not as in the training" in capsys.readouterr().err
    with pytest.raises(UserError, match="needs images to take its ranges from"):
        source_of(run, format="litert", quantize="int8")


def test_a_check_without_real_images_is_warned_of(run, capsys):
    run.environment.unlink()
    source = source_of(run)
    assert "generated" in source.read(CONTRACT, ExportConfig()).described
    assert "warning: no real images" in capsys.readouterr().err


@pytest.mark.parametrize(("num_images", "overlap"), [(6, 0), (12, 4)])
def test_ranges_come_from_files_that_are_not_checked_as_far_as_there_are(
    tmp_path, num_images, overlap
):
    paths = grey_files.write_all(tmp_path, range(0, 160, 10), fake_run.IMAGE_SIZE)
    settings = ExportConfig(
        format="litert", quantize="int8", num_images=num_images, num_representative=8
    )
    found = ImageSource(files=tuple(paths)).read(CONTRACT, settings)
    checked, ranges = (
        set(images[:, 0, 0, 0].tolist()) for images in (found.images, found.representative)
    )
    assert len(checked) == num_images and len(ranges) == 8
    assert len(checked & ranges) == overlap


@pytest.mark.parametrize(
    ("changed", "difference", "warns"), [(2, 0.05, False), (3, 0.05, True), (0, 0.11, True)]
)
def test_int8_that_decides_otherwise_is_warned_of_without_labels(
    capsys, changed, difference, warns
):
    found = Verification(
        images="100 image files",
        num_images=100,
        largest_difference=difference,
        num_labels_changed=changed,
    )
    exporting._warn_of_loss(ExportConfig(format="litert", quantize="int8"), found)
    assert ("chosen for the float model" in capsys.readouterr().err) == warns
    exporting._warn_of_loss(ExportConfig(), found)
    assert not capsys.readouterr().err
