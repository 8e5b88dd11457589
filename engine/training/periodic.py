"""Actions at intervals of steps or seconds: checkpoints inside an epoch, a profiler's trace, laps."""

import math
import time
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf


class Stopwatch:
    """Wall time, in laps.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = clock()

    @property
    def seconds(self) -> float:
        """Of the lap so far."""
        return self._clock() - self._start

    def include(self, seconds: float) -> None:
        """Counts time that another process spent on the lap."""
        self._start -= seconds

    def lap(self) -> float:
        """Ends the lap and begins the next; returns its seconds."""
        start, self._start = self._start, self._clock()
        return self._start - start


class Interval:
    """Says when the next checkpoint inside an epoch is due.

    Args:
        steps, seconds: how often; one of them, or neither for never.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        steps: int | None = None,
        seconds: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._steps, self._seconds, self._clock = steps, seconds, clock
        self._last = clock()

    def steps_until_due(self, step: int) -> float:
        """After how many more steps behind `step` a save will be due; infinite if time decides."""
        return math.inf if self._steps is None else self._steps - step % self._steps

    def due(self, step: int) -> bool:
        """Whether to save after `step` (counted from 1); if so the time starts again."""
        if self._steps is not None:
            return step % self._steps == 0
        if self._seconds is None or self._clock() - self._last < self._seconds:
            return False
        self._last = self._clock()
        return True


class Trace:
    """Traces a range of steps for TensorBoard's profiler.

    Args:
        steps: first and last, counted from 1; None for no trace.
        directory: TensorBoard's.
    """

    def __init__(self, steps: tuple[int, int] | None, directory: Path) -> None:
        self._steps, self._directory = steps, directory
        self._running = False

    def steps_until_edge(self, step: int) -> float:
        """How many steps behind `step` can run before the trace begins or ends."""
        edges = [self._steps[0] - 1, self._steps[1]] if self._steps else []
        return min((edge - step for edge in edges if edge > step), default=math.inf)

    def before(self, step: int) -> None:
        """Call before each step, or the first of several that run together."""
        if self._steps and step == self._steps[0]:
            tf.profiler.experimental.start(str(self._directory))
            self._running = True

    def after(self, step: int) -> None:
        """Call after each step, or the last of several that ran together."""
        if self._steps and step >= self._steps[1]:
            self.close()

    def close(self) -> None:
        """Ends a trace that is running."""
        if self._running:
            self._running = False
            tf.profiler.experimental.stop()
