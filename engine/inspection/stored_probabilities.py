"""Probabilities that a run's evaluations stored for a set of images, those of its present model alone."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from engine.base.config import UserError
from engine.runs import contract, evaluation_ranking, stored_predictions
from engine.runs.evaluation_ranking import Measured, Relation
from engine.runs.run_directory import RunDirectory
from engine.runs.stored_predictions import StoredPredictions

_PERHAPS_TRAINED = (Relation.LEARNED, Relation.PERHAPS_TRAINED, Relation.TRAINED)
_RELATIONS = tuple(Relation)


@dataclasses.dataclass(frozen=True)
class StoredProbability:
    """Of one image.

    Attributes:
        label: the class it was labelled with.
        values: float64[K], in the order of the run's classes.
        was_trained_on: whether the run, or one that it learned from, may have been trained on it.
    """

    label: str
    values: np.ndarray
    was_trained_on: bool


@dataclasses.dataclass(frozen=True)
class StoredProbabilities:
    """What the evaluations of a set of images hold.

    Attributes:
        by_path: path -> probability; an image of several evaluations has that of the one furthest from
            training.
        used: the evaluations that `by_path` comes from.
        unused: evaluation of these images -> why its probabilities are not used.
    """

    by_path: Mapping[str, StoredProbability]
    used: tuple[str, ...]
    unused: Mapping[str, str]

    @property
    def unused_text(self) -> str:
        """`test, figures of an earlier model; ...`; '' where all are used."""
        return "; ".join(f"{name}, {reason}" for name, reason in self.unused.items())


def read(run: RunDirectory, fingerprint: str) -> StoredProbabilities:
    """The stored probabilities of the images with a fingerprint.

    Evaluations by an earlier model, of an average of runs, or for another prevalence are not used: their
    probabilities are not those that the run gives now.
    """
    class_names = contract.stored(run).class_names
    of_these = [
        measured
        for measured in evaluation_ranking.ranked(run)
        if measured.result is not None
        and measured.result.subject is not None
        and measured.result.subject.fingerprint == fingerprint
    ]
    by_path: dict[str, StoredProbability] = {}
    used: list[str] = []
    unused: dict[str, str] = {}
    for measured in sorted(of_these, key=lambda each: _RELATIONS.index(each.relation)):
        try:
            found = _predictions(run, measured, class_names)
        except UserError as error:
            unused[measured.name] = str(error)
            continue
        values = found.probabilities
        if values.ndim == 1:
            values = np.stack([1 - values, values], axis=1)
        was_trained_on = measured.relation in _PERHAPS_TRAINED
        for path, label, own in zip(found.paths, found.labels, values, strict=True):
            entry = StoredProbability(class_names[label], own, was_trained_on)
            by_path.setdefault(path, entry)
        used.append(measured.name)
    return StoredProbabilities(by_path, tuple(used), unused)


def _predictions(
    run: RunDirectory, measured: Measured, class_names: tuple[str, ...]
) -> StoredPredictions:
    """The predictions of one evaluation.

    Raises:
        UserError: they are not those that the run gives now, or cannot be read.
    """
    result = measured.result
    assert result is not None and result.subject is not None
    if not measured.is_current:
        raise UserError(measured.account)
    if measured.altered:
        raise UserError(measured.altered)
    if result.subject.prevalence is not None:
        raise UserError("probabilities for another prevalence")
    if tuple(result.class_names) != class_names:
        raise UserError("other classes than the run's")
    return stored_predictions.read(run.evaluation(measured.name), result)
