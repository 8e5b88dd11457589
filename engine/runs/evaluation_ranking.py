"""A run's evaluations, those that say most about new images first: of the unseen sets, the hardest.

The lowest figure is the honest headline: a random split of one data set hides what other images show. How hard
a set is, is the lower one of AUROC and balanced accuracy: a threshold that does not hold elsewhere counts too. Of
a set with images of one class, it is the share that is recognized.
"""

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from typing import Any

from engine.base.config import UserError
from engine.metrics.evaluation import Evaluation
from engine.metrics.subject import Subject, are_shares_of
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
        altered: how the settings changed what the set is, so that its figures do not stand for it.
    """

    name: str
    result: Evaluation | None
    problem: str = ""
    relation: Relation = Relation.OWN
    is_current: bool = True
    averaged: tuple[str, ...] = ()
    altered: str = ""

    @property
    def leads(self) -> bool:
        """Whether a report may lead with it: figures of the run's present model on unseen examples, which
        are measured as they are."""
        return self.is_unseen and not self.altered

    @property
    def is_unseen(self) -> bool:
        """Whether it holds figures of the run's present model on unseen examples."""
        return self.result is not None and self.is_current and self.relation.is_unseen

    @property
    def account(self) -> str:
        """What the figures are, in a few words."""
        if self.averaged:
            return f"average of {len(self.averaged)} runs"
        if not self.is_current:
            return "figures of an earlier model"
        return self.altered or self.relation.value

    @property
    def title(self) -> str:
        """`Test split`, or `name (test split)`."""
        subject = self.result.subject if self.result else None
        if subject is None:
            return self.name
        if self.name == subject.split:
            return f"{subject.split.capitalize()} split"
        return f"{self.name} ({subject.split} split)"


@dataclasses.dataclass(frozen=True)
class Evaluations:
    """What a report says of a run's evaluations, read once: that takes a digest of the whole model.

    Attributes:
        model: the digest of the run's model as it is now; None without one.
        ranking: all evaluations: unseen sets, the hardest first, then what settings altered, then what
            training or choices used, then figures of another model than the run's own, then what cannot
            be read.
    """

    model: str | None
    ranking: tuple[Measured, ...]


def of_run(run: RunDirectory) -> Evaluations:
    """Reads a run's evaluations."""
    data, model = trained_on(run), run.model_digest()
    found = [_measured(run, name, data, model) for name in stored_evaluations.names(run)]
    relations = list(Relation)

    def place(measured: Measured) -> tuple[float, ...]:
        if measured.result is None:
            return (3,)
        if measured.leads:
            return (0, *_difficulty(measured.result))
        return (1 if measured.is_current else 2, relations.index(measured.relation))

    return Evaluations(model, tuple(sorted(found, key=place)))


def ranked(run: RunDirectory) -> tuple[Measured, ...]:
    """All evaluations in the order of `Evaluations.ranking`."""
    return of_run(run).ranking


def only_own(ranking: Sequence[Measured]) -> bool:
    """Whether all that was measured comes from the run's own data set."""
    return not any(each.is_unseen and each.relation is Relation.OTHER for each in ranking)


def _difficulty(result: Evaluation) -> tuple[float, float]:
    """The lower one of AUROC and balanced accuracy, or where neither is defined, accuracy; then AUROC."""
    area, balanced, accuracy = (
        result.metrics[name].value for name in ("auroc", "balanced_accuracy", "accuracy")
    )
    first = accuracy if area is None and balanced is None else None
    known = [value for value in (area, balanced, first) if value is not None]
    return min(known, default=2.0), (2.0 if area is None else area)


def _altered(result: Evaluation, subject: Subject) -> str:
    if subject.changed_classes(result.class_names):
        return "classes left out or taken for others"
    if subject.flip_average:
        return "averaged over each image and its mirror image"
    if subject.prevalence_estimated:
        return "probabilities for a prevalence estimated from the images"
    counts = result.confusion.sum(axis=1).tolist()
    if subject.prevalence is not None and not are_shares_of(subject.prevalence, counts):
        return "probabilities for another prevalence"
    return ""


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
    return Measured(
        name,
        result,
        "",
        relation(trained_on, subject),
        is_current,
        subject.averaged,
        _altered(result, subject),
    )


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


def trained_on(run: RunDirectory) -> Mapping[str, Any]:
    """The run's data set as `environment.json` describes it; empty where that cannot be read."""
    try:
        data = run.read_environment().get("data")
    except (AttributeError, UserError):
        return {}
    return data if isinstance(data, Mapping) else {}
