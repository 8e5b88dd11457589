"""Shards without an image folder: what an example shows and is labelled follows from its number."""

import numpy as np
import tensorflow as tf

from engine.base import files
from engine.shards import tfrecords

SIZE = (8, 6)


def numbered_image(number):
    """A flat image whose grey level is the number."""
    return np.full((*SIZE, 1), number % 256, np.uint8)


def striped_image(number):
    """A noisy image of 16 x 16 whose label a small network can see: stripes along or across."""
    rng = np.random.default_rng(number)
    image = rng.integers(40, 160, (16, 16, 1)).astype(np.uint8)
    if number % 3 > 0:
        image[::4] += 90
    else:
        image[:, ::4] += 90
    return image


def write_shards(directory, counts, *, num_shards=3, encoding="raw", draw=numbered_image):
    """Shards whose example number i shows `draw(i)`, its label being i mod 3 > 0."""
    directory.mkdir(parents=True, exist_ok=True)
    splits = {}
    for split, count in counts.items():
        numbers = np.arange(count)
        infos = []
        for index, part in enumerate(np.array_split(numbers, num_shards)):
            name = tfrecords.shard_name(split, index, num_shards)
            with (
                files.written_aside(directory / name) as aside,
                tfrecords.ShardWriter(aside, name=name) as writer,
            ):
                for number in part:
                    writer.write(tfrecords.frame_record(example(int(number), encoding, draw)))
            infos.append(writer.info())
        positives = int((numbers % 3 > 0).sum())
        splits[split] = tfrecords.SplitInfo(
            num_examples=count,
            class_counts={"ill": positives, "well": count - positives},
            shards=tuple(infos),
        )
    manifest = tfrecords.Manifest(
        class_names=("well", "ill"),
        image_size=draw(0).shape[:2],
        channels=1,
        encoding=encoding,
        keep_aspect_ratio=False,
        resize_method="none",
        group_by="none",
        seed=0,
        source={"name": "numbers", "num_files": 0, "fingerprint": "f"},
        splits=splits,
    )
    tfrecords.write_manifest(directory, manifest)
    return manifest


def read_records(path):
    """The records of a shard, by TensorFlow's own reader."""
    return list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())


def example(number, encoding, draw):
    image = draw(number)
    content = image.tobytes() if encoding == "raw" else tf.io.encode_png(image).numpy()
    return tfrecords.serialize_example(
        image=content, label=int(number % 3 > 0), path=f"{number}.png", patient=str(number // 2)
    )
