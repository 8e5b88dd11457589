"""Building from 16-bit files: one range for the whole data set, said, kept and compared."""

import shutil

import numpy as np
import pytest
from PIL import Image

from engine.base.build_settings import BuildConfig
from engine.base.config import UserError
from engine.images import decoding
from engine.images.format import ImageFormat
from engine.shards import builder, tfrecords

SIZE = (8, 8)
FORMAT = ImageFormat(image_size=SIZE, channels=1, bits=12)
FLAGS = {
    "image_size": SIZE,
    "group_by": "none",
    "workers": 1,
    "shard_size_mb": 0.001,
    "test_fraction": 0,
}


@pytest.fixture
def images(tmp_path):
    """16 images per class of 12-bit values in 16-bit PNG and TIFF, darker and brighter, and one JPEG."""
    for index in range(32):
        folder = tmp_path / "images" / "ab"[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        top = 4095 if index == 5 else 2000 + 50 * index
        values = np.linspace(0, top, 64).round().astype(np.uint16).reshape(SIZE)
        Image.fromarray(values).save(folder / f"{index}.{('png', 'tif')[index % 3 == 0]}")
    flat = np.linspace(0, 255, 64).astype(np.uint8).reshape(SIZE)
    Image.fromarray(flat).save(tmp_path / "images" / "a" / "eight.jpeg", quality=100)
    return tmp_path / "images"


def build(images, shards, **flags) -> builder.BuildResult:
    return builder.run(BuildConfig(**{**FLAGS, **flags}), images, shards)


def contents(directory) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in directory.iterdir()}


def pixels_of(directory) -> dict[str, np.ndarray]:
    import tensorflow as tf
    from numbered_shards import read_records

    found = {}
    manifest = tfrecords.read_manifest(directory)
    for info in manifest.splits.values():
        for shard in info.shards:
            records = tf.constant(read_records(directory / shard.file))
            batch = tfrecords.parse_batch(records, manifest)
            for path, image in zip(batch["path"].numpy(), batch["image"].numpy(), strict=True):
                found[path.decode()] = image
    return found


def test_12_bit_data_keeps_its_levels_and_is_said(images, tmp_path):
    result = build(images, tmp_path / "shards")
    assert tfrecords.read_manifest(tmp_path / "shards").bits == 12
    assert any("largest value 4,095: read as 12-bit" in note for note in result.notes)
    assert not any("grey levels" in one or "clipped" in one for one in result.manifest.warnings)
    found = pixels_of(tmp_path / "shards")
    assert len(found) == 33
    for path, pixels in found.items():
        alone = decoding.decode_file(images / path, FORMAT)
        np.testing.assert_array_equal(pixels, alone)
        assert len(np.unique(pixels)) > 50


@pytest.mark.parametrize(("workers", "size"), [(2, 0), (2, 10**9), (3, 0)])
def test_the_same_bytes_for_any_number_of_workers(images, tmp_path, monkeypatch, workers, size):
    build(images, tmp_path / "one")
    monkeypatch.setattr(builder.ordered_pool, "LARGE_FILE_BYTES", size)  # threads, or processes
    build(images, tmp_path / "many", workers=workers)
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


def test_one_image_over_the_range_decides_for_all_and_is_said(images, tmp_path):
    Image.fromarray(np.full(SIZE, 65535, np.uint16)).save(images / "a" / "white.png")
    manifest = build(images, tmp_path / "shards").manifest
    assert manifest.bits == 16
    warning = next(one for one in manifest.warnings if "grey levels" in one)
    assert warning.startswith("33 images with less than an eighth of the grey levels in use")


def test_a_range_that_was_asked_for_is_taken_and_what_exceeds_it_is_said(images, tmp_path):
    Image.fromarray(np.full(SIZE, 4096, np.uint16)).save(images / "a" / "white.png")
    manifest = build(images, tmp_path / "shards", bits="12").manifest
    assert manifest.bits == 12
    assert (
        "1 image with values above 4,095, clipped to white: read as 12-bit (a/white.png)"
        in manifest.warnings
    )


def test_without_deep_files_nothing_is_said(images, tmp_path):
    for path in [*images.rglob("*.png"), *images.rglob("*.tif")]:
        Image.open(path).convert("F").point(lambda v: v / 16).convert("L").save(path)
    result = build(images, tmp_path / "shards")
    assert result.manifest.bits == 16
    assert not any("bit" in note for note in result.notes)


def test_a_changed_range_is_named(images, tmp_path):
    build(images, tmp_path / "shards")
    with pytest.raises(UserError, match="--bits auto, now 16"):
        build(images, tmp_path / "shards", bits=16)
    (tmp_path / "shards" / tfrecords.MANIFEST).unlink()
    with pytest.raises(UserError, match="unfinished build that differs: --bits auto, now 16"):
        build(images, tmp_path / "shards", bits="16")


def test_a_build_that_goes_on_keeps_range_and_warnings(images, tmp_path):
    Image.fromarray(np.full(SIZE, 65535, np.uint16)).save(images / "a" / "white.png")
    build(images, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    (tmp_path / "again" / tfrecords.MANIFEST).unlink()
    next((tmp_path / "again").glob("train-00000-*")).unlink()
    assert 0 < build(images, tmp_path / "again").num_decoded < 10
    assert contents(tmp_path / "again") == contents(tmp_path / "whole")
