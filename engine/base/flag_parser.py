"""The argument parser of every command: an error is one line, which names the flag that was meant.

Flags are given in full. argparse would take any beginning of a flag for it, so that a script's `--epoch`
breaks, or means another flag, on the day that such a flag is added.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from engine.base.command_line import WRONG_INPUT
from engine.base.config import UserError
from engine.base.setting_names import closest


class HelpFormatter(argparse.HelpFormatter):
    """Keeps the paragraphs of a description apart, and indented ones as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        return "\n\n".join(
            part.rstrip() if part.startswith("  ") else fill(part, width, indent)
            for part in text.strip().split("\n\n")
        )


class FlagParser(argparse.ArgumentParser):
    """As `argparse.ArgumentParser`, without abbreviations and without the usage before an error.

    The usage line of `--help` names what must be given and leaves the flags to the groups below it.
    """

    def __init__(
        self, *, description: str | None = None, intermixed: bool = False, **options: Any
    ) -> None:
        """As `argparse.ArgumentParser`.

        Args:
            description: may be a command's docstring, see `summary`.
            intermixed: whether flags may stand between optional arguments without one (`nargs="*"`),
                which argparse takes to be absent as soon as a flag follows.
        """
        options = {"formatter_class": HelpFormatter, **options}
        super().__init__(
            allow_abbrev=False, description=_without_command(description or ""), **options
        )
        self._intermixed = intermixed
        self._extensions: list[Callable[[Sequence[str]], None]] = []

    def extend_by(self, extend: Callable[[Sequence[str]], None]) -> None:
        """Calls `extend` with the words of the command line before they are parsed; it may add flags."""
        self._extensions.append(extend)

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> argparse.Namespace:
        """Parses flags; anything unknown ends the process with one line and status 2."""
        words = sys.argv[1:] if args is None else list(args)
        for extend in self._extensions:
            try:
                extend(words)
            except UserError as error:
                self.error(str(error))
        parse = self.parse_known_intermixed_args if self._intermixed else self.parse_known_args
        parsed, unknown = parse(args, namespace)
        if unknown:
            self.error(self._about(unknown))
        return parsed

    def format_help(self) -> str:
        """The text of `--help`."""
        given = self.usage
        self.usage = given or self._short_usage()
        try:
            return super().format_help()
        finally:
            self.usage = given

    def error(self, message: str) -> NoReturn:
        """Ends the process with one line and status 2."""
        self.exit(WRONG_INPUT, f"{self.prog}: error: {message}\n")

    def _about(self, unknown: Sequence[str]) -> str:
        flag = next((word.partition("=")[0] for word in unknown if word.startswith("-")), None)
        if flag is None:
            return f"unexpected argument {unknown[0]!r}; --help shows what is expected"
        meant = closest(flag, [name for name in self._flags() if name.startswith("--")])
        hint = f"did you mean {meant}?" if meant else "--help lists the flags"
        return f"unknown flag {flag}; {hint}"

    def _short_usage(self) -> str:
        """`python -m engine.evaluate RUN SHARDS [flags]`."""
        formatter = self._get_formatter()
        words = [self.prog]
        for action in self._actions:
            shown = formatter._format_args(action, action.dest.upper())
            if not action.option_strings:
                words.append(shown)
            elif action.required:
                words.append(f"{action.option_strings[0]} {shown}")
        return " ".join([*words, "[flags]"]).replace("%", "%%")

    def _flags(self) -> list[str]:
        """Every flag, those of sub-commands included."""
        flags = list(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                flags += [flag for parser in action.choices.values() for flag in parser._flags()]
        return flags


def add_with_flag(parser: argparse.ArgumentParser) -> None:
    """Adds `--with RUN`, which collects further runs in `others`."""
    parser.add_argument(
        "--with",
        dest="others",
        action="append",
        default=[],
        type=Path,
        metavar="RUN",
        help="another run to average with the first one; can be given several times",
    )


def summary(docstring: str) -> str:
    """What a command does, in one line, from its docstring: "`python -m engine.x A`: does it." -> "Does it."."""
    return _without_command(docstring).partition("\n")[0]


def _without_command(docstring: str) -> str:
    match = re.match(r"`[^`]+`: (\w)", docstring)
    return docstring if match is None else match[1].upper() + docstring[match.end() :]
