"""How many training steps one call of the compiled function runs.

A call costs the interpreter a millisecond or so, and the device waits for it. Where steps take hundreds,
as on CPUs, that is nothing; on a GPU it may be a fifth of a step.
"""

import math
from collections.abc import Callable, Iterable

CALL_SECONDS = 0.1  # what a call on a GPU should last: a stop request waits for its end
LONGEST = 64
SHORT_STEP_SECONDS = 0.001  # below which it pays on a CPU too
_MEASURED_STEPS = 8
_WARM_UP_STEPS = 2


class StepBlocks:
    """Says how many steps to run next.

    Args:
        setting: `auto`, or the most steps to run together, as text.
        agreed: the chief's values on every worker: all must run as many steps as any.
    """

    def __init__(
        self, setting: str, *, on_gpu: bool, agreed: Callable[[Iterable[float]], list[float]]
    ) -> None:
        self._on_gpu, self._agreed = on_gpu, agreed
        self._steps = None if setting == "auto" else int(setting)
        self._seconds: list[float] = []

    def length(self, *limits: float) -> int:
        """The number of steps, no more than any of `limits`: an epoch's end, a checkpoint."""
        return int(min(self._steps or 1, *limits))

    def ran(self, steps: int, seconds: float) -> None:
        """Takes in how long they took; after the first few `auto` is decided."""
        if self._steps is not None:
            return
        self._seconds.append(seconds / steps)
        if len(self._seconds) == _WARM_UP_STEPS + _MEASURED_STEPS:
            fastest = min(self._seconds[_WARM_UP_STEPS:])
            self._steps = int(self._agreed([choose(fastest, on_gpu=self._on_gpu)])[0])


def choose(step_seconds: float, *, on_gpu: bool) -> int:
    """How many steps of a known duration to run together."""
    if not on_gpu and step_seconds > SHORT_STEP_SECONDS:
        return 1
    return max(1, min(LONGEST, math.floor(CALL_SECONDS / max(step_seconds, 1e-9))))
