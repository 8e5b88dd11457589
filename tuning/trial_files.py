"""A trial on disk: its specification (`spec.json`) and how it ended (`outcome.json`)."""

import dataclasses
from pathlib import Path
from typing import Any, TypeVar

from engine.base import files

COMPLETED, PRUNED, FAILED = "completed", "pruned", "failed"
CRASHED, OUT_OF_MEMORY, DIVERGED = "crashed", "out of memory", "diverged"

_Type = TypeVar("_Type", bound="_Stored")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Stored:
    def write(self, path: Path) -> None:
        """Writes the file atomically."""
        files.write_json(path, dataclasses.asdict(self))

    @classmethod
    def read(cls: type[_Type], path: Path) -> _Type:
        """Reads what `write` wrote; raises `OSError` if there is no such file."""
        return cls(**files.read_json(path))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialSpec(_Stored):
    """The specification of a trial, for its process.

    Attributes:
        trial_id: KerasTuner's number for it.
        values: the parameters' values, by setting.
        config: a complete `TrainConfig`, as JSON.
        objective: the metric that decides.
        last_epoch: where the trial ends; its learning rate schedule is that of `config.epochs`.
        bars: for each epoch, the value that the best so far must reach to continue; None: no bar.
        continue_from: the id of the trial whose training this one continues; '' for none.
    """

    trial_id: str
    values: dict[str, Any]
    config: dict[str, Any]
    objective: str
    last_epoch: int
    bars: list[float | None] = dataclasses.field(default_factory=list)
    continue_from: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome(_Stored):
    """How a trial ended.

    Attributes:
        status: `completed`, `pruned` (behind the median) or `failed`.
        failure: why it failed: `crashed`, `out of memory` or `diverged`; else ''.
        reason: the same in one line for the user.
        value: the objective at its best epoch; None if it failed.
        best_epoch: counted from 1; 0 if the trial failed.
        metrics: the best epoch's row of `history.csv`.
        history: the objective, epoch by epoch.
        epoch_seconds: the median training time of an epoch.
        seconds: how long the process that finished it ran, start-up included.
    """

    status: str
    failure: str = ""
    reason: str = ""
    value: float | None = None
    best_epoch: int = 0
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    history: list[float] = dataclasses.field(default_factory=list)
    epoch_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether it ended without a value."""
        return self.status == FAILED


def is_minimized(objective: str) -> bool:
    """Whether lower is better: for losses, yes; for other metrics, no."""
    return objective.endswith("loss")


def best_of(history: list[float], objective: str) -> tuple[float | None, int]:
    """The best value and its epoch, counted from 1; (None, 0) if every value is NaN."""
    numbers = [(value, epoch) for epoch, value in enumerate(history, 1) if value == value]
    if not numbers:
        return None, 0
    sign = 1 if is_minimized(objective) else -1
    return min(numbers, key=lambda pair: (sign * pair[0], pair[1]))
