"""`accuracy`: the minutes of training to a validation AUROC, as a median over seeds.

The default network with default settings, as `engine.train` runs it. The time is that of whole epochs;
start-up is not included. The AUROC is that of the validation split after each epoch, with averaged
weights.
"""

import math
import statistics
import tempfile
from pathlib import Path

from benchmarks.context import Context
from benchmarks.reports import Report
from engine.base.settings import TrainConfig
from engine.training import trainer
from engine.training.history import Row

TARGETS = (0.95, 0.98, 0.99)


def run(context: Context) -> Report:
    """Trains once per seed."""
    report = Report("accuracy", "minutes of training to an AUROC on held-out validation patients")
    seeds = 1 if context.config.quick else context.config.num_seeds
    epochs = 2 if context.config.quick else context.config.epochs
    histories = [_train(context, seed, epochs) for seed in range(seeds)]
    for target in TARGETS:
        minutes = [minutes_to(history, target) for history in histories]
        reached = sum(math.isfinite(each) for each in minutes)
        median = statistics.median(minutes)
        if math.isfinite(median):
            report.figures[f"minutes to AUROC {target}"] = median
        report.sentences.append(f"AUROC {target}: reached by {reached} of {seeds} seeds")
    best = [max(row["val_auroc"] for row in history) for history in histories]
    report.figures["best AUROC, median over seeds"] = statistics.median(best)
    speeds = [row["images_per_second"] for history in histories for row in history[1:] or history]
    report.figures["images/s, median over epochs"] = statistics.median(speeds)
    return report


def minutes_to(history: list[Row], target: float) -> float:
    """Minutes of epochs until the validation AUROC reached `target`; infinite if it never did."""
    seconds = 0.0
    for row in history:
        seconds += row["seconds"]
        if row["val_auroc"] >= target:
            return seconds / 60
    return math.inf


def _train(context: Context, seed: int, epochs: int) -> list[Row]:
    context.tell(f"training, seed {seed}, {epochs} epochs")
    config = TrainConfig(global_batch_size=context.batch_size, epochs=epochs, seed=seed)
    with tempfile.TemporaryDirectory() as directory:
        run_directory = Path(directory) / "run"
        return trainer.train(
            config, context.workload.shards, run_directory, say=context.tell
        ).history
