"""Files and images in messages: counted, named by the first few, grouped by what is said of them."""

from collections.abc import Iterable

from engine.base.files import one_line


def counted(number: int, noun: str) -> str:
    """`1 image`, `2,000 images`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def some_of(names: Iterable[str]) -> str:
    """The first three names, on one line."""
    names = list(names)
    return ", ".join(map(one_line, names[:3])) + (", ..." if len(names) > 3 else "")


def by_reason(rows: Iterable[tuple[str, str]]) -> list[str]:
    """(path, what is said of it) -> `2 images with values above 4,095 (a.png, b.png)`, a line for each
    different thing that is said."""
    paths: dict[str, list[str]] = {}
    for path, reason in rows:
        paths.setdefault(reason, []).append(path)
    return [
        f"{counted(len(names), 'image')} {reason} ({some_of(names)})"
        for reason, names in paths.items()
    ]
