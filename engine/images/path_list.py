"""A list of paths from a file or standard input, for more of them than a command line takes.

Shells refuse command lines of more than about 2 MB (Linux: `getconf ARG_MAX`), which is some 20,000 to
100,000 paths.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from engine.base.config import UserError
from engine.base.wording import counted

STANDARD_INPUT = Path("-")
Item = TypeVar("Item")

_MOST_IN_A_LINE = 4096  # bytes, PATH_MAX: a file of longer lines is no list of paths


def read(source: Path) -> list[str]:
    """The paths in a list: one per line, or each ended by a null character where the list ends in one, as
    that of `find -print0` does.

    Empty lines are left out; relative paths start at the current directory.

    Args:
        source: a file, or `-` for standard input.

    Raises:
        UserError: it cannot be read, or holds no list of paths.
    """
    try:
        data = sys.stdin.buffer.read() if source == STANDARD_INPUT else source.read_bytes()
    except OSError as error:
        raise UserError(
            f"--paths-from {source}: cannot be read ({error.strerror}); expected a file with one path "
            "per line, or - for standard input"
        ) from error
    if data.endswith(b"\0"):
        paths = data.split(b"\0")
    else:
        lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        paths = [line.removesuffix(b"\r") for line in lines]
    paths = [path for path in paths if path]
    if not paths:
        raise UserError(f"--paths-from {source}: holds no path; expected one per line")
    if any(b"\0" in path or len(path) > _MOST_IN_A_LINE for path in paths):
        raise UserError(f"--paths-from {source}: is no list of paths; expected one per line")
    return [os.fsdecode(path) for path in paths]


def part(items: Sequence[Item], number: int, count: int) -> Sequence[Item]:
    """The `number`-th (from 1) of `count` parts of a sequence, in order, equal to within one.

    Raises:
        UserError: there are fewer items than parts.
    """
    if len(items) < count:
        raise UserError(
            f"--part {number}/{count}: the paths lead to {counted(len(items), 'file')}; expected at most "
            f"{counted(len(items), 'part')}"
        )
    start, end = (len(items) * place // count for place in (number - 1, number))
    return items[start:end]
