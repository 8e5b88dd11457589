import itertools
import threading

import numpy as np
import pytest
import tensorflow as tf
from numbered_shards import numbered_image, write_shards

from engine.base.config import UserError
from engine.pipeline import service_input
from engine.pipeline.plan import InputPlan
from engine.pipeline.reading import StoredSplit
from engine.pipeline.service_input import BATCHES_AHEAD, InOrder
from engine.pipeline.training_input import TrainingInput
from engine.shards import record_scan, tfrecords


def batch(number):
    return np.full(2, number), np.full(2, -number)


def compute(number):
    """What stands in for reading here; its labels are told from those of `batch`."""
    return tf.fill([2], number), tf.fill([2], tf.constant(7, tf.int64))


def in_order(numbers, *, clock=None, patience_seconds=1e9):
    """A reader from a source that gives these numbers, then nothing more, and the lines it says."""
    lines, ended = [], threading.Event()

    def source(first):
        yield from ((number, batch(number)) for number in numbers if number >= first)
        ended.wait()

    options = {} if clock is None else {"clock": clock}
    reader = InOrder(
        source, compute, start=0, patience_seconds=patience_seconds, say=lines.append, **options
    )
    reader.wait_for_first("the source", 30)
    return reader, lines


@pytest.mark.parametrize("seed", range(3))
def test_batches_that_come_in_any_order_leave_in_order(seed):
    rng = np.random.default_rng(seed)
    blocks = [rng.permutation(8) + start for start in range(0, 40, 8)]
    reader, lines = in_order(np.concatenate(blocks).tolist())
    for number in range(40):
        for got, sent in zip(reader.take(number), batch(number), strict=True):
            np.testing.assert_array_equal(got, sent)
    assert not lines


def test_a_batch_that_was_lost_is_computed_here():
    reader, _ = in_order([n for n in range(BATCHES_AHEAD + 9) if n != 3])
    labels = [reader.take(number)[1][0] for number in range(6)]
    assert labels == [0, -1, -2, 7, -4, -5]


def test_when_nothing_comes_any_more_batches_are_computed_here_and_it_is_said_once():
    clock = itertools.count(0, 10)
    reader, lines = in_order([0, 1], clock=lambda: next(clock), patience_seconds=15)
    assert [int(reader.take(number)[0][0]) for number in range(6)] == [0, 1, 2, 3, 4, 5]
    assert len(lines) == 1
    assert "sent nothing for 15 s" in lines[0]


def test_a_source_that_gives_nothing_is_an_error_and_not_a_wait():
    reader = InOrder(lambda first: iter(()), compute, start=0)
    with pytest.raises(UserError, match=r"sent no batch within 0 s.*data_service worker"):
        reader.wait_for_first("tf.data service at here", 0.0)


def test_workers_without_the_shards_are_told_from_other_failures():
    def failing(first):
        raise tf.errors.NotFoundError(None, None, "/there/train.tfrecord; no such file")
        yield

    reader = InOrder(failing, compute, start=0)
    with pytest.raises(UserError, match=r"cannot read the shards .*/there/.* same absolute path"):
        reader.wait_for_first("tf.data service at here", 30)


def test_nobody_at_the_address_is_one_line():
    with pytest.raises(UserError, match="nothing listens at localhost:1 "):
        service_input.require_answer("localhost:1", 0.0)


@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_records_are_read_in_any_order_by_operations_alone(tmp_path, encoding):
    manifest = write_shards(tmp_path, {"train": 70}, encoding=encoding)
    read = service_input.make_reader(StoredSplit(tmp_path, "train", manifest).places, manifest)
    order = np.random.default_rng(0).permutation(70)[:32]
    images, labels = tf.function(read)(tf.constant(order))
    np.testing.assert_array_equal(images[:, 0, 0, 0], order)
    np.testing.assert_array_equal(labels, order % 3 > 0)


def damaged_service(tmp_path, monkeypatch, source):
    """A training input of damaged records, through a service that gives `source(manifest)`."""
    manifest = write_shards(tmp_path, {"train": 30})
    shard = tmp_path / manifest.splits["train"].shards[1].file
    content = bytearray(shard.read_bytes())
    content[content.index(numbered_image(15).tobytes())] ^= (
        1  # which opening the split does not read
    )
    shard.write_bytes(content)
    monkeypatch.setattr(service_input, "require_answer", lambda address, seconds: None)
    monkeypatch.setattr(service_input, "_from_service", lambda *arguments: source(manifest))
    plan = InputPlan(global_batch_size=30, data_service="grpc://here:1")
    return TrainingInput(plan, tmp_path, manifest), shard


def test_damage_met_in_a_batch_that_is_read_here_names_the_shard(tmp_path, monkeypatch):
    def all_but_the_first(manifest):
        for number in range(1, BATCHES_AHEAD + 1):
            yield number, (np.zeros((30, *manifest.image_shape), np.uint8), np.zeros(30, np.int64))

    reader, shard = damaged_service(tmp_path, monkeypatch, all_but_the_first)
    with pytest.raises(tf.errors.OpError) as raised:
        next(iter(reader.dataset()))
    line = reader.split.damage(raised.value)
    assert shard.name in line
    assert line.endswith(record_scan.REPAIR)


def test_damage_that_a_worker_meets_in_its_first_batch_names_the_shard(tmp_path, monkeypatch):
    def failing(manifest):
        raise tf.errors.DataLossError(None, None, "corrupted record at 0")
        yield

    reader, shard = damaged_service(tmp_path, monkeypatch, failing)
    with pytest.raises(tfrecords.DamagedShardError, match=rf"{shard.name}.*--repair"):
        reader.dataset()


def test_a_shard_with_fewer_records_than_it_should_have_is_named(tmp_path):
    manifest = write_shards(tmp_path, {"train": 30})
    shard = tmp_path / manifest.splits["train"].shards[1].file
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(tfrecords.DamagedShardError, match=shard.name):
        _ = StoredSplit(tmp_path, "train", manifest).places
