"""Shards are held against their manifest whenever a split is opened, by whatever reads it."""

import dataclasses
import shutil
import struct

import numpy as np
import pytest
from numbered_shards import numbered_image, read_records, write_shards

from engine.base.config import UserError
from engine.pipeline import datasets
from engine.pipeline.reading import StoredSplit
from engine.shards import manifest, record_scan, tfrecords
from engine.shards.tfrecords import DamagedShardError

COUNTS = {"train": 40, "validation": 11}


def evaluation_dataset(shards, found):
    return StoredSplit(shards, "train").dataset()


def train_dataset(cache):
    def read(shards, found):
        options = {"global_batch_size": 8, "cache": cache}
        return next(iter(datasets.training(shards, **options)))

    return read


READERS = {
    "memory tier": train_dataset("memory"),
    "streaming tier": train_dataset("streaming"),
    "evaluation": evaluation_dataset,
    "whole split": lambda shards, found: StoredSplit(shards, "train", found).load(),
    "preview": lambda shards, found: StoredSplit(shards, "train", found).first_images(2),
    "index": lambda shards, found: StoredSplit(shards, "train", found).index(),
    "data service": lambda shards, found: StoredSplit(shards, "train", found).places,
}


def first_shard(shards):
    return shards / tfrecords.shard_name("train", 0, 3)


@pytest.fixture(params=READERS)
def read(request):
    return READERS[request.param]


def test_shards_of_another_build_of_equal_sizes_are_refused(tmp_path, read):
    found = write_shards(tmp_path / "one", COUNTS)
    write_shards(tmp_path / "other", COUNTS, draw=lambda number: numbered_image(number + 1))
    read(tmp_path / "one", found)
    # An interrupted copy of one directory over the other.
    shutil.copy(first_shard(tmp_path / "other"), first_shard(tmp_path / "one"))
    manifest.read_manifest(tmp_path / "one")  # the sizes tell nothing
    with pytest.raises(UserError, match=f"{first_shard(tmp_path).name}.*another build"):
        read(tmp_path / "one", found)


def test_encoded_shards_of_another_build_are_refused(tmp_path):
    found = write_shards(tmp_path, COUNTS, encoding="png")
    write_shards(tmp_path, COUNTS, encoding="png", draw=lambda number: numbered_image(number + 1))
    with pytest.raises(DamagedShardError, match="another build"):
        record_scan.scan_split(tmp_path, found, "train")


def rewritten(path, change):
    """Replaces the records of a shard by `change` of them, and gives what is known of the file."""
    records = change(read_records(path))
    with tfrecords.ShardWriter(path, name=path.name) as writer:
        for record in records:
            writer.write(tfrecords.frame_record(record))
    return writer.info()


def with_first_shard(found, info):
    """The manifest with another first shard of `train`, its checksum and counts right."""
    train = found.splits["train"]
    changed = dataclasses.replace(train, shards=(info, *train.shards[1:]))
    return dataclasses.replace(found, splits={**found.splits, "train": changed})


def relabelled(before, after):
    """Records with one label in place of another."""
    entries = tfrecords.label_entry(before), tfrecords.label_entry(after)
    return lambda records: [record.replace(*entries) for record in records]


def test_labels_are_counted_against_a_manifest_of_swapped_classes(tmp_path, read):
    found = write_shards(tmp_path, COUNTS)
    swapped = dataclasses.replace(found, class_names=found.class_names[::-1])
    manifest.write_manifest(tmp_path, swapped)
    with pytest.raises(UserError, match=r"'well': .*the manifest says"):
        read(tmp_path, swapped)


def test_labels_are_counted_against_those_of_the_records(tmp_path):
    found = write_shards(tmp_path, COUNTS)
    info = rewritten(first_shard(tmp_path), relabelled(0, 1))
    with pytest.raises(DamagedShardError, match=r"'well': .*the manifest says"):
        record_scan.scan_split(tmp_path, with_first_shard(found, info), "train")


