"""Trainings divided in every way, as the benchmarks run them."""

import pytest
from numbered_shards import striped_image, write_shards

from benchmarks import division
from benchmarks.division import DIVISIONS, Division, DivisionError


def test_every_division_is_a_command_of_the_engine():
    for one in DIVISIONS:
        words = one.command("SHARDS", "RUN", epochs=3, batch_size=64)
        program = "engine.launch" if one.workers > 1 else "engine.train"
        assert words[:2] == ["-m", program]
        assert ("--num-logical-devices" in words) == (one.devices > 1)
        assert {"SHARDS", "RUN", "64", "3"} <= set(words)
    assert [one.parts for one in DIVISIONS] == [1, 2, 4, 2]


@pytest.mark.slow
def test_a_division_is_trained_and_its_losses_are_read_back(tmp_path):
    write_shards(tmp_path, {"train": 64, "validation": 32}, draw=striped_image)
    done = division.train(Division("1 device"), tmp_path, epochs=2, batch_size=16)
    assert len(done.losses) == 2
    assert done.distance(done) == 0
    (sample,) = done.measurement.samples
    assert sample.images == 64
    assert sample.cpu_seconds > 0
    assert sample.peak_memory_bytes > 100 << 20
    assert done.shown.startswith("python -m engine.train SHARDS --workdir RUN")


@pytest.mark.slow
def test_a_division_that_fails_is_told_with_its_last_line(tmp_path):
    with pytest.raises(DivisionError, match=r"ended with 2.*manifest"):
        division.train(Division("1 device"), tmp_path, epochs=1, batch_size=16)
