"""Timing you can trust: sides alternate, are compared pair by pair, and have an interval.

A side is a name and a function that processes images and returns their number. Every side is warmed up
first (compilation, caches, page cache), which also shows how many passes make a run of the requested
length. Then the sides alternate, A B A B: other work on the machine affects neighbours alike, and ratios
are taken between neighbours only, so that drift and noise cancel.

This module does not use TensorFlow. A side returns only after its results have arrived on the host: this
synchronises the device.
"""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Sequence

from benchmarks import process

WIDE = 0.25  # width of the interval, relative to the median, above which a figure is noisy
CONFIDENCE = 0.9


@dataclasses.dataclass(frozen=True)
class Work:
    """What one run of a side did.

    Attributes:
        images: how many, over the whole timed interval.
        cpu_seconds: processor time, if another process did the work; None: it is measured here.
        peak_memory_bytes: likewise, the largest resident size.
    """

    images: int
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the implementations that are compared.

    Attributes:
        name: as in tables.
        run: runs a number of passes; returns the number of images once all are done.
        group: tables show the rows of a group together.
    """

    name: str
    run: Callable[[int], "int | Work"]
    group: str = ""


@dataclasses.dataclass(frozen=True)
class Sample:
    """One timed run."""

    images: int
    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int

    @property
    def images_per_second(self) -> float:
        """Images over seconds of the same interval."""
        return self.images / self.seconds if self.seconds > 0 else math.inf


@dataclasses.dataclass(frozen=True)
class Spread:
    """A median, and an interval that contains the true median with at least 90 % confidence.

    The limits are order statistics, so nothing is assumed about the distribution of the noise. Fewer
    than 5 values cannot give 90 %; then the limits are the smallest and the largest value.
    """

    median: float
    low: float
    high: float
    count: int

    @property
    def relative(self) -> float:
        """The interval's width as a share of the median."""
        return (self.high - self.low) / self.median if self.median else math.inf

    @property
    def noisy(self) -> bool:
        """Whether the interval is too wide, or based on too few values, to rely on."""
        return self.count < 3 or self.relative > WIDE


@dataclasses.dataclass(frozen=True)
class Measurement:
    """All runs of one side."""

    name: str
    group: str
    warmup_seconds: float
    samples: tuple[Sample, ...]

    @property
    def images_per_second(self) -> Spread:
        """The median over the runs, with its interval."""
        return spread([sample.images_per_second for sample in self.samples])

    @property
    def cpu_seconds_per_1000_images(self) -> float:
        """Processor time of all threads; the median over the runs."""
        return statistics.median(1000 * s.cpu_seconds / s.images for s in self.samples)

    @property
    def peak_memory_bytes(self) -> int:
        """The largest resident size of the process in any run."""
        return max(sample.peak_memory_bytes for sample in self.samples)


@dataclasses.dataclass(frozen=True)
class Ratio:
    """The images/s of `side` divided by those of `other`, pair by pair.

    Attributes:
        required: the target of the ratio, a minimum; None: there is no target.
    """

    side: str
    other: str
    spread: Spread
    required: float | None = None

    @property
    def conclusion(self) -> str:
        """The result in a few words."""
        low, high = self.spread.low, self.spread.high
        if self.spread.count < 3:
            return "too few pairs"
        if self.required is not None:
            if low >= self.required:
                return "reached"
            return "not reached" if high < self.required else "too noisy to tell"
        if low > 1:
            return "faster"
        return "slower" if high < 1 else "no difference"


def measure(
    sides: Sequence[Side],
    *,
    repeats: int,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
    cpu_clock: Callable[[], float] = process.cpu_seconds,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Measurement]:
    """Warms up every side, then times them in turn.

    Args:
        repeats: timed runs per side.
        seconds: the minimum length of a run; short work runs for several passes.
        clock: monotonic seconds; tests pass their own.
        cpu_clock: processor seconds of this process and its children.
        tell: called with a line of progress.

    Returns:
        One measurement per side, in order; the samples i of all sides are neighbours in time.

    Raises:
        ValueError: two sides have the same name and group, or a side processed no image.
    """
    keys = [(side.group, side.name) for side in sides]
    if len(set(keys)) != len(keys):
        raise ValueError(f"sides must differ in name or group, got {keys}")
    warmups, passes = [], []
    for side in sides:
        tell(f"warming up {side.name}")
        first = _timed(side, 1, clock, cpu_clock)
        second = _timed(side, 1, clock, cpu_clock)  # the first includes one-time work
        warmups.append(first.seconds)
        passes.append(_passes_for(second.seconds, seconds))
    samples: list[list[Sample]] = [[] for _ in sides]
    for repeat in range(repeats):
        tell(f"round {repeat + 1}/{repeats}")
        for index, side in enumerate(sides):
            samples[index].append(_timed(side, passes[index], clock, cpu_clock))
    return [
        Measurement(side.name, side.group, warmup, tuple(of_side))
        for side, warmup, of_side in zip(sides, warmups, samples, strict=True)
    ]


def compare(side: Measurement, other: Measurement, *, required: float | None = None) -> Ratio:
    """The ratio of images/s, from each pair of neighbouring runs.

    Raises:
        ValueError: the two were not measured in the same rounds.
    """
    if len(side.samples) != len(other.samples):
        raise ValueError(
            f"{side.name} has {len(side.samples)} runs and {other.name} {len(other.samples)}; "
            "only sides measured together can be compared"
        )
    pairs = zip(side.samples, other.samples, strict=True)
    ratios = [own.images_per_second / others.images_per_second for own, others in pairs]
    return Ratio(side.name, other.name, spread(ratios), required)


def spread(values: Sequence[float]) -> Spread:
    """The median and its interval; see `Spread`."""
    ordered = sorted(values)
    outside = _left_out(len(ordered))
    return Spread(statistics.median(ordered), ordered[outside], ordered[-1 - outside], len(ordered))


def _left_out(count: int) -> int:
    """How many values may be dropped at each end while keeping `CONFIDENCE`.

    The true median lies between the k-th smallest and the k-th largest value unless fewer than k values
    fall on one side of it; each value falls on either side with probability 1/2.
    """
    tail, outside = 0.0, 0
    for k in range(count // 2):
        tail += math.comb(count, k) / 2**count
        if 1 - 2 * tail < CONFIDENCE:
            break
        outside = k
    return outside


def _passes_for(pass_seconds: float, seconds: float) -> int:
    return max(1, math.ceil(seconds / max(pass_seconds, 1e-6)))


def _timed(
    side: Side, passes: int, clock: Callable[[], float], cpu_clock: Callable[[], float]
) -> Sample:
    process.reset_peak_memory()
    cpu_started, started = cpu_clock(), clock()
    work = side.run(passes)
    elapsed, cpu = clock() - started, cpu_clock() - cpu_started
    work = work if isinstance(work, Work) else Work(work)
    if work.images <= 0:
        raise ValueError(f"{side.name} processed no image, so it has no speed")
    return Sample(
        work.images,
        elapsed,
        cpu if work.cpu_seconds is None else work.cpu_seconds,
        process.peak_memory_bytes() if work.peak_memory_bytes is None else work.peak_memory_bytes,
    )
