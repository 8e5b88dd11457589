"""An evaluation as `engine.evaluate` stores it, of made-up scores: for tests of what reads it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.base import files
from engine.metrics import evaluation
from engine.metrics.estimate import Estimate
from engine.metrics.evaluation import Evaluation
from engine.metrics.shift_results import ShiftResults
from engine.metrics.subject import Subject
from engine.runs import stored_evaluations
from engine.runs.run_directory import RunDirectory

SUBJECT = Subject(
    name="test",
    split="test",
    shards="data/shards",
    fingerprint="abc123",
    identity="d" * 64,
    model=None,
    threshold_rule="youden",
)


def make_evaluation(
    class_names: Sequence[str] = ("NORMAL", "PNEUMONIA"),
    *,
    metrics: Mapping[str, Estimate] | None = None,
    **changes: Any,
) -> Evaluation:
    """The figures of 60 examples; `metrics` replaces some, `changes` replaces other attributes."""
    random = np.random.default_rng(0)
    labels = np.arange(60) % len(class_names)
    scores = random.dirichlet(np.ones(len(class_names)), 60) + np.eye(len(class_names))[labels]
    found = evaluation.evaluate(
        labels,
        scores / 2,
        [f"p{i // 2}" for i in range(60)],
        class_names=class_names,
        resamples=200,
    )
    merged = {**found.metrics, **(metrics or {})}
    return dataclasses.replace(found, **{"subject": SUBJECT, **changes, "metrics": merged})


def store(run: RunDirectory, result: Evaluation, name: str = "test") -> None:
    """Writes metrics.json, and shifts.json where shifts were measured."""
    values = result.to_json()
    shifts: ShiftResults | None = values.pop("shifts", None)
    if shifts is not None:
        files.write_json(run.evaluation(name) / stored_evaluations.SHIFTS, shifts)
    files.write_json(run.evaluation(name) / stored_evaluations.METRICS, values)
