"""The part of `report.md` that says which topics of reporting checklists it answers, and which its author must.

CLAIM: Tejani et al., "Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update", Radiology:
Artificial Intelligence 6(4), 2024, https://doi.org/10.1148/ryai.240300: 44 items. They are listed by section and
topic in this project's own words; the article has their wording and numbers.

TRIPOD+AI: Collins et al., BMJ 385, 2024, https://doi.org/10.1136/bmj-2023-078378: 27 items.
"""

import dataclasses

from engine.runs import markdown

HERE, PARTLY, AUTHOR = "here", "partly here", "author"
CLAIM = "https://doi.org/10.1148/ryai.240300"
TRIPOD_AI = "https://doi.org/10.1136/bmj-2023-078378"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    """What a report holds, by which topics are answered.

    Attributes:
        intended_use, data, limits, licence, text: whether the run's makers wrote of it.
        audit: whether copies, leaks and left-out files are recorded.
        held_out: whether a rule held images out.
        training: whether settings, versions and hardware are recorded.
        ensemble: whether several runs are averaged.
        internal, external: whether unseen images of the run's own data set, and other images, were
            measured. Whether those come from elsewhere, their files do not tell.
        strata, shifts: whether figures were given by stratum, and under changes of the images.
    """

    intended_use: bool = False
    data: bool = False
    limits: bool = False
    licence: bool = False
    audit: bool = False
    held_out: bool = False
    training: bool = False
    ensemble: bool = False
    internal: bool = False
    external: bool = False
    strata: bool = False
    shifts: bool = False


def section(answers: Answers) -> list[str]:
    """The section, with one row for each of the 44 items."""
    rows = claim_rows(answers)
    counts = {answer: sum(row[2] == answer for row in rows) for answer in (HERE, PARTLY, AUTHOR)}
    return [
        "## Reporting checklists",
        f"[CLAIM 2024]({CLAIM}) asks 44 questions of a study of AI in medical imaging. This report answers "
        f"{counts[HERE]} of them, {counts[PARTLY]} in part; {counts[AUTHOR]} are its author's to answer.",
        markdown.folded(
            "CLAIM 2024, by section and topic",
            markdown.table(("section", "topic", "answered", "where, or by whom"), rows, left=4),
        ),
        f"[TRIPOD+AI]({TRIPOD_AI}) (27 items) asks for much of the same of clinical prediction models, and "
        "besides for fairness, for the involvement of patients and the public, and for open science: "
        "strata serve the first, the others are the author's.",
    ]


def claim_rows(answers: Answers) -> list[tuple[str, str, str, str]]:
    """(section, topic, answer, where) of each item, in the checklist's order."""
    return [
        (part, topic, *answer)
        for part, topics in _claim(answers).items()
        for topic, answer in topics
    ]


def _claim(
    has: Answers,
) -> dict[str, list[tuple[str, tuple[str, str]]]]:
    author = (AUTHOR, "author")
    evaluated = has.internal or has.external
    training = (HERE, "Training") if has.training else author
    data = (HERE if has.data else PARTLY, "Data") if has.training else author
    results = (HERE, "How well") if evaluated else author
    return {
        "Title, abstract": [("AI named in the title", author), ("structured abstract", author)],
        "Introduction": [
            ("background and clinical role", author),
            ("aims and hypotheses", author),
        ],
        "Study design": [
            ("prospective or retrospective", author),
            ("goal", (PARTLY, "Intended use") if has.intended_use else author),
        ],
        "Data": [
            ("sources", data),
            ("inclusion and exclusion", author),
            ("preprocessing", (HERE, "Data; Training: settings") if has.training else author),
            ("selection of subsets", (PARTLY, "Data: held out") if has.held_out else author),
            ("de-identification", author),
            ("missing data", (PARTLY, "Data: left out") if has.audit else author),
            ("image acquisition", author),
        ],
        "Reference standard": [
            ("definition", author),
            ("reason for its choice", author),
            ("who annotated", author),
            ("how test data were annotated", author),
            ("variability of annotators", author),
        ],
        "Partitions": [
            ("assignment and proportions", (HERE, "Data") if has.training else author),
            (
                "level at which they are disjoint",
                (HERE, "Data: groups, leaks") if has.audit else author,
            ),
        ],
        "Testing data": [("intended size", author)],
        "Model": [
            ("architecture", (PARTLY, "Training: network") if has.training else author),
            ("software and versions", training),
            ("initial parameters", (HERE, "Training: settings") if has.training else author),
        ],
        "Training": [
            ("procedure, augmentation, hyperparameters", training),
            (
                "choice of the final model",
                (HERE, "Training: best epoch") if has.training else author,
            ),
            ("ensemble", (HERE, "Members") if has.ensemble else (HERE, "none: a single run"))
            if has.training
            else ("ensemble", author),
        ],
        "Evaluation": [
            ("metrics", results),
            ("uncertainty", (HERE, "How well: intervals") if evaluated else author),
            (
                "robustness",
                (HERE, "How well: changed images") if has.shifts else author,
            ),
            ("explanations", (AUTHOR, "author; `python -m engine.explain` draws maps")),
            ("internal testing", (HERE, "How well") if has.internal else author),
            (
                "external testing",
                (PARTLY, "How well; author: from where") if has.external else author,
            ),
            ("trial registration", author),
        ],
        "Results: data": [
            ("numbers included and excluded", (PARTLY, "Data") if has.audit else author),
            (
                "characteristics of patients by partition",
                (PARTLY, "How well: strata") if has.strata else author,
            ),
        ],
        "Results: model": [
            (
                "performance on all partitions and subgroups",
                (HERE if has.strata else PARTLY, "How well"),
            )
            if evaluated
            else ("performance on all partitions and subgroups", author),
            ("diagnostic accuracy with intervals", results),
            (
                "analysis of failures",
                (PARTLY, "How well: confusion matrix") if evaluated else author,
            ),
        ],
        "Discussion": [
            ("limitations", (HERE if has.limits else PARTLY, "Limits")),
            ("implications for practice", author),
        ],
        "Other": [
            ("protocol", author),
            (
                "availability of software, model and data",
                (PARTLY, "Licence; Training: source") if has.licence else author,
            ),
            ("funding", author),
        ],
    }
