"""The parts of `report.md` on what a model is for, and on its limits as far as the run's own files tell them."""

from collections.abc import Mapping, Sequence
from typing import Any

from engine.base.wording import counted
from engine.metrics.evaluation import Evaluation
from engine.runs import card_text, evaluation_ranking, markdown
from engine.runs.card_text import CardText
from engine.runs.data_report import mapping, number
from engine.runs.evaluation_ranking import Measured
from engine.runs.run_directory import RunDirectory

Json = Mapping[str, Any]
_FEW_IMAGES = 100  # of a class: a rate of 90 % then has an interval of 12 points or more
NOT_WRITTEN = (
    "*Not written yet.* `python -m engine.report RUN --template` makes a `card.md` in the run's "
    "directory, to be filled in by those who know; this report takes it up."
)
_GENERAL = (
    "No diagnosis, triage or treatment: it is no medical device, and nobody has shown that it helps "
    "patients.",
    "No images that differ from those under Data in body part, modality, view or kind of patient: it "
    "gives a probability for any image, whatever it shows.",
)


def uses(text: CardText) -> list[str]:
    """The sections on intended use and on what is not intended."""
    own = text.get(card_text.NOT_INTENDED)
    return [
        "## Intended use",
        text.get(card_text.INTENDED) or NOT_WRITTEN,
        "### Not intended",
        *([own] if own else []),
        _listed(_GENERAL),
    ]


def limits(run: RunDirectory, data: Json, ranking: Sequence[Measured], text: CardText) -> list[str]:
    """The section on limits: what the run's files show, then what its makers add."""
    unseen = [each.result for each in ranking if each.leads and each.result is not None]
    found = [
        *_of_evaluations(ranking, unseen),
        *_of_data(data),
        *_of_uses(run, ranking),
        "Labels were taken as they are: no reader looked at the images for this report.",
    ]
    return [
        "## Limits",
        _listed(found),
        *([text.get(card_text.LIMITS)] if text.get(card_text.LIMITS) else []),
    ]


def _of_evaluations(ranking: Sequence[Measured], unseen: Sequence[Evaluation]) -> list[str]:
    if not unseen:
        return ["Not measured on images that neither training nor a choice used."]
    found = []
    if evaluation_ranking.only_own(ranking):
        found.append("Not measured on images from another place than the training images.")
    counted_classes = [
        (name, count)
        for result in unseen[:1]
        for name, count in zip(
            result.class_names, result.confusion.sum(axis=1).tolist(), strict=True
        )
    ]
    few = [(name, count) for name, count in counted_classes if count < _FEW_IMAGES]
    if few:
        named = ", ".join(
            f"{markdown.text(name)} {counted(int(count), 'image')}" for name, count in few
        )
        found.append(f"The hardest set is small, so that its intervals are wide: {named}.")
    if not any(result.strata for result in unseen):
        found.append(
            "Not measured by sex, age, view or device (`python -m engine.evaluate --strata` does): "
            "whether it serves all patients alike is unknown."
        )
    if not any(result.shifts for result in unseen):
        found.append(
            "Not measured under changed exposure, contrast, framing or sharpness (`--shifts` does)."
        )
    return found


def _of_data(data: Json) -> list[str]:
    if not data:
        return []
    audit, found = mapping(data.get("audit")), []
    if data.get("group_by") == "none" or number(audit, "patients") == 0:
        found.append(
            "Patients are unknown: images of one patient may be in several splits, and intervals treat "
            "every image as a patient of its own."
        )
    if not audit:
        found.append(
            "Copies, leaks and left-out files were not recorded (a run of an earlier version)."
        )
    left = (number(audit, "leaking_images") or 0) - (number(audit, "dropped") or 0)
    if left > 0:
        found.append(
            f"{counted(left, 'image')} share a patient or their content with another split, which makes "
            "figures on the run's own splits look better than they are."
        )
    conflicts = number(audit, "conflicting_labels") or 0
    if conflicts:
        found.append(
            f"{counted(conflicts, 'image')} stand under two classes with the same content."
        )
    return found


def _of_uses(run: RunDirectory, ranking: Sequence[Measured]) -> list[str]:
    found = []
    if not run.applicability.is_file() and run.model.is_file():
        found.append("It cannot tell how unlike the training images an image is.")
    calibrations = [
        each.result.subject.calibration
        for each in ranking
        if each.is_unseen and each.result is not None and each.result.subject is not None
    ]
    if any(calibration is not None for calibration in calibrations):
        found.append(
            "Its probabilities hold for the share of each class that is given under the results; "
            "elsewhere `--prevalence` adjusts them."
        )
    return found


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
