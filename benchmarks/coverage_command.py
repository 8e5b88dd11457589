"""The command line that the simulations of coverage share: how often each case is measured, and the figures."""

import argparse
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from engine.base import command_line, files
from engine.base.flag_parser import FlagParser


def main(
    argv: list[str] | None,
    *,
    program: str,
    description: str,
    repeats: int,
    simulate: Callable[..., Iterable[Any]],
    render: Callable[[Sequence[Any]], str],
    **described: Any,
) -> int:
    """Runs a simulation, prints its table, and writes all figures as JSON if requested.

    Args:
        repeats: the default of `--repeats`.
        simulate: from `repeats` to cells, which are dataclasses.
        render: from the cells to the table.
        described: what else the JSON says of the simulation.

    Returns:
        The exit status.
    """
    parser = FlagParser(prog=program, description=description)
    parser.add_argument(
        "--repeats",
        type=int,
        default=repeats,
        help=f"measurements per case (default: {repeats})",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    arguments = parser.parse_args(argv)

    def run(arguments: argparse.Namespace) -> int:
        cells = list(simulate(repeats=arguments.repeats))
        print(render(cells))
        if arguments.json is not None:
            values = {"repeats": arguments.repeats, **described, "cells": list(map(_values, cells))}
            files.write_json(arguments.json, values)
        return command_line.DONE

    return command_line.run(program, lambda: run(arguments))


def _values(cell: Any) -> dict[str, Any]:
    """A cell as JSON, where what is undefined is null."""
    return {
        name: None if value != value else value for name, value in dataclasses.asdict(cell).items()
    }
