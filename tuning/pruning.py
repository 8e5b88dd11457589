"""Median stopping: a trial ends early if it is behind the median of earlier trials at the same epoch.

After Golovin et al. (2017), Google Vizier, section 3.2.1, with the best value so far in place of the
running average, as in Optuna. The bars to reach are computed before a trial starts and stored in its
spec, so that a trial that is interrupted and resumed is judged as if it had not been.
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
        histories: the objective, epoch by epoch, of earlier trials that completed. A trial that stopped
            early for lack of progress keeps its best value for the remaining epochs.
        warmup_trials: how many trials must be complete before any bar is set.
        warmup_epochs: the first epochs, for which no bar is set.

    Returns:
        `epochs` numbers; None where no bar is set.
    """
    if len(histories) < warmup_trials:
        return [None] * epochs
    curves = [best_so_far(history, objective=objective, epochs=epochs) for history in histories]
    medians = [statistics.median(values) for values in zip(*curves, strict=True)]
    return [m if e >= warmup_epochs and math.isfinite(m) else None for e, m in enumerate(medians)]


def best_so_far(history: Sequence[float], *, objective: str, epochs: int) -> list[float]:
    """The best value up to each of `epochs` epochs; infinitely bad before the first value."""
    best = math.inf if is_minimized(objective) else -math.inf
    pick = min if is_minimized(objective) else max
    curve = []
    for epoch in range(epochs):
        if epoch < len(history) and not math.isnan(history[epoch]):
            best = pick(best, history[epoch])
        curve.append(best)
    return curve


def is_behind(history: Sequence[float], bars: Sequence[float | None], *, objective: str) -> bool:
    """Whether a trial's best value so far misses the bar of its latest epoch."""
    epoch = len(history)
    if not 0 < epoch <= len(bars) or (bar := bars[epoch - 1]) is None:
        return False
    best = best_so_far(history, objective=objective, epochs=epoch)[-1]
    return best > bar if is_minimized(objective) else best < bar


def seconds_saved(outcomes: Sequence[Outcome], *, epochs: int) -> float:
    """An estimate: the epochs that pruned trials did not run, at each trial's own seconds per epoch."""
    return sum(
        (epochs - len(outcome.history)) * outcome.epoch_seconds
        for outcome in outcomes
        if outcome.status == PRUNED
    )
