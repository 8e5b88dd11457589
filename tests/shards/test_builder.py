"""Building: the same bytes for any number of workers, and nothing bad in a shard."""

import csv
import dataclasses
import io
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_builds import SIZE, build, contents, save

from engine import build_tfrecords
from engine.base.build_settings import BuildConfig
from engine.base.config import UserError
from engine.images import decoding, image_folder, split_plan
from engine.images.format import ImageFormat
from engine.shards import shard_writing, tfrecords


def examples(directory: Path) -> dict[str, tuple[str, int, str, np.ndarray]]:
    """path -> (split, label, patient, pixels) of every record, by way of TensorFlow."""
    import tensorflow as tf
    from numbered_shards import read_records

    manifest = tfrecords.read_manifest(directory)
    found = {}
    for split, info in manifest.splits.items():
        for shard in info.shards:
            records = tf.constant(read_records(directory / shard.file))
            batch = {
                name: value.numpy()
                for name, value in tfrecords.parse_batch(records, manifest).items()
            }
            for image, label, path, patient in zip(*batch.values(), strict=True):
                found[path.decode()] = (split, int(label), patient.decode(), image)
    return found


# ---------------------------------------------------------------------------- what is built


def test_every_image_equals_the_file_decoded_on_its_own(source, undisturbed):
    found = examples(undisturbed)
    assert len(found) == 120
    for path, (_, label, patient, pixels) in found.items():
        alone = decoding.decode_file(source / path, ImageFormat(image_size=SIZE, channels=1))
        np.testing.assert_array_equal(pixels, alone)
        assert label == (path.startswith("PNEUMONIA"))
        assert patient == re.match(r".*/(IM-\d+|person\d+)", path)[1]


def test_no_patient_stands_in_two_splits(undisturbed):
    splits: dict[str, set] = {}
    for split, _, patient, _ in examples(undisturbed).values():
        splits.setdefault(patient, set()).add(split)
    assert {len(one) for one in splits.values()} == {1}
    assert set.union(*splits.values()) == {"train", "validation", "test"}


def test_manifest_counts_what_is_there(undisturbed):
    manifest = tfrecords.read_manifest(undisturbed)
    assert manifest.class_names == ("NORMAL", "PNEUMONIA")
    assert manifest.num_examples == 120
    assert manifest.rejected == 2
    assert len(manifest.splits["train"].shards) > 2
    for info in manifest.splits.values():
        assert sum(info.class_counts.values()) == info.num_examples
        sizes = [shard.num_examples for shard in info.shards]
        assert sum(sizes) == info.num_examples
        for shard in info.shards:
            tfrecords.verify_shard(undisturbed, shard)


