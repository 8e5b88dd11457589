"""Runs of training commands in other processes: their figures, and how far they have come."""

import csv
import json
import time

import numpy as np

from engine.runs.run_directory import RunDirectory
from engine.training import checkpoints


def history(run):
    """What an epoch comes to, float[epochs, 5]: loss and accuracy, of validation too, and the rate."""
    rows = list(csv.DictReader(RunDirectory(run).history.open()))
    names = ("loss", "accuracy", "val_loss", "val_auroc", "learning_rate")
    return np.array([[float(row[name]) for name in names] for row in rows])


def newest_step(run):
    """The step of the newest checkpoint; 0 if there is none."""
    saved = checkpoints.paths(RunDirectory(run).checkpoints)
    return max((int(path.stem.partition("-")[2]) for path in saved), default=0)


def wait_for_step(run, step):
    """Returns once there is a checkpoint of that step or a later one."""
    deadline = time.monotonic() + 120
    while newest_step(run) < step:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def metrics_of(run, name="test"):
    """What an evaluation of a run stored."""
    path = RunDirectory(run).evaluation(name) / "metrics.json"
    return json.loads(path.read_text(encoding="utf-8"))