def test_labels_out_of_range_are_refused(tmp_path):
    found = write_shards(tmp_path, COUNTS)
    info = rewritten(first_shard(tmp_path), relabelled(1, 2))
    with pytest.raises(DamagedShardError, match="no known label"):
        record_scan.scan_split(tmp_path, with_first_shard(found, info), "train")


def test_raw_images_of_another_size_are_refused(tmp_path):
    found = write_shards(tmp_path, COUNTS)
    with pytest.raises(DamagedShardError, match="an image of 48 bytes"):
        record_scan.scan_split(
            tmp_path, dataclasses.replace(found, image_size=(8, 7)), split="train"
        )


@pytest.mark.parametrize("length", [2**60, 2**63 + 5, 2**64 - 16, 10**6])
def test_a_length_beyond_the_file_is_refused_before_it_is_allocated(tmp_path, read, length):
    """TensorFlow's own reader ends the process on the first, whose CRC is right."""
    found = write_shards(tmp_path, COUNTS)
    content = bytearray(first_shard(tmp_path).read_bytes())
    header = struct.pack("<Q", length)
    content[:12] = header + tfrecords.masked_crc(header)
    first_shard(tmp_path).write_bytes(content)
    for refuses in (
        lambda: read(tmp_path, found),
        lambda: tfrecords.verify_shard(tmp_path, found.splits["train"].shards[0]),
    ):
        with pytest.raises(UserError, match=first_shard(tmp_path).name):
            refuses()


def test_paths_are_read_without_images(tmp_path):
    found = write_shards(tmp_path, COUNTS)
    stored = StoredSplit(tmp_path, "train", found)
    paths = [tfrecords.decoded_text(path) for path in stored.load(("path",))["path"]]
    assert record_scan.paths_of(record_scan.scan_split(tmp_path, found, "train")) == paths


def test_a_missing_shard_is_named(tmp_path):
    found = write_shards(tmp_path, COUNTS)
    first_shard(tmp_path).unlink()
    with pytest.raises(DamagedShardError, match=f"{first_shard(tmp_path).name}: cannot be read"):
        record_scan.scan_split(tmp_path, found, "train")


@pytest.mark.parametrize("num_classes", [2, 300])
@pytest.mark.parametrize("image_bytes", [0, 12, 100, 20_000, 300_000])
def test_records_of_any_size_and_label_are_found(tmp_path, num_classes, image_bytes):
    labels = [0, 1, num_classes - 1, 1]
    name = tfrecords.shard_name("train", 0, 1)
    with tfrecords.ShardWriter(tmp_path / name, name=name) as writer:
        for number, label in enumerate(labels):
            record = tfrecords.serialize_example(
                image=bytes([number]) * image_bytes, label=label, path="é" * number, patient="p"
            )
            writer.write(tfrecords.frame_record(record))
    found = record_scan.scan_shard(
        tmp_path, writer.info(), num_classes=num_classes, image_bytes=image_bytes
    )
    assert found.labels.tolist() == labels
    content = (tmp_path / name).read_bytes()
    for number, at in enumerate(found.starts + found.before):
        assert content[at : at + image_bytes] == bytes([number]) * image_bytes
    ends = found.starts + found.before + image_bytes + found.behind
    np.testing.assert_array_equal(ends, [*(found.starts[1:] - 12), len(content)])


@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_a_damaged_record_is_named_with_its_shard_when_a_split_is_loaded(tmp_path, encoding):
    found = write_shards(tmp_path, COUNTS, encoding=encoding)
    content = bytearray(first_shard(tmp_path).read_bytes())
    content[12 + 60] ^= 1  # inside the first image, which opening a split does not read
    first_shard(tmp_path).write_bytes(content)
    with pytest.raises(DamagedShardError, match=f"{first_shard(tmp_path).name}.*--repair"):
        StoredSplit(tmp_path, "train", found).load()
    assert first_shard(tmp_path).name in record_scan.find_damage(tmp_path, found, "train")
    assert record_scan.find_damage(tmp_path, found, "validation") is None
