"""An evaluation on standard output, within 80 columns where that is no terminal."""

import sys
import textwrap
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.metrics.estimate import Estimate, title
from engine.metrics.evaluation import Evaluation
from engine.metrics.strata_results import METRICS, StrataResults, Stratum
from engine.metrics.unlike_results import UnlikeResults

TABLE_WIDTH = 80  # columns, where standard output is no terminal
_FEW_CLASSES = 4  # whose counts fit a column
_CLASS_HEADS = {
    "auroc": "AUROC",
    "average_precision": "AP",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "precision": "precision",
}


def show(result: Evaluation) -> None:
    """Tables of all metrics, of the classes if there are more than two, and of shifts, strata and
    recalibration if they were measured; the figures that matter most are on the last lines."""
    rows = [(title(name), e.value_text, e.interval_text) for name, e in result.metrics.items()]
    print_table(["metric", "value", "95 % interval"], rows)
    if result.per_class:
        class_rows = [
            (name, *(row[metric].value_text for metric in _CLASS_HEADS))
            for name, row in result.per_class.items()
        ]
        print_table(["class", *_CLASS_HEADS.values()], class_rows)
    if result.shifts is not None:
        heads = [title(metric) for metric in result.shifts.metrics]
        print_table(["images", *heads], result.shifts.rows())
    for column in result.strata:
        _print_strata(column)
    if result.unlike is not None and result.unlike.num_unlike:
        _print_unlike(result.unlike)
    if result.recalibration is not None:
        print_table(result.recalibration.heads(), result.recalibration.rows())
        print(textwrap.fill(result.recalibration.account(), TABLE_WIDTH))
    if result.members is not None:
        heads = [title(metric) for metric in result.members.metrics]
        print_table(["run", *heads], result.members.rows())
        print(result.members.spread_text())
    print("\n".join(result.summary_lines()))


def _print_strata(column: StrataResults) -> None:
    """A table of the strata, intervals below the values, and one of the shortcut probes."""
    rows = [
        (
            stratum.name,
            f"{stratum.num_examples:,}\n{_counts(stratum)}",
            *(on_two_lines(stratum.metrics[metric]) for metric in METRICS),
        )
        for stratum in column.strata
    ]
    heads = [column.column, "images\n(by class)", *map(title, METRICS)]
    print_table(heads, rows, first_wraps=True)
    probes = [
        (f"{probe.stratum} against {probe.against}", probe.class_name, str(probe.auroc))
        for probe in column.probes
    ]
    if probes:
        print_table(
            ["shortcut probe", "among images of", "AUROC, 0.5 is good"], probes, first_wraps=True
        )


def _print_unlike(results: UnlikeResults) -> None:
    """A table of the images on either side of the limit, intervals below the values."""
    rows = [
        (
            kind.name,
            f"{kind.num_examples:,}",
            *(on_two_lines(kind.metrics[metric]) for metric in METRICS),
        )
        for kind in (results.like, results.unlike)
        if kind
    ]
    print_table(["images", "number", *map(title, METRICS)], rows, first_wraps=True)


def _counts(stratum: Stratum) -> str:
    """`97/77`: the examples by class, if there are few classes."""
    counts = [f"{count:,}" for count in stratum.class_counts.values()]
    return "/".join(counts) if len(counts) <= _FEW_CLASSES else ""


def on_two_lines(estimate: Estimate) -> str:
    """The value, and below it the interval to three decimals."""
    if estimate.low is None or estimate.high is None:
        return estimate.value_text
    return f"{estimate.value_text}\n{estimate.low:.3f}-{estimate.high:.3f}"


def print_table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, first_wraps: bool = False
) -> None:
    """A table on standard output: the first column to the left, the others to the right.

    Args:
        first_wraps: where there is too little room, only the first column wraps: numbers stay whole.
    """
    width = None if sys.stdout.isatty() else TABLE_WIDTH
    console = Console(file=sys.stdout, width=width, highlight=False, soft_wrap=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, head in enumerate(heads):
        table.add_column(
            head,
            justify="right" if place else "left",
            no_wrap=first_wraps and place > 0,
            overflow="fold",  # an ellipsis would make names alike
        )
    for row in rows:
        table.add_row(*map(Text, row))  # a class may be called [red]
    console.print(table)
    sys.stdout.flush()
