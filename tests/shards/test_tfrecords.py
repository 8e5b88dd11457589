"""Records, shards, the manifest and TFDS metadata, checked against TensorFlow's own."""

import json

import numpy as np
import pytest

from engine.base import files
from engine.base.config import UserError
from engine.images import decoding
from engine.shards import tfrecords
from engine.shards.tfrecords import DamagedShardError, Manifest, SplitInfo

SHAPE = (12, 8, 1)


def images(count: int, shape=SHAPE) -> np.ndarray:
    """uint8[count, H, W, C], smooth so that JPEG hardly changes it."""
    ramp = np.linspace(0, 60, shape[0])[:, None, None] * np.ones(shape)
    return np.stack([ramp + 20 * index for index in range(count)]).astype(np.uint8)


def write(directory, split="train", count=6, encoding="raw", shape=SHAPE) -> Manifest:
    """A shards directory with one shard of `count` images."""
    name = tfrecords.shard_name(split, 0, 1)
    with (
        files.written_aside(directory / name) as aside,
        tfrecords.ShardWriter(aside, name=name) as writer,
    ):
        for index, pixels in enumerate(images(count, shape)):
            record = tfrecords.serialize_example(
                image=decoding.encode(pixels, encoding, jpeg_quality=98),
                label=index % 2,
                path=f"train/x/é {index}.png",
                patient=f"p{index // 2}" if index else "",
            )
            writer.write(tfrecords.frame_record(record))
    info = SplitInfo(
        num_examples=count,
        class_counts={"a": -(-count // 2), "b": count // 2},
        shards=(writer.info(),),
    )
    manifest = Manifest(
        class_names=("a", "b"),
        image_size=shape[:2],
        channels=shape[2],
        encoding=encoding,
        keep_aspect_ratio=False,
        resize_method=decoding.RESIZE_METHOD,
        group_by="patient",
        seed=0,
        source={"name": "x", "num_files": count, "fingerprint": "0" * 64},
        splits={split: info},
    )
    tfrecords.write_tfds_metadata(directory, manifest)
    tfrecords.write_manifest(directory, manifest)
    return manifest


def shard(directory):
    return directory / "train-00000-of-00001.tfrecord"


def test_records_are_what_tensorflow_would_write(tmp_path):
    import tensorflow as tf

    def feature(value):
        if isinstance(value, int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    for label in (0, 1, 300):
        values = {"image": bytes(1000), "label": label, "path": "é".encode(), "patient": b""}
        example = tf.train.Example(
            features=tf.train.Features(feature={k: feature(v) for k, v in values.items()})
        )
        expected = example.SerializeToString(deterministic=True)
        record = tfrecords.serialize_example(image=bytes(1000), label=label, path="é", patient="")
        assert record == expected
        theirs = tmp_path / f"{label}.tfrecord"
        with tf.io.TFRecordWriter(str(theirs)) as writer:
            writer.write(expected)
        assert theirs.read_bytes() == tfrecords.frame_record(record)


@pytest.mark.parametrize("encoding", ["raw", "png", "jpeg"])
@pytest.mark.parametrize("channels", [1, 3])
def test_parse_batch_gives_back_what_was_written(tmp_path, encoding, channels):
    import tensorflow as tf

    shape = (12, 8, channels)
    manifest = write(tmp_path, encoding=encoding, shape=shape)
    dataset = tf.data.TFRecordDataset(str(shard(tmp_path))).batch(4)
    dataset = dataset.map(lambda records: tfrecords.parse_batch(records, manifest))
    assert dataset.element_spec["image"].shape.as_list() == [None, *shape]
    batches = list(dataset.as_numpy_iterator())
    pixels = np.concatenate([batch["image"] for batch in batches])
    assert pixels.dtype == np.uint8
    tolerance = 3 if encoding == "jpeg" else 0
    assert np.abs(pixels.astype(int) - images(6, shape)).max() <= tolerance
    assert np.concatenate([batch["label"] for batch in batches]).tolist() == [0, 1] * 3
    assert batches[0]["path"][3].decode() == "train/x/é 3.png"
    assert batches[1]["patient"].tolist() == [b"p2", b"p2"]
    assert batches[0]["patient"][0] == b""


def test_parse_batch_of_some_features(tmp_path):
    import tensorflow as tf
    from numbered_shards import read_records

    manifest = write(tmp_path)
    records = tf.constant(read_records(shard(tmp_path)))
    assert set(tfrecords.parse_batch(records, manifest, features=("label",))) == {"label"}
    with pytest.raises(ValueError, match="nonsense"):
        tfrecords.parse_batch(records, manifest, features=("nonsense",))


@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_tfds_reads_the_shards(tmp_path, encoding):
    import tensorflow_datasets as tfds

    write(tmp_path, encoding=encoding)
    builder = tfds.builder_from_directory(str(tmp_path))
    examples = list(builder.as_dataset(split="train").as_numpy_iterator())
    np.testing.assert_array_equal(np.stack([one["image"] for one in examples]), images(6))
    assert [one["label"] for one in examples] == [0, 1] * 3
    assert builder.info.features["label"].names == ["a", "b"]
    assert builder.info.splits["train"].num_examples == 6
    image, label = next(iter(builder.as_dataset(split="train[1:]", as_supervised=True)))
    assert (image.shape, int(label)) == (SHAPE, 1)


@pytest.mark.parametrize("encoding", ["raw", "png", "jpeg"])
def test_tfds_metadata_is_what_tfds_would_write(tmp_path, encoding):
    import tensorflow_datasets as tfds

    manifest = write(tmp_path, encoding=encoding)
    ours = {name: (tmp_path / name).read_text() for name in tfrecords.TFDS_FILES}
    image = (
        tfds.features.Tensor(shape=SHAPE, dtype=np.uint8, encoding="bytes")
        if encoding == "raw"
        else tfds.features.Image(shape=SHAPE, encoding_format=encoding)
    )
    template = "{SPLIT}-{SHARD_X_OF_Y}.{FILEFORMAT}"
    tfds.folder_dataset.write_metadata(
        data_dir=str(tmp_path),
        features={
            "image": image,
            "label": tfds.features.ClassLabel(names=manifest.class_names),
            "path": tfds.features.Text(),
            "patient": tfds.features.Text(),
        },
        split_infos=[
            tfds.core.SplitInfo(
                name="train",
                shard_lengths=[6],
                num_bytes=manifest.splits["train"].shards[0].bytes,
                filename_template=tfds.core.ShardedFileTemplate(
                    template=template, data_dir=tmp_path, filetype_suffix="tfrecord", split="train"
                ),
            )
        ],
        supervised_keys=("image", "label"),
        filename_template=template,
        check_data=False,
    )
    for name in ("features.json", "dataset_info.json"):
        assert json.loads(ours[name]) == json.loads((tmp_path / name).read_text()), name
    assert ours["label.labels.txt"].split() == (tmp_path / "label.labels.txt").read_text().split()


def test_manifest_round_trip(tmp_path):
    manifest = write(tmp_path)
    assert tfrecords.read_manifest(tmp_path) == manifest
    assert manifest.fingerprint == "0" * 64
    assert manifest.image_shape == SHAPE


def test_wrong_directories_are_told_apart(tmp_path):
    with pytest.raises(UserError, match="no such directory"):
        tfrecords.read_manifest(tmp_path / "absent")
    with pytest.raises(UserError, match=r"holds no manifest\.json"):
        tfrecords.read_manifest(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        tfrecords.read_manifest(tmp_path / "file")
    (tmp_path / tfrecords.BUILD_STATE).touch()
    with pytest.raises(UserError, match="did not finish"):
        tfrecords.read_manifest(tmp_path)


def test_missing_and_short_shards_are_named(tmp_path):
    write(tmp_path)
    with open(shard(tmp_path), "ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match="train-00000"):
        tfrecords.read_manifest(tmp_path)
    shard(tmp_path).unlink()
    with pytest.raises(UserError, match="missing"):
        tfrecords.read_manifest(tmp_path)


def test_verify_finds_every_kind_of_damage(tmp_path):
    manifest = write(tmp_path)
    (info,) = manifest.splits["train"].shards
    tfrecords.verify_shard(tmp_path, info)
    whole = shard(tmp_path).read_bytes()
    record = len(whole) // 6
    swapped = whole[record : 2 * record] + whole[:record] + whole[2 * record :]
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (bytes(flipped), whole[:-record], whole[:-3], b"", swapped):
        shard(tmp_path).write_bytes(damaged)
        with pytest.raises(DamagedShardError, match="train-00000"):
            tfrecords.verify_shard(tmp_path, info)
    with pytest.raises(DamagedShardError, match="missing"):
        shard(tmp_path).unlink()
        tfrecords.verify_shard(tmp_path, info)


def test_verify_names_a_damaged_record(tmp_path):
    (info,) = write(tmp_path).splits["train"].shards
    damaged = bytearray(shard(tmp_path).read_bytes())
    damaged[-1] ^= 1
    shard(tmp_path).write_bytes(damaged)
    with pytest.raises(DamagedShardError, match="record 5 is damaged"):
        tfrecords.verify_shard(tmp_path, info)
