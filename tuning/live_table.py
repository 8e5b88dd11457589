"""A running search on standard error: a live table, or one line per trial without a terminal."""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from engine.base.progress import format_duration
from tuning import pruning
from tuning.leaderboard import Trial, best_trial
from tuning.settings import SearchConfig

ROWS = 12  # the latest trials
_POLL_SECONDS = 0.5
_SHORT = {
    "dropout": "drop",
    "learning_rate": "lr",
    "global_batch_size": "batch",
    "image_size": "size",
    "normalization": "norm",
    "weight_decay": "decay",
}


class LiveTable:
    """Shows a search's trials until the block ends.

    Args:
        read: returns the trials that have started (`leaderboard.Reader`).
        planned: how many there will be; None if unknown.
        stream: where to write; standard error by default.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        read: Callable[[], list[Trial]],
        config: SearchConfig,
        *,
        planned: int | None,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read, self._config = read, config
        self._planned, self._clock = planned, clock
        self._stream = stream if stream is not None else sys.stderr
        # Trials that an earlier process reported are not reported again.
        self._reported = {trial.trial_id for trial in read() if trial.outcome is not None}
        self._ending = threading.Event()
        self._live: Any = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "LiveTable":
        if self._stream.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(
                get_renderable=lambda: table(self._read(), self._config, planned=self._planned),
                console=Console(file=self._stream),
                refresh_per_second=2,
                redirect_stdout=False,
            )
            self._live.start()
        else:
            self._thread = threading.Thread(target=self._report, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._ending.set()
        if self._thread is not None:
            self._thread.join()
        if self._live is not None:
            self._live.refresh()
            self._live.stop()

    def _report(self) -> None:
        while True:
            ending = self._ending.wait(_POLL_SECONDS)
            trials = self._read()
            for trial in trials:
                if trial.outcome is not None and trial.trial_id not in self._reported:
                    self._reported.add(trial.trial_id)
                    print(
                        line(trial, trials, self._config, planned=self._planned), file=self._stream
                    )
            self._stream.flush()
            if ending:
                return


def table(trials: Sequence[Trial], config: SearchConfig, *, planned: int | None) -> Any:
    """The latest trials, the best one and the time left, in at most 80 columns."""
    from rich import box
    from rich.table import Table

    best = best_trial(trials, config.objective)
    shown = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        caption=summary(trials, config, planned=planned),
    )
    shown.caption_justify = "left"
    shown.add_column("trial", justify="right", no_wrap=True)
    shown.add_column("values", overflow="fold")
    shown.add_column("epoch", justify="right", no_wrap=True)
    shown.add_column(config.objective, justify="right", no_wrap=True)
    shown.add_column("", no_wrap=True, max_width=13)
    for trial in trials[-ROWS:]:
        mark = " *" if best is not None and trial.trial_id == best.trial_id else ""
        style = "bold" if mark else "dim" if trial.outcome and trial.outcome.failed else ""
        shown.add_row(
            trial.trial_id,
            values_text(trial.values),
            f"{len(trial.history)}/{trial.spec.last_epoch}",
            number(trial.best) + (mark or "  "),
            trial.status,
            style=style,
        )
    return shown


def summary(trials: Sequence[Trial], config: SearchConfig, *, planned: int | None) -> str:
    """Progress of the search: trials done, the best, the time that pruning saved, and the time left."""
    outcomes = [trial.outcome for trial in trials if trial.outcome is not None]
    best = best_trial(trials, config.objective)
    parts = [f"{len(outcomes)}/{'?' if planned is None else planned} trials"]
    if best is not None:
        parts.append(f"best {number(best.best)} (trial {best.trial_id})")
    pruned = sum(outcome.status == "pruned" for outcome in outcomes)
    if pruned:
        saved = pruning.seconds_saved(outcomes, epochs=config.epochs)
        parts.append(f"{pruned} pruned, about {format_duration(saved)} saved")
    left = seconds_left(trials, config, planned=planned)
    if left:
        parts.append(f"about {format_duration(left)} left")
    return "; ".join(parts)


def seconds_left(
    trials: Sequence[Trial], config: SearchConfig, *, planned: int | None
) -> float | None:
    """An estimate from the mean time of a trial; None before the first has ended.

    Includes what follows the trials: the top ones with more seeds, and the default configuration.
    """
    mean = trial_seconds(trials)
    if planned is None or mean is None:
        return None
    ended = sum(trial.outcome is not None for trial in trials)
    running = [trial for trial in trials if trial.outcome is None]
    started = sum(len(trial.history) / max(1, trial.spec.last_epoch) for trial in running)
    repeated = config.top * (config.num_seeds - 1)
    alone = int(config.compare_default)
    at_a_time = (max(0.0, planned - ended - started) + repeated) / config.num_workers
    return (at_a_time + alone) * mean


def trial_seconds(trials: Sequence[Trial]) -> float | None:
    """The mean time of the trials that ended with a value; None before the first."""
    times = [t.outcome.seconds for t in trials if t.outcome is not None and not t.outcome.failed]
    return sum(times) / len(times) if times else None


def line(
    trial: Trial, trials: Sequence[Trial], config: SearchConfig, *, planned: int | None
) -> str:
    """One line for a trial that has ended."""
    assert trial.outcome is not None
    ended = sum(other.outcome is not None for other in trials)
    text = f"trial {trial.trial_id} ({ended}/{'?' if planned is None else planned}) {trial.status}"
    if trial.outcome.failed:
        text += f": {trial.outcome.reason}"
    else:
        best = best_trial(trials, config.objective)
        text += f" {len(trial.history)}/{trial.spec.last_epoch} epochs"
        text += f"  {config.objective} {number(trial.best)}"
        if best is not None:
            text += f" (best {number(best.best)}, trial {best.trial_id})"
    left = seconds_left(trials, config, planned=planned)
    text += f"  {values_text(trial.values)}  {format_duration(trial.outcome.seconds)}"
    return text + (f", {format_duration(left)} left" if left else "")


def values_text(values: dict[str, Any]) -> str:
    """`depth 3 width 16 drop 0.21 lr 0.0031`."""
    return " ".join(f"{_SHORT.get(name, name)} {value_text(v)}" for name, v in values.items())


def value_text(value: Any) -> str:
    """A parameter's value; a float to two significant digits."""
    if isinstance(value, float):
        return f"{value:.2g}"
    return str(value)


def number(value: float | None) -> str:
    """An objective's value."""
    return "-" if value is None else f"{value:.4f}"
