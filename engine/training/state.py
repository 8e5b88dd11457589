"""What a training changes and a checkpoint holds, in one object: saved, restored and rewound as a whole."""

import dataclasses
from typing import Any

import keras
import numpy as np

from engine.networks import layer_paths
from engine.training import checkpoints, initial_weights, optimization, periodic, resuming
from engine.training.history import Row
from engine.training.monitor import Progress


class TrainState:
    """The variables of a training, and the values that its loop decides by.

    A checkpoint holds two parts:

    arrays  `model/NNNN` and `optimizer/NNNN`, the variables in the order of `variables` (states of
            random generators included); `best/NNNN`, the model's variables in the best epoch
    state   the attributes below as JSON, and the names of the model's variables

    Args:
        model: the model whose variables are trained; all of them are saved.
        optimizer: built for the model's weights.
        monitor: the metric that the best epoch is chosen by.
        stopwatch: runs since the process began to load.

    Attributes:
        global_step: steps taken since the start.
        rows: one row per finished epoch.
        progress: how the monitored metric develops.
        loss_sum, correct_sum: over the images of the epoch so far.
        train_seconds: of the epoch's steps alone, so far.
        stopwatch: wall time of the epoch so far, everything included; of the first, loading too.
        rewinds: how often training went back to an earlier checkpoint after a divergence.
        is_ending: whether a callback has requested the end of training in the epoch so far.
        ended_of: of how many planned epochs the training was, if a callback ended it; else None.
        best: the arrays of the model's variables in the best epoch; None before the first.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        *,
        monitor: str,
        stopwatch: periodic.Stopwatch,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.global_step = 0
        self.rows: list[Row] = []
        self.progress = Progress(monitor)
        self.loss_sum, self.correct_sum = 0.0, 0.0
        self.train_seconds = 0.0
        self.stopwatch = stopwatch
        self.rewinds = 0
        self.is_ending = False
        self.ended_of: int | None = None
        self.best: list[np.ndarray] | None = None

    def variables(self) -> dict[str, Any]:
        """Every variable that a resumed run needs, under stable keys."""
        named = {f"model/{i:04d}": v for i, v in enumerate(self.model.variables)}
        return named | {f"optimizer/{i:04d}": v for i, v in enumerate(self.optimizer.variables)}

    def to_checkpoint(self) -> checkpoints.Checkpoint:
        """A copy of everything, at this step."""
        arrays = {key: variable.numpy() for key, variable in self.variables().items()}
        if self.best is not None:
            arrays |= {f"best/{i:04d}": array for i, array in enumerate(self.best)}
        state = {
            "rows": list(self.rows),
            "progress": dataclasses.asdict(self.progress),
            "epoch_sums": [self.loss_sum, self.correct_sum],
            "epoch_seconds": self.stopwatch.seconds,
            "train_seconds": self.train_seconds,
            "rewinds": self.rewinds,
            "rate_scale": optimization.rate_scale(self.optimizer),
            initial_weights.NAMES: layer_paths.variable_names(self.model),
            "is_ending": self.is_ending,
            "ended_of": self.ended_of,
        }
        return checkpoints.Checkpoint(self.global_step, arrays, state)

    def resume(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Takes everything from a checkpoint of another process, the time that it spent included.

        Raises:
            UserError: the checkpoint holds other variables.
        """
        resuming.check_fits(checkpoint, self.variables())
        self._take(checkpoint)
        self.stopwatch.include(checkpoint.state["epoch_seconds"])

    def rewind(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Goes back to a checkpoint of this process, which does not give back the time that passed.

        The number of rewinds goes up by one.
        """
        rewinds = self.rewinds + 1
        self._take(checkpoint)
        self.rewinds = rewinds

    def keep_best(self) -> None:
        """Stores the model's variables as those of the best epoch."""
        self.best = [variable.numpy() for variable in self.model.variables]

    def use_best(self) -> None:
        """Puts the best epoch's variables into the model, where there is a best epoch."""
        if self.best is not None:
            for variable, array in zip(self.model.variables, self.best, strict=True):
                variable.assign(array)

    def end_epoch(self, row: Row) -> None:
        """Adds the row of an epoch, its wall time included, and begins the next epoch."""
        self.rows.append({**row, "seconds": self.stopwatch.lap()})
        self.loss_sum, self.correct_sum, self.train_seconds = 0.0, 0.0, 0.0
        self.is_ending = False

    def seconds(self) -> float:
        """Wall time of all epochs and of what followed the last one."""
        return sum(row["seconds"] for row in self.rows) + self.stopwatch.seconds

    def _take(self, checkpoint: checkpoints.Checkpoint) -> None:
        arrays, state = checkpoint.arrays, checkpoint.state
        for key, variable in self.variables().items():
            variable.assign(arrays[key])
        if "best/0000" in arrays:
            self.best = [arrays[f"best/{i:04d}"] for i in range(len(self.model.variables))]
        self.global_step = checkpoint.step
        self.rows = state["rows"]
        self.progress = Progress(**state["progress"])
        self.loss_sum, self.correct_sum = state["epoch_sums"]
        self.train_seconds = state["train_seconds"]
        self.rewinds = state["rewinds"]
        self.is_ending = state.get("is_ending", False)
        self.ended_of = state["ended_of"]
        optimization.set_rate_scale(self.optimizer, state["rate_scale"])
