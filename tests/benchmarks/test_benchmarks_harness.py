import statistics

import pytest

from benchmarks import harness
from benchmarks.harness import Measurement, Sample, Side, Work


class FakeMachine:
    """Time stands still but while a side works; each takes its own seconds a pass."""

    def __init__(self):
        self.now = 0.0
        self.cpu = 0.0
        self.order = []

    def side(self, name, seconds, *, images=10, first=0.0, slower_each_round=0.0, cores=1):
        state = {"calls": 0}

        def run(passes):
            state["calls"] += 1
            once = first if state["calls"] == 1 else 0.0
            taken = passes * (seconds + slower_each_round * len(self.order)) + once
            self.now += taken
            self.cpu += taken * cores
            self.order.append(name)
            return passes * images

        return Side(name, run)

    def measure(self, *sides, repeats=5, seconds=1.0):
        return harness.measure(
            sides,
            repeats=repeats,
            seconds=seconds,
            clock=lambda: self.now,
            cpu_clock=lambda: self.cpu,
        )


def test_speed_is_images_over_the_seconds_they_took():
    machine = FakeMachine()
    (one,) = machine.measure(machine.side("a", 0.5, images=20))
    assert one.images_per_second.median == pytest.approx(40)
    assert one.images_per_second.low == one.images_per_second.high


def test_what_is_done_only_once_counts_towards_no_sample():
    machine = FakeMachine()
    (one,) = machine.measure(machine.side("a", 0.5, first=100.0))
    assert one.warmup_seconds == pytest.approx(100.5)
    assert [sample.seconds for sample in one.samples] == [pytest.approx(1.0)] * 5


def test_short_work_is_passed_over_until_a_run_is_long_enough():
    machine = FakeMachine()
    short, long = machine.measure(machine.side("short", 0.01), machine.side("long", 7.0))
    assert all(sample.seconds >= 1.0 for sample in short.samples)
    assert short.samples[0].images == 1000
    assert long.samples[0].images == 10


def test_sides_take_turns_after_the_warm_up():
    machine = FakeMachine()
    machine.measure(machine.side("a", 1.0), machine.side("b", 1.0), repeats=3)
    assert machine.order == ["a", "a", "b", "b", "a", "b", "a", "b", "a", "b"]


def test_processor_time_is_that_of_the_timed_runs():
    machine = FakeMachine()
    (one,) = machine.measure(machine.side("a", 0.5, images=100, cores=2))
    assert one.cpu_seconds_per_1000_images == pytest.approx(10)


def test_work_elsewhere_reports_its_own_processor_time_and_memory():
    machine = FakeMachine()

    def run(passes):
        machine.now += passes
        return Work(passes * 1000, cpu_seconds=3.0 * passes, peak_memory_bytes=77)

    (one,) = machine.measure(Side("peer", run))
    assert one.cpu_seconds_per_1000_images == pytest.approx(3.0)
    assert one.peak_memory_bytes == 77


def test_a_ratio_is_taken_between_neighbours_so_drift_cancels():
    machine = FakeMachine()
    slow, fast = machine.measure(
        machine.side("slow", 2.0, slower_each_round=0.4),
        machine.side("fast", 1.0, slower_each_round=0.2),
        repeats=9,
    )
    assert fast.images_per_second.noisy
    ratio = harness.compare(fast, slow)
    assert ratio.spread.low > 1.8
    assert not ratio.spread.noisy


def test_a_side_that_does_nothing_has_no_speed():
    machine = FakeMachine()
    with pytest.raises(ValueError, match="no image"):
        machine.measure(Side("idle", lambda passes: 0))


def test_two_sides_of_one_name_are_refused():
    machine = FakeMachine()
    with pytest.raises(ValueError, match="differ"):
        machine.measure(machine.side("a", 1.0), machine.side("a", 1.0))


def test_only_sides_measured_together_are_compared():
    with pytest.raises(ValueError, match="measured together"):
        harness.compare(measurement([1, 2, 3]), measurement([1, 2]))


@pytest.mark.parametrize("count, left_out", [(1, 0), (3, 0), (5, 0), (8, 1), (11, 2), (17, 4)])
def test_the_interval_leaves_out_only_what_90_percent_allows(count, left_out):
    values = list(range(1, count + 1))
    found = harness.spread(values)
    assert (found.low, found.high) == (1 + left_out, count - left_out)
    assert found.median == statistics.median(values)


def test_five_values_hold_the_median_with_90_percent():
    # Missed only if all five fall on one side of it: 2 / 32.
    assert 1 - 2 * 0.5**5 >= harness.CONFIDENCE > 1 - 2 * 0.5**4


@pytest.mark.parametrize(
    "speeds, noisy",
    [([100, 101, 102, 99, 100], False), ([100, 140, 70, 99, 100], True), ([1], True)],
)
def test_a_wide_or_lonely_figure_is_called_noisy(speeds, noisy):
    assert measurement(speeds).images_per_second.noisy is noisy


@pytest.mark.parametrize(
    "ratios, required, conclusion",
    [
        ([4.5, 4.4, 4.6], 4.0, "reached"),
        ([3.5, 3.4, 3.6], 4.0, "not reached"),
        ([3.5, 4.4, 4.6], 4.0, "too noisy to tell"),
        ([1.2, 1.1, 1.3], None, "faster"),
        ([0.9, 0.8, 0.7], None, "slower"),
        ([0.9, 1.2, 1.1], None, "no difference"),
        ([9.0, 9.0], 4.0, "too few pairs"),
    ],
)
def test_the_conclusion_is_one_clear_word(ratios, required, conclusion):
    other = measurement([1.0] * len(ratios))
    assert harness.compare(measurement(ratios), other, required=required).conclusion == conclusion


def measurement(speeds, name="x"):
    samples = tuple(Sample(1000, 1000 / speed, 0.0, 0) for speed in speeds)
    return Measurement(name, "", 0.0, samples)
