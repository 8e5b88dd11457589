"""The files that `engine.report` writes: report, model card, HTML page, and the template for people's own words."""

from pathlib import Path

from engine.base.config import UserError
from engine.runs import card_text, evaluation_ranking, outputs, report
from engine.runs.run_directory import RunDirectory


def write(
    run: RunDirectory, *, html: str | None = None, output: str | None = None, template: bool = False
) -> dict[str, Path]:
    """Writes a run's report and model card again; returns what was written, by what it is.

    Args:
        html: where to write the report as one page, too.
        output: where to write the model card, too.
        template: whether to write `RUN/card.md` first.

    Raises:
        UserError: there is no run, its `card.md` cannot be read or exists already, or a path cannot be
            written to.
    """
    if not run.config.is_file() and not run.model.is_file():
        raise UserError(
            f"{run.path}: no run directory; expected one that engine.train wrote (config.json)"
        )
    pages = {"page": _target(html, "--html"), "card": _target(output, "--output")}
    outputs.require_distinct({"--html": html, "--output": output})
    written: dict[str, Path] = {}
    if template:
        card_text.write_template(run)
        written["template"] = run.card_text
    card_text.read(run)  # before anything is replaced
    evaluations = evaluation_ranking.of_run(run)
    written["report"] = report.write_report(run, evaluations=evaluations)
    written["model card"] = run.model_card
    if (page := pages["page"]) is not None:
        report.write_page(run, page, evaluations=evaluations)
        written["page"] = page
    if (card := pages["card"]) is not None:
        report.write_card(run, card, evaluations=evaluations)
        written["card"] = card
    return written


def _target(path: str | None, flag: str) -> Path | None:
    """The path, if a file can be written there that is part of no run."""
    if path is None:
        return None
    outputs.require_text_file(Path(path), flag)
    return Path(path)
