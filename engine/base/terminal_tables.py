"""Tables on standard output: within 80 columns where that is no terminal, without colours of their own."""

import sys
import textwrap
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH = 80  # columns, where standard output is no terminal
_EDGES, _GAP = 2, 3  # columns outside of a table, and between two of its own


def print_table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    title: str = "",
    left: int = 1,
    first_wraps: bool = False,
) -> None:
    """Prints a table: the first columns to the left, the others to the right.

    Args:
        title: printed above it.
        left: how many columns stand to the left.
        first_wraps: where there is too little room, only the columns to the left wrap, a single one behind
            its hyphens and blanks where that suffices: numbers stay whole.
    """
    console = Console(
        file=sys.stdout,
        width=None if sys.stdout.isatty() else WIDTH,
        highlight=False,
        soft_wrap=False,
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, head in enumerate(heads):
        table.add_column(
            Text(head),
            justify="right" if place >= left else "left",
            no_wrap=first_wraps and place >= left,
            overflow="fold",
        )
    rows = list(rows)
    if first_wraps and left == 1:
        numbers = zip(heads[1:], *(row[1:] for row in rows), strict=False)
        room = console.width - _EDGES - sum(_width(column) + _GAP for column in numbers)
        rows = [(_wrapped(row[0], room), *row[1:]) for row in rows]
    for row in rows:
        table.add_row(*map(Text, row))  # a class may be called [red]
    if title:
        console.print(Text(f"\n{title}", style="bold"))
    console.print(table)
    sys.stdout.flush()


def _width(cells: Iterable[str]) -> int:
    return max(len(line) for cell in cells for line in cell.splitlines() or [""])


def _wrapped(name: str, room: int) -> str:
    """A name on lines of at most `room` characters, behind hyphens and blanks if possible."""
    return "\n".join(textwrap.wrap(name, room)) if len(name) > room > 0 else name


def print_lines(lines: Iterable[str], *, indent: str = "  ") -> None:
    """Prints lines, folded between words to 80 columns; words that are longer, such as paths, stay whole."""
    for line in lines:
        print(
            textwrap.fill(
                line,
                WIDTH,
                subsequent_indent=indent,
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
