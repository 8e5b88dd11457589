"""Worker processes: order, reasons, a bounded window, and no TensorFlow."""

import os
import signal

import grey_files
import pytest

from engine.base import ordered_pool
from engine.base.config import UserError
from engine.images.format import ImageFormat
from engine.shards import decode_pool
from engine.shards.decode_pool import DecodePool, RecordFormat, SourceFile

FORMAT = RecordFormat(
    image_format=ImageFormat(image_size=(8, 8), channels=1),
    max_pixels=1000,
    encoding="raw",
    jpeg_quality=95,
)


@pytest.fixture
def sources(tmp_path) -> list[SourceFile]:
    """100 flat images, each of its own grey; every tenth is missing."""
    for index in range(100):
        if index % 10:
            grey_files.write(tmp_path / f"{index}.png", index, (8, 8))
    return [SourceFile(f"{index}.png", index % 2, "") for index in range(100)]


@pytest.mark.parametrize(("workers", "processes"), [(1, False), (2, False), (2, True)])
def test_outcomes_come_in_the_order_of_the_sources(sources, tmp_path, workers, processes):
    with DecodePool(tmp_path, FORMAT, workers=workers, processes=processes) as pool:
        outcomes = list(pool.outcomes(iter(sources)))
    assert len(outcomes) == 100
    for index, outcome in enumerate(outcomes):
        if index % 10:
            assert bytes([index]) * 64 in outcome.framed
        else:
            assert "cannot be read" in outcome


@pytest.mark.parametrize("processes", [False, True])
def test_sources_are_taken_a_bounded_number_ahead(sources, tmp_path, processes):
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield sources[1]

    with DecodePool(tmp_path, FORMAT, workers=2, processes=processes) as pool:
        outcomes = pool.outcomes(endless())
        for _ in range(3):
            next(outcomes)
        outcomes.close()
    assert taken <= 2 * ordered_pool.TASKS_PER_WORKER * decode_pool.TASK_FILES


def test_large_images_travel_one_by_one():
    assert FORMAT.files_per_task == decode_pool.TASK_FILES
    large = RecordFormat(
        image_format=ImageFormat(image_size=(2048, 2048), channels=3),
        max_pixels=1,
        encoding="raw",
        jpeg_quality=95,
    )
    assert large.files_per_task == 1


def test_a_killed_worker_is_an_error_not_a_wait(sources, tmp_path):
    with DecodePool(tmp_path, FORMAT, workers=2) as pool:
        worker = next(pool._pool.in_order(eval, ["__import__('os').getpid()"]))
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(UserError, match="--workers"):
            list(pool.outcomes(iter(sources * 100)))


def test_workers_do_not_import_tensorflow(tmp_path):
    import tensorflow  # noqa: F401 (the caller has it, its workers have not)

    with DecodePool(tmp_path, FORMAT, workers=2) as pool:
        asked = ["'tensorflow' in __import__('sys').modules"]
        (loaded,) = pool._pool.in_order(eval, asked)
    assert loaded is False
