"""Where a command may write what a user wants, so that no run, ensemble or evaluation is lost by it.

These functions are called before any work begins, and create nothing.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from engine.base import output_paths
from engine.base.config import UserError
from engine.runs import ensemble
from engine.runs.run_directory import RunDirectory

_METRICS = "metrics.json"  # `stored_evaluations.METRICS`, whose module imports SciPy


def require_text_file(path: Path, flag: str) -> None:
    """As `output_paths.require_text_file`, and makes sure that no part of a run or an ensemble is replaced.

    What people wrote of it (`card.md`) counts too; a link counts both where it is and where it leads.

    Args:
        flag: the flag or argument that gave the path, such as `--html`.

    Raises:
        UserError: as `output_paths.require_text_file`; or the file is part of a run or an ensemble in
            whose directory it lies, or that directory's `ensemble.json` is damaged.
    """
    for directory in _directories_above(path):
        for owner in _owners(directory):
            owned = (*owner.owned, owner.card_text)
            output_paths.require_unowned(path, owned, flag, directory)
    output_paths.require_text_file(path, flag)


def require_directory(path: Path, flag: str) -> None:
    """As `output_paths.require_directory`, of a directory that is no run, ensemble or evaluation.

    Raises:
        UserError: as `output_paths.require_directory`, or it holds one of them.
    """
    output_paths.require_directory(path, flag)
    for held, what in (
        (path / _METRICS, "an evaluation"),
        (RunDirectory(path).config, "a run"),
        (path / ensemble.ENSEMBLE, "an ensemble"),
    ):
        if held.is_file():
            raise UserError(f"{flag} {path}: holds {what}; give a directory of its own")


def require_distinct(paths: Mapping[str, str | os.PathLike[str] | None]) -> None:
    """Makes sure that no file takes the place of another one of the same call.

    Args:
        paths: by the flags or arguments that gave them; None of those that were not given.

    Raises:
        UserError: two of them are one file.
    """
    seen: dict[str, str] = {}
    for flag, path in paths.items():
        if path is None:
            continue
        other = seen.setdefault(os.path.realpath(path), flag)
        if other != flag:
            raise UserError(f"{other} and {flag} are both {path}; expected two files")


def _directories_above(path: Path) -> dict[Path, None]:
    """Those that a path lies in, as links lead and as it is given; the nearest one first."""
    places = Path(os.path.realpath(path)), Path(path).absolute()
    return dict.fromkeys(parent for place in places for parent in place.parents)


def _owners(directory: Path) -> list[RunDirectory]:
    """The run and the ensemble that were begun in a directory."""
    run = RunDirectory(directory)
    owners = [run] if run.config.is_file() or run.model.is_file() else []
    return [*owners, ensemble.read(directory)] if ensemble.is_ensemble(directory) else owners
