"""A run's evaluations, those that say most about new images first: of the unseen sets, the hardest.

The lowest figure is the honest headline: a random split of one data set hides what other images show.
"""

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

from engine.base.config import UserError
from engine.metrics.evaluation import Evaluation
from engine.metrics.subject import Subject
from engine.runs import lineage, stored_evaluations
from engine.runs.run_directory import RunDirectory


class Relation(enum.Enum):
    """What the measured examples are to the run; its value is how a report calls them."""

    OTHER = "other images than the run's data set"
    HELD_OUT = "held out of the run's data set by --hold-out"
    OWN = "drawn from the run's own data set"
    CHOSEN_ON = "best epoch and threshold were chosen on it"
    LEARNED = "a teacher, or the run that this one started from, may have been trained on it"
    PERHAPS_TRAINED = "the run's images, split in another way"
    TRAINED = "the run was trained on it"

    @property
    def is_unseen(self) -> bool:
        """Whether neither training nor a choice used the examples."""
        return self in (Relation.OTHER, Relation.HELD_OUT, Relation.OWN)


@dataclasses.dataclass(frozen=True)
class Measured:
    """One evaluation of a run.

    Attributes:
        result: None where it cannot be read; `problem` then says why.
        is_current: whether its figures are of the run's model as it is now.
        averaged: the runs whose average was measured, where it is not this run alone.
    """

    name: str
    result: Evaluation | None
    problem: str = ""
    relation: Relation = Relation.OWN
    is_current: bool = True
    averaged: tuple[str, ...] = ()

    @property
    def leads(self) -> bool:
        """Whether a report may lead with it: figures of the run's present model on unseen examples."""
        return self.result is not None and self.is_current and self.relation.is_unseen

    @property
    def account(self) -> str:
        """What the figures are, in a few words."""
        if self.averaged:
            return f"average of {len(self.averaged)} runs"
        return self.relation.value if self.is_current else "figures of an earlier model"

    @property
    def title(self) -> str:
        """`Test split`, or `name (test split)`."""
        subject = self.result.subject if self.result else None
        if subject is None:
            return self.name
        if self.name == subject.split:
            return f"{subject.split.capitalize()} split"
        return f"{self.name} ({subject.split} split)"


def ranked(run: RunDirectory) -> list[Measured]:
    """All evaluations: unseen sets by AUROC, the lowest first, then what training or choices used,
    then figures of another model than the run's own, then what cannot be read."""
    trained_on, model = _trained_on(run), run.model_digest()
    found = [_measured(run, name, trained_on, model) for name in stored_evaluations.names(run)]
    relations = list(Relation)

    def place(measured: Measured) -> tuple[float, ...]:
        if measured.result is None:
            return (3,)
        if measured.leads:
            return (0, *_difficulty(measured.result))
        return (1 if measured.is_current else 2, relations.index(measured.relation))

    return sorted(found, key=place)


def only_own(ranking: list[Measured]) -> bool:
    """Whether all that was measured comes from the run's own data set."""
    return not any(each.leads and each.relation is Relation.OTHER for each in ranking)


def _difficulty(result: Evaluation) -> tuple[float, float]:
    """Sorts by AUROC; results without one come behind, by accuracy."""
    area, accuracy = result.metrics["auroc"].value, result.metrics["accuracy"].value
    return (2.0 if area is None else area), (2.0 if accuracy is None else accuracy)


def _measured(
    run: RunDirectory, name: str, trained_on: Mapping[str, Any], model: str | None
) -> Measured:
    try:
        result = stored_evaluations.read(run.evaluation(name))
    except UserError as error:
        return Measured(name, None, str(error))
    subject = result.subject
    if subject is None:
        return Measured(name, result, is_current=model is None)
    is_current = not subject.averaged and (model is None or subject.model == model)
    return Measured(name, result, "", relation(trained_on, subject), is_current, subject.averaged)


def relation(trained_on: Mapping[str, Any], subject: Subject) -> Relation:
    """What a run's data set (`environment.json`'s, which may lack parts) says of measured examples."""
    found = _own_relation(trained_on, subject)
    measured = subject.fingerprint, subject.identity, subject.split
    return (
        Relation.LEARNED if found.is_unseen and lineage.may_know(trained_on, *measured) else found
    )


def _own_relation(trained_on: Mapping[str, Any], subject: Subject) -> Relation:
    if trained_on.get("fingerprint", subject.fingerprint) != subject.fingerprint:
        return Relation.OTHER
    if trained_on.get("identity", subject.identity) != subject.identity:
        return Relation.PERHAPS_TRAINED
    if subject.split == "train":
        return Relation.TRAINED
    if subject.split == "validation":
        return Relation.CHOSEN_ON
    return Relation.OWN if subject.held_out_by is None else Relation.HELD_OUT


def _trained_on(run: RunDirectory) -> Mapping[str, Any]:
    try:
        data = run.read_environment().get("data")
    except (AttributeError, UserError):
        return {}
    return data if isinstance(data, Mapping) else {}
