"""The argument parser of every command: errors are one line, and a mistyped flag gets a suggestion.

Flags are given in full. argparse would take any beginning of a flag for it, so that a script's `--epoch`
breaks, or means another flag, on the day that one is added.
"""

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from engine.base.command_line import WRONG_INPUT
from engine.base.config import closest


class FlagParser(argparse.ArgumentParser):
    """As `argparse.ArgumentParser`, without abbreviations and without the usage before an error."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> argparse.Namespace:
        """Parses flags; anything unknown ends the process with one line and status 2."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(self._about(unknown))
        return parsed

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

    def _flags(self) -> list[str]:
        """Every flag, those of sub-commands included."""
        flags = list(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                flags += [flag for parser in action.choices.values() for flag in parser._flags()]
        return flags
