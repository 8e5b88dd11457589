"""Markdown for reports: tables, links and escaped text."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

_NOT_IN_LINKS = ' %#?&()<>"\\'


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """A table: the first `left` columns to the left, the others to the right."""
    lines = [heads, [*["---"] * left, *["---:"] * (len(heads) - left)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of `name: value`, without facts that have no value."""
    return "\n".join(f"- {name}: {value}" for name, value in pairs if value)


def folded(title: str, body: str) -> str:
    """A part that is folded up under its title, where HTML in Markdown works (`html_page` knows it)."""
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"


def warnings(lines: Iterable[Any]) -> str:
    """A list of warnings."""
    return "\n".join(f"- **Warning:** {text(line)}." for line in lines)


def image(title: str, path: Path, base: Path) -> str:
    """A picture, linked relative to the directory `base`."""
    return f"![{title}]({link(path, base)})"


def link(path: Path, base: Path) -> str:
    """A path relative to the directory `base`, as the target of a link."""
    return target(os.path.relpath(path, base))


def target(path: str) -> str:
    """A relative path as the target of a link: what ends or changes one there is escaped."""
    return "".join(
        f"%{ord(character):02X}" if character in _NOT_IN_LINKS else character
        for character in Path(path).as_posix()
    )


def text(value: Any) -> str:
    """Text with everything escaped that Markdown would take for tables, emphasis or HTML."""
    found = " ".join(str(value).split())
    for character in "\\|*_<>`[]&~":
        found = found.replace(character, "\\" + character)
    return found
