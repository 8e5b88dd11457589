"""The code blocks of a Markdown page, and the commands in them."""

import dataclasses
import re
import shlex


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, its first line's number, and the comment before it.

    `title` is the text of an HTML comment right above the block, as in `<!-- quick start -->`.
    """

    language: str
    text: str
    line: int
    title: str


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, in their order."""
    pattern = r"(?:^<!-- ([^>]*?) -->\n\n)?^```(\w*)\n(.*?)^```$"
    return [
        Block(match[2], match[3], page.count("\n", 0, match.start(3)) + 1, match[1] or "")
        for match in re.finditer(pattern, page, re.MULTILINE | re.DOTALL)
    ]


def commands(text: str) -> list[list[str]]:
    """The words of each `python -m ...` in a shell block, from the module on."""
    lines = text.replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines if line.startswith("python -m ")]
    return [line[2:-1] if line[-1] == "&" else line[2:] for line in words]
