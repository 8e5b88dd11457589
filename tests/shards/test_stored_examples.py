"""Records read one by one are those that TensorFlow reads, and damaged ones are refused."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from engine.base.build_settings import BuildConfig
from engine.shards import builder, record_scan, stored_examples, tfrecords
from engine.shards.tfrecords import DamagedShardError

NAMES = ("person1_virus_1.png", "ünï 心.png", "plain.png")


@pytest.fixture(scope="module", params=["raw", "png", "jpeg"])
def built(request, tmp_path_factory):
    """Shards of six images, and the scanned shard of train."""
    root = tmp_path_factory.mktemp(request.param)
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        for file in NAMES:
            path = root / "images/train" / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.kron(random.integers(0, 256, (3, 4, 3)), np.ones((4, 4, 1)))
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    config = BuildConfig(
        image_size=(12, 16),
        channels=3,
        encoding=request.param,
        validation_fraction=0.0,
        workers=1,
    )
    builder.build(config, root / "images", root / "shards")
    manifest = tfrecords.read_manifest(root / "shards")
    (shard,) = record_scan.scan_split(root / "shards", manifest, "train")
    return manifest, shard


def test_whole_records_come_in_any_order(built):
    manifest, shard = built
    found = stored_examples.read_examples(shard, range(6), manifest)
    assert [one.path for one in found] == record_scan.paths_of([shard])
    assert {one.path.rpartition("/")[2] for one in found} == set(NAMES)
    assert [manifest.class_names[one.label] for one in found] == [
        one.path.split("/")[1] for one in found
    ]
    for one in found:
        assert one.patient == ("person1" if "person1_" in one.path else "")
        assert one.image.shape == (12, 16, 3) and one.image.dtype == np.uint8
    (last,) = stored_examples.read_examples(shard, range(5, 6), manifest)
    assert last.path == found[5].path and np.array_equal(last.image, found[5].image)


def test_images_are_those_that_tensorflow_reads(built):
    import tensorflow as tf

    manifest, shard = built
    records = list(tf.data.TFRecordDataset(str(shard.path)).as_numpy_iterator())
    parsed = tfrecords.parse_batch(tf.constant(records), manifest)
    found = stored_examples.read_examples(shard, range(6), manifest)
    assert np.array_equal(parsed["image"].numpy(), np.stack([one.image for one in found]))


def test_a_changed_byte_is_noticed(built, tmp_path):
    manifest, shard = built
    data = bytearray(shard.path.read_bytes())
    data[int(shard.starts[2]) + 100] ^= 1
    (tmp_path / "changed.tfrecord").write_bytes(data)
    changed = dataclasses.replace(shard, path=tmp_path / "changed.tfrecord")
    assert len(stored_examples.read_examples(changed, range(2), manifest)) == 2
    with pytest.raises(DamagedShardError, match=r"changed\.tfrecord: the record at byte"):
        stored_examples.read_examples(changed, range(2, 3), manifest)
    (tmp_path / "changed.tfrecord").unlink()
    with pytest.raises(DamagedShardError, match="cannot be read"):
        stored_examples.read_examples(changed, range(1), manifest)