def test_bad_files_are_named_with_their_reasons(undisturbed):
    with open(undisturbed / tfrecords.REJECTED, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [
        "NORMAL/IM-9000-1.jpeg",
        "PNEUMONIA/person9000_virus_1.jpeg",
    ]
    assert "text" in rows[0]["reason"] and "truncated" in rows[1]["reason"]


@pytest.mark.parametrize("workers", [2, 3])
def test_the_same_bytes_for_any_number_of_workers(source, undisturbed, tmp_path, workers):
    build(source, tmp_path / "shards", workers=workers)
    assert contents(tmp_path / "shards") == contents(undisturbed)


def test_the_same_bytes_for_images_elsewhere(source, undisturbed, tmp_path):
    shutil.copytree(source, tmp_path / "images")
    build(tmp_path / "images", tmp_path / "shards")
    assert contents(tmp_path / "shards") == contents(undisturbed)


@pytest.mark.parametrize("flags", [{"encoding": "png"}, {"channels": 3, "keep_aspect_ratio": True}])
def test_other_formats_hold_the_same_pixels(source, tmp_path, flags):
    build(source, tmp_path / "shards", **flags)
    options = {name: value for name, value in flags.items() if name != "encoding"}
    image_format = ImageFormat(**{"image_size": SIZE, "channels": 1, **options})
    for path, (*_, pixels) in list(examples(tmp_path / "shards").items())[::20]:
        alone = decoding.decode_file(source / path, image_format)
        np.testing.assert_array_equal(pixels, alone)


def test_tfds_reads_a_build(undisturbed):
    import tensorflow_datasets as tfds

    manifest = tfrecords.read_manifest(undisturbed)
    dataset_builder = tfds.builder_from_directory(str(undisturbed))
    for split, info in manifest.splits.items():
        read = list(dataset_builder.as_dataset(split=split).as_numpy_iterator())
        assert len(read) == info.num_examples
        assert read[0]["image"].shape == (*SIZE, 1)


def test_many_classes_and_nested_test_only(tmp_path):
    for name in "abcde":
        save(tmp_path / "images" / "TEST" / name / "deep" / "1.png", 0, "PNG")
    manifest = build(
        tmp_path / "images",
        tmp_path / "shards",
        validation_fraction=None,
        test_fraction=None,
        group_by="none",
    ).manifest
    assert manifest.class_names == tuple("abcde")
    assert set(manifest.splits) == {"test"}


def test_dropped_leaks_are_listed(tmp_path):
    images = tmp_path / "images"
    for index in range(4):
        save(images / "train" / "a" / f"IM-{index}-1.jpeg", index)
        save(images / "train" / "b" / f"person{index}_virus_1.jpeg", 10 + index)
    save(images / "test" / "a" / "IM-2-9.jpeg", 20)
    save(images / "test" / "b" / "person99_virus_1.jpeg", 21)
    flags = {"validation_fraction": 0, "test_fraction": None, "on_leak": "drop"}
    manifest = build(images, tmp_path / "shards", **flags).manifest
    assert manifest.rejected == 1
    assert "train/a/IM-2-1.jpeg" in (tmp_path / "shards" / tfrecords.REJECTED).read_text()
    assert manifest.splits["train"].num_examples == 7


# ---------------------------------------------------------------------------- bad input


def test_on_error_fail_stops_at_a_bad_file(source, tmp_path):
    with pytest.raises(UserError, match=r"(IM-9000|person9000).*--on-error skip"):
        build(source, tmp_path / "shards", on_error="fail")


def test_a_class_without_a_usable_image_is_an_error(tmp_path):
    for index in range(4):
        save(tmp_path / "images" / "a" / f"{index}.png", index, "PNG")
    (tmp_path / "images" / "b").mkdir()
    (tmp_path / "images" / "b" / "1.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"'b' has no usable image.*b/1\.png: empty"):
        build(tmp_path / "images", tmp_path / "shards", group_by="none")
    assert not (tmp_path / "shards" / tfrecords.MANIFEST).exists()


def test_directories_that_are_not_ours_are_left_alone(source, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    for flags in ({}, {"overwrite": True}):
        with pytest.raises(UserError, match=r"thesis\.tex"):
            build(source, tmp_path / "mine", **flags)
    with pytest.raises(UserError, match="is a file"):
        build(source, tmp_path / "mine" / "thesis.tex")
    with pytest.raises(UserError, match="inside the image folder"):
        build(source, source / "shards")


# ---------------------------------------------------------------------------- building again


def test_a_finished_build_is_left_alone(source, undisturbed, monkeypatch):
    monkeypatch.setattr(tfrecords, "ShardWriter", None)
    result = build(source, undisturbed)
    assert result.num_decoded == 0
    assert result.manifest == tfrecords.read_manifest(undisturbed)


def test_other_arguments_are_named(source, undisturbed):
    with pytest.raises(UserError) as caught:
        build(source, undisturbed, image_size=(8, 8), group_by="none")
    assert "--image-size 16x20, now 8x8" in str(caught.value)
    assert "--group-by patient, now none" in str(caught.value)
    assert "--seed" not in str(caught.value)


def test_a_changed_source_is_named(source, undisturbed, tmp_path):
    images, directory = tmp_path / "images", tmp_path / "shards"
    shutil.copytree(source, images)
    shutil.copytree(undisturbed, directory)
    save(images / "NORMAL" / "IM-0000-0.jpeg", 77)
    with pytest.raises(UserError, match="contents or names"):
        build(images, directory)
    save(images / "NORMAL" / "IM-7777-0.jpeg", 78)
    with pytest.raises(UserError, match="122 files, now 123"):
        build(images, directory)


def test_overwrite_starts_anew_and_spares_other_files(source, undisturbed, tmp_path):
    directory = tmp_path / "shards"
    build(source, directory, shard_size_mb=0.002, encoding="png")
    (directory / "notes.txt").write_text("mine")
    build(source, directory, overwrite=True)
    assert (directory / "notes.txt").read_text() == "mine"
    (directory / "notes.txt").unlink()
    assert contents(directory) == contents(undisturbed)


# ---------------------------------------------------------------------------- memory, processes


def test_files_are_read_a_bounded_number_ahead(source, tmp_path, monkeypatch):
    """At most a task's worth of images is decoded before the writer has taken those before."""
    written = read = ahead = 0
    decode, write = decoding.decode_file, tfrecords.ShardWriter.write

    def counting_decode(*args, **options):
        nonlocal read, ahead
        read += 1
        ahead = max(ahead, read - written)
        return decode(*args, **options)

    def counting_write(self, framed):
        nonlocal written
        written += 1
        write(self, framed)

    monkeypatch.setattr(decoding, "decode_file", counting_decode)
    monkeypatch.setattr(tfrecords.ShardWriter, "write", counting_write)
    build(source, tmp_path / "shards")
    assert ahead <= 16 + 2  # two files are never written


def test_plan_shards_cuts_evenly():
    many = tuple(image_folder.Example(str(i), "a", "train") for i in range(103))
    plan = split_plan.Plan({"train": many}, {}, {}, (), ())
    config = BuildConfig(image_size=(100, 100), shard_size_mb=0.2)
    plans = shard_writing.plan_shards(config, plan)
    assert [one.file for one in plans][:1] == [f"train-00000-of-{len(plans):05d}.tfrecord"]
    assert {len(one.examples) for one in plans} <= {17, 18, 19}
    assert sum((one.examples for one in plans), ()) == many


def test_rejected_csv_survives_odd_names(tmp_path):
    for index in range(3):
        save(tmp_path / "images" / "a" / f"{index}.png", index, "PNG")
        save(tmp_path / "images" / "b" / f"{index}.png", index + 9, "PNG")
    odd = os.fsdecode(b'b/q"uo,te \r\xff.png')
    (tmp_path / "images" / odd).write_bytes(b"")
    (tmp_path / "images" / "b" / "a\rb\nc.png").write_bytes(b"")
    (tmp_path / "images" / "b" / "kmsg.png").symlink_to("/proc/kmsg")
    os.mkfifo(tmp_path / "images" / "b" / "pipe.png")
    manifest = build(tmp_path / "images", tmp_path / "shards", group_by="none").manifest
    assert manifest.rejected == 4
    data = (tmp_path / "shards" / tfrecords.REJECTED).read_bytes()
    rows = list(csv.reader(io.StringIO(os.fsdecode(data), newline="")))
    assert rows[1:] == [
        ["b/a\rb\nc.png", "empty file"],
        ["b/kmsg.png", "empty file"],
        ["b/pipe.png", "is no regular file"],
        [odd, "empty file"],
    ]


def test_odd_names_end_no_build_and_take_one_line_of_its_warnings(tmp_path, monkeypatch):
    """In bytes that are not UTF-8, and with a line end: in every place where a build names a file."""
    images = tmp_path / os.fsdecode(b"im\xffages\n")
    for index in range(6):
        save(images / "train" / "a" / f"{index}.png", index, "PNG")
        save(images / "train" / "b" / f"{index}.png", index + 9, "PNG")
    odd = os.fsdecode(b"train/b/fl\xffat\n.png")
    Image.new("L", (40, 32), 7).save(images / odd)
    shutil.copy(images / odd, images / "train" / "a")
    (images / os.fsdecode(b"train/lo\xffose\n.png")).write_bytes(b"")
    (images / os.fsdecode(b"ot\xffher\n")).mkdir()
    scan = image_folder._files_below

    def refusing(folder, root, unreadable, warnings):
        unreadable[os.fsdecode(b"train/b/clo\xffsed\n")] = "folder cannot be read (denied)"
        return scan(folder, root, unreadable, warnings)

    monkeypatch.setattr(image_folder, "_files_below", refusing)
    result = build(images, tmp_path / "shards", group_by="patient")
    lines = build_tfrecords.summary(result, tmp_path / "shards")
    lines.encode()
    shown = "\n".join(result.manifest.warnings)
    assert len(shown.splitlines()) == len(result.manifest.warnings)
    for name in (
        r"grey levels in use (train/a/fl\xffat\n.png, train/b/fl\xffat\n.png)",
        r"(train/b/clo\xffsed\n)",
        r"(lo\xffose\n.png)",
        r"folder ot\xffher\n skipped",
        r"train/a/fl\xffat\n.png = train/b/fl\xffat\n.png",
    ):
        assert name in shown
    stored = tfrecords.read_manifest(tmp_path / "shards")
    assert stored.to_json() == result.manifest.to_json()
    assert stored.source["name"] == r"im\xffages\n"
    with pytest.raises(UserError, match=r"^[^\n]*train/b/e\\xffmpty\\n\.png: empty file"):
        (images / os.fsdecode(b"train/b/e\xffmpty\n.png")).write_bytes(b"")
        build(images, tmp_path / "other", group_by="none", on_error="fail")


def test_folders_that_cannot_be_searched_are_listed_as_rejected(source, tmp_path, monkeypatch):
    scan = image_folder.scan

    def refused(images):
        unreadable = {"NORMAL/closed": "folder cannot be read (Permission denied)"}
        return dataclasses.replace(scan(images), unreadable=unreadable)

    monkeypatch.setattr(image_folder, "scan", refused)
    assert build(source, tmp_path / "shards").manifest.rejected == 3
    rejected = (tmp_path / "shards" / tfrecords.REJECTED).read_text()
    assert "NORMAL/closed,folder cannot be read (Permission denied)" in rejected
