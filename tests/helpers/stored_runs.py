"""Runs that hold an evaluation without a model: predictions and figures of given log-odds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from engine.base import files
from engine.evaluation import evaluation_files
from engine.evaluation.evaluation_files import SplitPredictions
from engine.metrics import evaluation
from engine.metrics.subject import Subject

CLASS_NAMES = ("NORMAL", "PNEUMONIA")


def scores(count: int = 160, *, noise: float = 1.0, seed: int = 0, classes: int = 2):
    """Labels int[N], the same for all noise, and log-odds float[N] or float[N, K]."""
    labels = np.random.default_rng(7).integers(0, classes, count)
    random = np.random.default_rng(seed)
    if classes == 2:
        return labels, 2.0 * labels - 1 + noise * random.normal(size=count)
    return labels, 2 * np.eye(classes)[labels] - 1 + noise * random.normal(size=(count, classes))


def store(
    directory: Path,
    labels: np.ndarray,
    log_odds: np.ndarray,
    *,
    name: str = "test",
    patients: Sequence[str] | None = None,
    paths: Sequence[str] | None = None,
    class_names: Sequence[str] = CLASS_NAMES,
    threshold: float | None = 0.5,
    settings: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    **subject: Any,
) -> Path:
    """Writes `evaluation/<name>`, config.json and training.json; returns the run's directory.

    Args:
        subject: fields of `Subject` other than its defaults here.
    """
    patients = [f"patient {i // 2}" for i in range(len(labels))] if patients is None else patients
    paths = [f"images/{i:04d}.png" for i in range(len(labels))] if paths is None else paths
    probabilities = (
        special.expit(log_odds) if log_odds.ndim == 1 else special.softmax(log_odds, axis=1)
    )
    of = {
        "split": "test",
        "shards": "shards",
        "fingerprint": "f" * 64,
        "identity": "i" * 64,
        "model": None,
        **subject,
    }
    result = evaluation.evaluate(
        labels,
        probabilities,
        patients,
        class_names=class_names,
        threshold=threshold,
        log_odds=log_odds,
        resamples=200,
    )
    values = {**result.to_json(), **Subject(name=name, **of).to_json()}
    place = directory / "evaluation" / name
    predictions = SplitPredictions(labels, probabilities, log_odds, list(paths), list(patients))
    evaluation_files.write_predictions(place / "predictions.csv", result, predictions)
    files.write_json(place / "metrics.json", values)
    files.write_json(directory / "config.json", {"model": "cnn", "epochs": 12, **(settings or {})})
    files.write_json(
        directory / "training.json", {"parameters": 4321, "seconds": 75.4, **(training or {})}
    )
    return directory
