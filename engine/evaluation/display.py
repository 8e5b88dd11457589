"""An evaluation on standard output, within 80 columns where that is no terminal."""

import sys
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.metrics.estimate import title
from engine.metrics.evaluation import Evaluation

TABLE_WIDTH = 80  # columns, where standard output is no terminal
_CLASS_HEADS = {
    "auroc": "AUROC",
    "average_precision": "AP",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "precision": "precision",
}


def show(result: Evaluation) -> None:
    """Tables of all metrics, of the classes if there are more than two and of the shifts if they
    were measured; the figures that matter most are on the last lines."""
    rows = [(title(name), e.value_text, e.interval_text) for name, e in result.metrics.items()]
    _print_table(["metric", "value", "95 % interval"], rows)
    if result.per_class:
        class_rows = [
            (name, *(row[metric].value_text for metric in _CLASS_HEADS))
            for name, row in result.per_class.items()
        ]
        _print_table(["class", *_CLASS_HEADS.values()], class_rows)
    if result.shifts is not None:
        heads = [title(metric) for metric in result.shifts.metrics]
        _print_table(["images", *heads], result.shifts.rows())
    if result.members is not None:
        heads = [title(metric) for metric in result.members.metrics]
        _print_table(["run", *heads], result.members.rows())
        print(result.members.spread_text())
    print("\n".join(result.summary_lines()))


def _print_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """The first column to the left, the others to the right."""
    width = None if sys.stdout.isatty() else TABLE_WIDTH
    console = Console(file=sys.stdout, width=width, highlight=False, soft_wrap=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if place else "left")
    for row in rows:
        table.add_row(*map(Text, row))  # a class may be called [red]
    console.print(table)
    sys.stdout.flush()
