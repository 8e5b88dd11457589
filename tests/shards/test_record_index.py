import subprocess
import sys

import numpy as np
import pytest
from numbered_shards import write_shards

from engine.pipeline.reading import StoredSplit
from engine.shards import tfrecords
from engine.shards.tfrecords import DamagedShardError

SCRIPT = """
import sys
from engine.pipeline import datasets
batches = iter(datasets.training(sys.argv[1], global_batch_size=4, cache="streaming"))
next(batches)
print("read")
"""


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    directory = tmp_path_factory.mktemp("numbered")
    write_shards(directory, {"train": 60, "validation": 11})
    return directory


def index_of(shards, split="train", manifest=None):
    return StoredSplit(shards, split, manifest).index()


@pytest.mark.parametrize("split", ["train", "validation"])
def test_an_index_holds_what_parsing_finds(numbered, split):
    manifest = tfrecords.read_manifest(numbered)
    parsed = StoredSplit(numbered, split, manifest).load()
    index = index_of(numbered, split)
    assert len(index) == len(parsed["label"])
    np.testing.assert_array_equal(index.labels, parsed["label"])
    order = np.random.default_rng(0).permutation(len(index))
    np.testing.assert_array_equal(index.read(order), parsed["image"][order])
    np.testing.assert_array_equal(index.read(np.array([2, 2, 0])), parsed["image"][[2, 2, 0]])


def test_a_flipped_bit_is_noticed_when_its_image_is_read(tmp_path):
    write_shards(tmp_path, {"train": 20})
    index = index_of(tmp_path)
    whole = index.read(np.arange(20))
    shard = sorted(tmp_path.glob("train*.tfrecord"))[0]
    content = bytearray(shard.read_bytes())
    content[content.index(whole[3].tobytes()) + 5] ^= 4
    shard.write_bytes(content)
    index = index_of(tmp_path)
    np.testing.assert_array_equal(index.read(np.arange(3)), whole[:3])
    with pytest.raises(DamagedShardError, match="--repair"):
        index.read(np.array([0, 3]))


@pytest.mark.parametrize("change", ["cut", "cut at a record", "longer", "empty", "other bytes"])
def test_a_shard_that_is_not_what_the_manifest_says_is_refused(tmp_path, change):
    manifest = write_shards(tmp_path, {"train": 20})
    shard = sorted(tmp_path.glob("train*.tfrecord"))[-1]
    content = shard.read_bytes()
    first = int.from_bytes(content[:8], "little") + 16
    changed = {
        "cut": content[:-3],
        "cut at a record": content[:-first],
        "longer": content + content[:first],
        "empty": b"",
        "other bytes": bytes(reversed(content)),
    }
    shard.write_bytes(changed[change])
    with pytest.raises(DamagedShardError, match=shard.name):
        index_of(tmp_path, manifest=manifest)


def test_encoded_images_are_refused(tmp_path):
    write_shards(tmp_path, {"train": 4}, encoding="png")
    with pytest.raises(ValueError, match="raw"):
        index_of(tmp_path)


def test_the_interpreter_ends_while_a_dataset_still_reads_ahead(numbered):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(numbered)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    assert done.stdout == "read\n"
