"""What limits a training: the input, or the step that consumes it; in one sentence.

Three speeds tell: the input alone, the step alone on a batch that is already on the device, and both
together. Were the input prepared entirely beside the step, training would run at the slower of the
two; on a CPU, where both share cores, it runs somewhat below.
"""

import math
import time
from collections.abc import Callable

_CLOSE = 0.9  # of the step's speed: training that reaches it is not held up


def verdict(
    data_images_per_second: float, step_images_per_second: float, train_images_per_second: float
) -> str:
    """One sentence: what limits training, by how much, and what to do.

    Args:
        data_images_per_second: the input alone.
        step_images_per_second: the training step alone, on a batch already on the device.
        train_images_per_second: training, end to end.

    Raises:
        ValueError: a speed is not a positive number.
    """
    speeds = (data_images_per_second, step_images_per_second, train_images_per_second)
    if not all(math.isfinite(speed) and speed > 0 for speed in speeds):
        raise ValueError(f"speeds must be positive numbers of images/s, got {speeds}")
    headroom = data_images_per_second / step_images_per_second
    reached = train_images_per_second / step_images_per_second
    if headroom < 1:
        return (
            f"input-bound: the input gives {data_images_per_second:,.0f} images/s, the step could "
            f"take {step_images_per_second:,.0f}; use --cache memory, raw shards, or smaller images"
        )
    if reached >= _CLOSE:
        return (
            f"compute-bound: the input has {_times(headroom)} x headroom and training runs at "
            f"{min(reached, 1):.0%} of the step's own speed; only a faster step or device helps"
        )
    if headroom < 2:
        return (
            f"input and step compete: the input has only {headroom:.1f} x headroom and training runs "
            f"at {reached:.0%} of the step's own speed; use --cache memory or raw shards"
        )
    return (
        f"overhead-bound: the input has {_times(headroom)} x headroom, yet training runs at "
        f"{reached:.0%} of the step's own speed; raise --global-batch-size, or look for other work "
        "on the machine"
    )


def images_per_second(
    run: Callable[[], object],
    *,
    batch_size: int,
    seconds: float = 2.0,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """The speed of `run`, which handles one batch per call and returns when it is done.

    Calls it three times to warm up, then until `seconds` have passed.
    """
    for _ in range(3):
        run()
    start, count = clock(), 0
    while (elapsed := clock() - start) < seconds or not count:
        run()
        count += 1
    return count * batch_size / elapsed


def _times(headroom: float) -> str:
    return f"{headroom:.1f}" if headroom < 10 else f"{headroom:,.0f}"
