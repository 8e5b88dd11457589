import numpy as np
import pytest
from numbered_shards import write_shards

from engine.base import files
from engine.base.config import UserError
from engine.pipeline import reading
from engine.pipeline.reading import StoredSplit
from engine.shards.tfrecords import DamagedShardError


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    directory = tmp_path_factory.mktemp("numbered")
    write_shards(directory, {"train": 150, "validation": 37})
    return directory


@pytest.mark.parametrize("batch_size", [1, 10, 37, 64])
def test_evaluation_sees_every_example_once_in_order(numbered, batch_size):
    features = ("image", "label", "path", "patient")
    dataset = StoredSplit(numbered, "validation").dataset(batch_size, features)
    batches = list(dataset.as_numpy_iterator())
    assert len(batches) == len(dataset)
    numbers = np.concatenate([batch["image"][:, 0, 0, 0] for batch in batches])
    np.testing.assert_array_equal(numbers, np.arange(37))
    paths = np.concatenate([batch["path"] for batch in batches])
    assert [path.decode() for path in paths] == [f"{n}.png" for n in range(37)]


def test_a_shard_cut_at_a_record_boundary_is_noticed(tmp_path):
    manifest = write_shards(tmp_path, {"train": 30})
    with files.written_aside(tmp_path / manifest.splits["train"].shards[1].file) as aside:
        aside.write_bytes(b"")
    with pytest.raises(UserError):
        StoredSplit(tmp_path, "train", manifest).load()


@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_labels_and_paths_are_those_that_loading_everything_gives(tmp_path, encoding):
    write_shards(tmp_path, {"train": 40}, encoding=encoding)
    split = StoredSplit(tmp_path, "train")
    stored = split.load(("label", "path"))
    np.testing.assert_array_equal(split.labels, stored["label"])
    order = np.random.default_rng(0).permutation(40)
    assert split.paths(order) == [stored["path"][index].decode() for index in order]


def test_a_split_is_scanned_once_whatever_is_read_of_it(numbered, monkeypatch):
    scans, scan = [], reading.scan_split
    monkeypatch.setattr(reading, "scan_split", lambda *given: scans.append(given) or scan(*given))
    split = StoredSplit(numbered, "train")
    assert len(split.labels) == len(split.images) == len(split.index()) == len(split.places.starts)
    assert split.first_images(4).shape[0] == len(split.paths(np.arange(4))) == 4
    assert len(scans) == 1


def test_a_damaged_record_is_named_when_its_path_is_read(tmp_path):
    write_shards(tmp_path, {"train": 30})
    split = StoredSplit(tmp_path, "train")
    assert split.paths(np.array([0])) == ["0.png"]
    shard = sorted(tmp_path.glob("train*.tfrecord"))[0]
    content = bytearray(shard.read_bytes())
    content[content.index(bytes([2]) * 48) + 4] ^= 1
    shard.write_bytes(content)
    assert split.paths(np.array([1, 3])) == ["1.png", "3.png"]
    with pytest.raises(DamagedShardError, match=rf"{shard.name}.*--repair"):
        split.paths(np.array([1, 2]))
