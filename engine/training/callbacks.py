"""What happens between epochs: best weights, plateaus, early stopping, and the logs.

Each keeps its state in plain values that go into a checkpoint, so that a resumed run decides as the
undisturbed one would have (Keras' own callbacks forget theirs).
"""

import csv
import dataclasses
import io
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from engine.base import files

Row = dict[str, float]
HISTORY_FIELDS = (
    "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "val_auroc", "learning_rate",
    "images_per_second", "train_seconds", "seconds",
)  # fmt: skip
CLOCK_FIELDS = ("images_per_second", "train_seconds", "seconds")  # differ between equal runs


def is_better(value: float, best: float | None, monitor: str) -> bool:
    """Whether `value` beats `best`: losses go down, all else goes up; NaN never does."""
    if math.isnan(value):
        return False
    if best is None:
        return True
    return value < best if monitor.endswith("loss") else value > best


@dataclasses.dataclass
class Progress:
    """How the monitored metric has fared.

    Of epochs that tie, that of the lowest validation loss is the best: a metric of ranks or counts
    stands still where it cannot rise, or where validation is small, while the probabilities still
    become better. Such an epoch is progress, to early stopping and plateaus too.

    Attributes:
        best_value, best_loss, best_epoch: the best so far, its validation loss, and when (epochs
            count from 1).
        stale_epochs: epochs since then.
        plateau_epochs: epochs since then, or since the learning rate was last reduced.
    """

    monitor: str
    best_value: float | None = None
    best_loss: float | None = None
    best_epoch: int = 0
    stale_epochs: int = 0
    plateau_epochs: int = 0

    def update(self, row: Row) -> bool:
        """Takes in an epoch; returns whether it is the best so far."""
        value, loss = row[self.monitor], row["val_loss"]
        ties = value == self.best_value
        if is_better(value, self.best_value, self.monitor) or (
            ties and is_better(loss, self.best_loss, "val_loss")
        ):
            self.best_value, self.best_epoch = value, int(row["epoch"])
            self.best_loss = None if math.isnan(loss) else loss
            self.stale_epochs = self.plateau_epochs = 0
            return True
        self.stale_epochs += 1
        self.plateau_epochs += 1
        return False

    def on_plateau(self, patience: int) -> bool:
        """Whether the learning rate is due for a reduction; if so the count starts again."""
        if self.plateau_epochs < patience:
            return False
        self.plateau_epochs = 0
        return True


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


class Logs:
    """`history.csv`, rewritten whole each epoch, and TensorBoard scalars."""

    def __init__(self, history: Path, tensorboard: Path) -> None:
        self._history = history
        self._writer = tf.summary.create_file_writer(str(tensorboard))

    def write(self, rows: list[Row]) -> None:
        """Stores all epochs so far, of which the last is new."""
        files.write_text(self._history, history_csv(rows))
        row = rows[-1]
        with self._writer.as_default(step=int(row["epoch"])):
            for name in HISTORY_FIELDS[1:]:
                tf.summary.scalar(name, row[name])
        self._writer.flush()

    def close(self) -> None:
        """Closes the TensorBoard file."""
        self._writer.close()


def history_csv(rows: list[Row]) -> str:
    """Epochs as CSV text with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, HISTORY_FIELDS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _shortened(name, row[name]) for name in HISTORY_FIELDS})
    return text.getvalue()


def epoch_line(row: Row, *, epochs: int, best: bool) -> str:
    """One epoch in one line of at most 80 columns."""
    return (
        f"epoch {int(row['epoch'])}/{epochs}  loss {row['loss']:.3f}  "
        f"val loss {row['val_loss']:.3f}  acc {row['val_accuracy']:.3f}  "
        f"AUROC {row['val_auroc']:.4f}{' *' if best else '  '} "
        f"{row['images_per_second']:,.0f} images/s"
    )


def save_model(model: keras.Model, path: Path) -> None:
    """Writes a `.keras` file, whole or not at all."""
    with files.written_aside(path) as aside:
        model.save(aside)


def _shortened(name: str, value: Any) -> Any:
    return int(value) if name == "epoch" else f"{value:.6g}"
