"""Files and images in messages: counted, named by the first few, grouped by what is said of them."""

from collections.abc import Iterable

from engine.base.files import one_line

SHOWN = 3  # names in a message


def counted(number: int, noun: str) -> str:
    """`1 image`, `2,000 images`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def some_of(names: Iterable[str]) -> str:
    """The first three names, on one line."""
    names = list(names)
    return ", ".join(map(one_line, names[:SHOWN])) + (", ..." if len(names) > SHOWN else "")


class Group:
    """Names of which the same is said: their number, and the first of them."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[str] = []

    def add(self, name: str) -> None:
        """Counts one more name."""
        self.count += 1
        if len(self._first) <= SHOWN:
            self._first.append(name)

    def described(self, reason: str) -> str:
        """`2 images with values above 4,095 (a.png, b.png)`."""
        return f"{counted(self.count, 'image')} {reason} ({some_of(self._first)})"


def by_reason(rows: Iterable[tuple[str, str]]) -> list[str]:
    """(path, what is said of it) -> a line for each different thing that is said, see `Group`."""
    groups: dict[str, Group] = {}
    for path, reason in rows:
        groups.setdefault(reason, Group()).add(path)
    return [group.described(reason) for reason, group in groups.items()]


def shortened(text: str, length: int) -> str:
    """Without its middle if it is longer: names that differ do so at one end."""
    if len(text) <= length:
        return text
    head = length // 2
    return text[:head] + "…" + text[len(text) - (length - 1 - head) :]
