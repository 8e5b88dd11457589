"""Reads the trials of a search from its directory: for the table, the report and pruning."""

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.base import files
from tuning.search_directory import SearchDirectory, TrialDirectory
from tuning.trial_files import COMPLETED, Outcome, TrialSpec, best_of, is_minimized


@dataclasses.dataclass(frozen=True)
class Trial:
    """A trial that has started.

    Attributes:
        outcome: how it ended; None while it runs or waits to be resumed.
        history: the objective so far, epoch by epoch.
    """

    spec: TrialSpec
    outcome: Outcome | None
    history: tuple[float, ...]

    @property
    def trial_id(self) -> str:
        return self.spec.trial_id

    @property
    def values(self) -> dict[str, Any]:
        """The parameters' values."""
        return self.spec.values

    @property
    def best(self) -> float | None:
        """The best objective so far."""
        return best_of(list(self.history), self.spec.objective)[0]

    @property
    def status(self) -> str:
        """`running`, `completed`, `pruned`, or why it failed."""
        if self.outcome is None:
            return "running"
        return self.outcome.failure or self.outcome.status


def read_trials(directory: SearchDirectory) -> list[Trial]:
    """All trials that have started, ordered by number."""
    return [read_trial(directory.trial(trial_id)) for trial_id in directory.trial_ids()]


def read_trial(trial: TrialDirectory) -> Trial:
    """One trial; raises `OSError` if it has not started."""
    spec = TrialSpec.read(trial.spec)
    if trial.outcome.is_file():
        outcome = Outcome.read(trial.outcome)
        return Trial(spec, outcome, tuple(outcome.history))
    return Trial(spec, None, tuple(_running_history(trial.run.history, spec.objective)))


def _running_history(path: Path, objective: str) -> list[float]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return [float(row[objective]) for row in csv.DictReader(file)]
    except OSError:
        return []


class Reader:
    """Reads trials repeatedly; each trial that has ended is read from disk only once."""

    def __init__(self, directory: SearchDirectory) -> None:
        self._directory = directory
        self._ended: dict[str, Trial] = {}

    def __call__(self) -> list[Trial]:
        trials = []
        for trial_id in self._directory.trial_ids():
            trial = self._ended.get(trial_id) or read_trial(self._directory.trial(trial_id))
            if trial.outcome is not None:
                self._ended[trial_id] = trial
            trials.append(trial)
        return trials


def ranked(trials: Sequence[Trial], objective: str) -> list[Trial]:
    """Trials with a value, best first; ties are ordered by number.

    Completed trials come before those that were pruned or are running.
    """
    sign = 1 if is_minimized(objective) else -1

    def place(trial: Trial) -> tuple[bool, float]:
        ended = trial.outcome is not None and trial.outcome.status == COMPLETED
        return (not ended, sign * (trial.best or 0.0))

    return sorted((t for t in trials if t.best is not None and not _failed(t)), key=place)


def best_trial(trials: Sequence[Trial], objective: str) -> Trial | None:
    """The best trial that has ended; None before the first."""
    ended = [trial for trial in trials if trial.outcome is not None]
    return next(iter(ranked(ended, objective)), None)


def write_csv(path: Path, trials: Sequence[Trial], names: Sequence[str]) -> None:
    """One row per trial: number, status, objective, best epoch, epochs, seconds, parameters, reason."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heads = ["trial", "status", "objective", "best_epoch", "epochs", "seconds"]
    writer.writerow([*heads, *names, "reason"])
    for trial in trials:
        outcome = trial.outcome or Outcome(status="running")
        value = "" if trial.best is None else f"{trial.best:.6g}"
        row = [trial.trial_id, trial.status, value, outcome.best_epoch or "", len(trial.history)]
        values = [trial.values.get(name, "") for name in names]
        writer.writerow([*row, f"{outcome.seconds:.1f}", *values, outcome.reason])
    files.write_text(path, text.getvalue())


def _failed(trial: Trial) -> bool:
    return trial.outcome is not None and trial.outcome.failed
