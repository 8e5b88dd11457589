"""The part of an evaluation's section in `report.md` on strata: figures in each, within, and the probe."""

from engine.base.wording import counted
from engine.metrics.estimate import title
from engine.metrics.evaluation import Evaluation
from engine.metrics.strata_results import METRICS, StrataResults
from engine.runs import markdown

_MOST_CLASSES = 10  # whose counts fit a row


def section(result: Evaluation) -> list[str]:
    """The parts for all columns that were measured."""
    return [part for column in result.strata for part in _of_column(column, result.class_names)]


def _of_column(column: StrataResults, class_names: tuple[str, ...]) -> list[str]:
    name = markdown.text(column.column)
    return [
        f"#### By {name}",
        f"{name[:1].upper()}{name[1:]} as in {markdown.text(column.source)}"
        + (f"; {counted(column.num_without, 'image')} without." if column.num_without else "."),
        _table(column, class_names),
        f"AUROC within {name}: **{markdown.text(column.within)}**. It compares images of the same "
        "stratum only: the mean over strata, weighted by their pairs of images of different classes.",
        _probes(column),
    ]


def _table(column: StrataResults, class_names: tuple[str, ...]) -> str:
    shown = class_names if len(class_names) <= _MOST_CLASSES else ()
    heads = (column.column, "images", "patients", *shown, *(title(metric) for metric in METRICS))
    rows = [
        (
            markdown.text(stratum.name),
            f"{stratum.num_examples:,}",
            f"{stratum.num_patients:,}",
            *(f"{stratum.class_counts[name]:,}" for name in shown),
            *(markdown.text(stratum.metrics[metric]) for metric in METRICS),
        )
        for stratum in column.strata
    ]
    return markdown.table([markdown.text(head) for head in heads], rows)


def _probes(column: StrataResults) -> str:
    if not column.probes:
        return ""
    rows = [
        (
            f"{markdown.text(probe.stratum)} against {markdown.text(probe.against)}",
            markdown.text(probe.class_name),
            markdown.text(probe.auroc),
        )
        for probe in column.probes
    ]
    return (
        "Shortcut probe: how well the score tells strata apart among images of one class. 0.5 is "
        "good; far from it, the model recognizes the stratum, perhaps instead of the class.\n\n"
        + markdown.table(("stratum", "among images of", "AUROC"), rows)
    )
