"""The record of a training's epochs: rows, `history.csv`, TensorBoard scalars, one line per epoch."""

import csv
import io
from pathlib import Path
from typing import Any

import tensorflow as tf

from engine.base import files

Row = dict[str, float]
SAMPLE_FIELDS = ("sample_loss", "sample_accuracy", "sample_auroc")  # see `training_sample`
HISTORY_FIELDS = (
    "epoch", "loss", "accuracy", *SAMPLE_FIELDS, "val_loss", "val_accuracy", "val_auroc",
    "learning_rate", "images_per_second", "train_seconds", "seconds",
)  # fmt: skip
CLOCK_FIELDS = ("images_per_second", "train_seconds", "seconds")  # differ between equal runs


class Logs:
    """`history.csv`, rewritten each epoch, and TensorBoard scalars."""

    def __init__(self, history: Path, tensorboard: Path) -> None:
        self._history = history
        self._writer = tf.summary.create_file_writer(str(tensorboard))

    def write(self, rows: list[Row]) -> None:
        """Stores all epochs so far, of which the last is new."""
        files.write_text(self._history, history_csv(rows))
        row = rows[-1]
        with self._writer.as_default(step=int(row["epoch"])):
            for name in HISTORY_FIELDS[1:]:
                if name in row:
                    tf.summary.scalar(name, row[name])
        self._writer.flush()

    def close(self) -> None:
        """Closes the TensorBoard file."""
        self._writer.close()


def history_csv(rows: list[Row]) -> str:
    """Epochs as CSV text with a header; what was not measured is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, HISTORY_FIELDS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        known = {name: row[name] for name in HISTORY_FIELDS if name in row}
        writer.writerow({name: _shortened(name, value) for name, value in known.items()})
    return text.getvalue()


def epoch_line(row: Row, *, epochs: int, best: bool) -> str:
    """One epoch in one line of at most 80 columns."""
    return (
        f"epoch {int(row['epoch'])}/{epochs}  loss {row['loss']:.3f}  "
        f"val loss {row['val_loss']:.3f}  acc {row['val_accuracy']:.3f}  "
        f"AUROC {row['val_auroc']:.4f}{' *' if best else '  '} "
        f"{row['images_per_second']:,.0f} images/s"
    )


def _shortened(name: str, value: Any) -> Any:
    return int(value) if name == "epoch" else f"{value:.6g}"
