"""What a model gave for each image of an evaluation, read back from `predictions.csv`."""

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from engine.base.config import UserError
from engine.metrics.evaluation import Evaluation, confusion_matrix
from engine.metrics.predictions import predict_labels

PREDICTIONS = "predictions.csv"
_AGAIN = "measure again with python -m engine.evaluate"


@dataclasses.dataclass(frozen=True)
class StoredPredictions:
    """The images of an evaluation, in the order of its file.

    Attributes:
        paths, patients: N texts each; a patient is empty where it is unknown.
        labels, predicted: int64[N]; `predicted` is what the threshold decided, also where an image was
            left undecided.
        probabilities, log_odds: float64[N] of class 1, or float64[N, K] of more than two classes.
    """

    paths: list[str]
    patients: list[str]
    labels: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray
    log_odds: np.ndarray

    def ordered(self, places: np.ndarray) -> "StoredPredictions":
        """The same images in another order, int[N]."""
        return StoredPredictions(
            [self.paths[place] for place in places],
            [self.patients[place] for place in places],
            self.labels[places],
            self.predicted[places],
            self.probabilities[places],
            self.log_odds[places],
        )


def read(directory: Path, result: Evaluation) -> StoredPredictions:
    """The predictions of the evaluation in a directory.

    Args:
        result: what `metrics.json` says of it.

    Raises:
        UserError: the file is missing, damaged, of an earlier version, or not that of `result`.
    """
    path = directory / PREDICTIONS
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error}); {_AGAIN}") from error
    names = result.class_names
    several = len(names) > 2
    scores = {
        kind: [f"{kind}_{name}" for name in names] if several else [kind]
        for kind in ("probability", "logit")
    }
    needed = ["path", "label", "predicted", "patient", *scores["probability"], *scores["logit"]]
    absent = [column for column in needed if not rows or column not in rows[0]]
    if absent:
        raise UserError(f"{path}: holds no column {', '.join(absent)}; {_AGAIN}")
    try:
        found = _of_rows(rows, result, scores)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); {_AGAIN}") from error
    confusion = confusion_matrix(found.labels, found.predicted, len(names))
    if not np.array_equal(confusion, result.confusion):
        raise UserError(
            f"{path}: its {len(rows):,} images are not those that metrics.json beside it counts; {_AGAIN}"
        )
    return found


def _of_rows(
    rows: Sequence[Mapping[str, str]], result: Evaluation, scores: Mapping[str, Sequence[str]]
) -> StoredPredictions:
    index = {name: place for place, name in enumerate(result.class_names)}
    probabilities, log_odds = (
        np.array([[float(row[column]) for column in columns] for row in rows])
        for columns in (scores["probability"], scores["logit"])
    )
    if len(index) == 2:
        probabilities, log_odds = probabilities[:, 0], log_odds[:, 0]
    by_threshold = predict_labels(probabilities, result.threshold)
    # The file's word comes first: its digits may fall on the other side of the threshold.
    predicted = [
        index.get(row["predicted"], int(place))
        for row, place in zip(rows, by_threshold, strict=True)
    ]
    return StoredPredictions(
        [row["path"] for row in rows],
        [row["patient"] for row in rows],
        np.array([index[row["label"]] for row in rows]),
        np.array(predicted),
        probabilities,
        log_odds,
    )
