"""`report.md` and `model_card.md`: what a model is for, how good it is, on what and how it was trained, its limits.

Each part is made from one file of a run and omitted if that file does not exist yet, so that the report can be
written at any time: after training, and after every evaluation. `model_card.md` is the same text below the metadata
that model hubs read. What only people know of a model comes from `card.md` (`engine.runs.card_text`).
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.base import files, progress
from engine.base.config import UserError
from engine.base.progress import format_duration
from engine.runs import (
    card_text,
    checklists,
    data_report,
    ensemble,
    evaluation_ranking,
    evaluation_report,
    limits_report,
    markdown,
    model_index,
    redaction,
    training_report,
)
from engine.runs.card_text import CardText
from engine.runs.checklists import Answers
from engine.runs.data_report import mapping
from engine.runs.evaluation_ranking import Evaluations, Measured, Relation
from engine.runs.run_directory import RunDirectory

Json = Mapping[str, Any]
# Code, in which nothing is a link; or the target of one that leads to a file beside the text.
_CODE_OR_LINK = re.compile(
    r"^(?P<fence>```+|~~~+).*?(?:^(?P=fence)|\Z)|(?P<ticks>`+)[^`]+(?P=ticks)"
    r"|(?<=\]\()(?P<open><?)(?P<link>(?![a-zA-Z][a-zA-Z0-9+.-]*:|[#/<])[^)\s>]+)",
    re.DOTALL | re.MULTILINE,
)


def write_report(run: RunDirectory | Path | str, *, evaluations: Evaluations | None = None) -> Path:
    """Writes `report.md` and `model_card.md` into a run directory; returns the path of the first.

    A `card.md` that cannot be read is left out, with a line for the user.

    Args:
        evaluations: those of the run, where they have been read; as in the functions below.
    """
    run = _opened(run)
    evaluations = evaluations or evaluation_ranking.of_run(run)
    try:
        text = card_text.read(run)
    except UserError as error:
        progress.say(f"warning: {error}")
        text = CardText()
    files.write_text(run.report, render(run, text, evaluations=evaluations))
    files.write_text(run.model_card, _card(run, text, evaluations))
    return run.report


def write_card(
    run: RunDirectory | Path | str, path: Path, *, evaluations: Evaluations | None = None
) -> None:
    """Writes the model card with its metadata to `path`, its links leading to the run's files from there.

    Raises:
        UserError: the run's `card.md` cannot be read.
    """
    run = _opened(run)
    text = card_text.read(run)
    card = _card(run, text, evaluations or evaluation_ranking.of_run(run))
    files.write_text(path, _rebased(card, run.path, Path(path).parent))


def write_page(
    run: RunDirectory | Path | str, path: Path, *, evaluations: Evaluations | None = None
) -> None:
    """Writes the report as one HTML page that holds its figures.

    Raises:
        UserError: the run's `card.md` cannot be read.
    """
    run = _opened(run)
    text = card_text.read(run)
    from engine.runs import html_page  # and with it a parser, which a training does not need

    shown = render(run, text, evaluations=evaluations)
    html_page.write(Path(path), shown, title=_name(run, text), base=run.path)


def render(
    run: RunDirectory,
    text: CardText | None = None,
    *,
    evaluations: Evaluations | None = None,
    to_pass_on: bool = False,
) -> str:
    """The report as Markdown, its links relative to the run directory.

    Args:
        text: the run's `card.md`; None for one without any part.
        to_pass_on: whether it is the text of a card, without what `redaction` leaves out.
    """
    text = CardText() if text is None else text
    settings, environment = _read(run.config), _read(run.environment)
    if to_pass_on:
        settings, environment = redaction.settings(settings), redaction.environment(environment)
    training, data = _read(run.training_summary), mapping(environment.get("data"))
    evaluations = evaluations or evaluation_ranking.of_run(run)
    ranking = evaluations.ranking
    parts = [
        f"# Report: {markdown.text(_name(run, text))}",
        "> **Not for diagnosis.** This is a measurement of a research model on one data set. It says "
        "nothing about patients, devices or hospitals that are not in the data set.",
        *limits_report.uses(text),
        "## How well",
        *evaluation_report.sections(run, evaluations, to_pass_on=to_pass_on),
        *limits_report.limits(run, data, ranking, text),
        *data_report.section(data, text),
        *_members(run),
        *training_report.section(run, settings, environment, training),
        *training_report.cost(environment, training),
        *checklists.section(_answers(run, text, data, training, ranking)),
        *_closing(text),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _opened(run: RunDirectory | Path | str) -> RunDirectory:
    return run if isinstance(run, RunDirectory) else ensemble.opened(run)


def _name(run: RunDirectory, text: CardText) -> str:
    return text.name or run.path.resolve().name


def _card(run: RunDirectory, text: CardText, evaluations: Evaluations) -> str:
    head = model_index.front_matter(run, text, evaluations.ranking)
    return head + render(run, text, evaluations=evaluations, to_pass_on=True)


def _rebased(text: str, base: Path, directory: Path) -> str:
    """Markdown whose links are relative to `base`, with links relative to `directory`."""
    prefix = markdown.link(base.resolve(), directory.resolve())
    if prefix == ".":
        return text
    return _CODE_OR_LINK.sub(
        lambda found: (
            f"{found['open']}{prefix}/{found['link']}" if found["link"] else found.group()
        ),
        text,
    )


def _members(run: RunDirectory) -> list[str]:
    """The runs of an ensemble."""
    if not run.members:
        return []
    rows = []
    for member in run.members:
        training = _read(member.training_summary)
        link = markdown.link(member.report, run.path)
        name = markdown.text(member.path.name)
        rows.append(
            (
                f"[{name}]({link})" if member.report.is_file() else name,
                training_report.best(training),
                format_duration(training["seconds"]) if "seconds" in training else "",
            )
        )
    return [
        "## Members",
        f"The average of the log-odds of {len(run.members)} runs, which differ in their seed:",
        markdown.table(("run", "best epoch", "trained in"), rows),
    ]


def _answers(
    run: RunDirectory, text: CardText, data: Json, training: Json, ranking: Sequence[Measured]
) -> Answers:
    """What the report holds, for the checklists."""
    audit = mapping(data.get("audit"))
    unseen = [each for each in ranking if each.leads and each.result is not None]
    results = [each.result for each in unseen if each.result is not None]
    return Answers(
        intended_use=bool(text.get(card_text.INTENDED)),
        data=bool(text.get(card_text.DATA)),
        limits=bool(text.get(card_text.LIMITS)),
        licence=bool(text.get(card_text.LICENCE)),
        audit=bool(audit),
        held_out=bool(audit.get("hold_out")),
        training=bool(data and (training or run.members)),
        ensemble=bool(run.members),
        internal=any(each.relation is not Relation.OTHER for each in unseen),
        external=any(each.relation is Relation.OTHER for each in unseen),
        strata=any(result.strata for result in results),
        shifts=any(result.shifts is not None for result in results),
    )


def _closing(text: CardText) -> list[str]:
    """Licence, contact and citation, and what else the run's makers wrote."""
    named = {
        name: text.get(name) for name in (card_text.LICENCE, card_text.CONTACT, card_text.CITATION)
    }
    parts = {**named, **text.others}
    return [
        line for name, part in parts.items() if part for line in (f"## {markdown.text(name)}", part)
    ]


def _read(path: Path) -> Json:
    """The JSON object in a file; empty where the file is absent or damaged."""
    try:
        return mapping(files.read_json(path))
    except (OSError, ValueError):
        return {}
