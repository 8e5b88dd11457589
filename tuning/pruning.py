"""Median stopping: a trial behind the median of earlier ones at the same epoch ends early.

After Golovin et al. (2017), Google Vizier, section 3.2.1, with the best value so far in place of the
running average, as in Optuna. What must be reached is worked out before a trial begins and written
into its spec, so a trial that is interrupted and goes on is judged as it would have been.
"""

import math
import statistics
from collections.abc import Sequence

from tuning.trial_files import PRUNED, Outcome, is_minimized


def median_bars(
    histories: Sequence[Sequence[float]],
    *,
    objective: str,
    epochs: int,
    warmup_trials: int,
    warmup_epochs: int,
) -> list[float | None]:
    """What the best value so far must reach at each epoch.

    Args:
        histories: the objective, epoch by epoch, of earlier trials that ran to their end. One that
            stopped for want of progress stands at its best from there on.
        warmup_trials: how many there must be before anything is asked.
        warmup_epochs: how many epochs nothing is asked of.

    Returns:
        `epochs` numbers, None where nothing is asked.
    """
    if len(histories) < warmup_trials:
        return [None] * epochs
    curves = [best_so_far(history, objective=objective, epochs=epochs) for history in histories]
    medians = [statistics.median(values) for values in zip(*curves, strict=True)]
    return [m if e >= warmup_epochs and math.isfinite(m) else None for e, m in enumerate(medians)]


def best_so_far(history: Sequence[float], *, objective: str, epochs: int) -> list[float]:
    """The best value up to each of `epochs` epochs; infinitely bad before the first number."""
    best = math.inf if is_minimized(objective) else -math.inf
    pick = min if is_minimized(objective) else max
    curve = []
    for epoch in range(epochs):
        if epoch < len(history) and not math.isnan(history[epoch]):
            best = pick(best, history[epoch])
        curve.append(best)
    return curve


def is_behind(history: Sequence[float], bars: Sequence[float | None], *, objective: str) -> bool:
    """Whether a trial's best value so far does not reach what is asked at its latest epoch."""
    epoch = len(history)
    if not 0 < epoch <= len(bars) or (bar := bars[epoch - 1]) is None:
        return False
    best = best_so_far(history, objective=objective, epochs=epoch)[-1]
    return best > bar if is_minimized(objective) else best < bar


def seconds_saved(outcomes: Sequence[Outcome], *, epochs: int) -> float:
    """An estimate: the epochs that pruned trials were not given, at each one's own seconds per epoch."""
    return sum(
        (epochs - len(one.history)) * one.epoch_seconds for one in outcomes if one.status == PRUNED
    )
