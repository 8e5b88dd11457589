"""Several runs used as one: an ensemble on disk, or runs that are given together.

    ENSEMBLE/ensemble.json   the members, written when the first of them starts
    ENSEMBLE/seed-<n>/       each an ordinary run
    ENSEMBLE/inference.json  the contract of their average, with a threshold of its own, written last
    ENSEMBLE/evaluation/<name>/  report.md

`opened` gives what a path stands for. The outputs of members are averaged by `engine.inference.ensemble`.
"""

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.base import files, locks, schema
from engine.base.config import UserError
from engine.base.schema import Rule
from engine.runs.run_directory import RunDirectory

ENSEMBLE = "ensemble.json"
FORMAT_VERSION = 1
Places = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclasses.dataclass(frozen=True)
class Member:
    """One run of an ensemble.

    Attributes:
        directory: its directory in the ensemble's.
        seed: what it is trained with.
        epochs: the `--epochs` that it was trained to the end with; None while it is not.
    """

    directory: str
    seed: int
    epochs: int | None = None


class _Averaged(RunDirectory):
    """What stands for several runs: trained where each of them is, a model where all are one."""

    def require_trained(self) -> None:
        for member in self.members:
            member.require_trained()

    def model_digest(self) -> str | None:
        """A SHA-256 (hex) over the digests of the members in order; None if one has no model."""
        digests = [member.model_digest() for member in self.members]
        if None in digests:
            return None
        return hashlib.sha256("\n".join(map(str, digests)).encode()).hexdigest()


class EnsembleDirectory(_Averaged):
    """The names inside an ensemble's directory; data and settings are those of its first member."""

    def __init__(self, path: Path | str, members: Sequence[Member]) -> None:
        super().__init__(path)
        self.listed = tuple(members)
        self.members = tuple(RunDirectory(self.path / member.directory) for member in members)
        self.environment = self.members[0].environment
        self.config = self.members[0].config

    @property
    def owned(self) -> list[Path]:
        """What it holds besides its members."""
        return [
            self.evaluations,
            self.explanations,
            self.exports,
            self.report,
            self.model_card,
            self.inference,
            self.threshold,
            self.path / ENSEMBLE,
        ]

    def require_trained(self) -> None:
        """Raises `UserError` unless each member holds a finished model."""
        for member in self.members:
            if not member.model.is_file():
                raise UserError(
                    f"{self.path}: the training of {member.path.name} has not finished an epoch; finish "
                    f"it with engine.train --num-seeds {len(self.members)} --resume"
                )


class RunGroup(_Averaged):
    """Runs that are given together; what is measured of their average goes to the first one's directory."""

    has_contract = False

    def __init__(self, runs: Sequence[RunDirectory]) -> None:
        super().__init__(runs[0].path)
        self.members = tuple(runs)
        self.environment, self.config = runs[0].environment, runs[0].config


def opened(places: Places) -> RunDirectory:
    """The run, the ensemble, or the group of runs that one or several paths stand for.

    Raises:
        UserError: no path is given, one is given twice, or an `ensemble.json` is damaged.
    """
    paths = [places] if isinstance(places, (str, os.PathLike)) else list(places)
    if not paths:
        raise UserError("no run is given; expected the directory of at least one")
    runs = [_opened_one(Path(path)) for path in paths]
    resolved = [run.path.resolve() for run in runs]
    for run in runs:
        if resolved.count(run.path.resolve()) > 1:
            raise UserError(f"{run.path}: is given twice; expected different runs to average")
    return runs[0] if len(runs) == 1 else RunGroup(runs)


def names(run: RunDirectory) -> list[str]:
    """What the members are called: their directories' names where these differ, else their paths."""
    short = [member.path.resolve().name for member in run.members]
    if len(set(short)) == len(short):
        return short
    return [str(member.path) for member in run.members]


def is_ensemble(path: Path) -> bool:
    """Whether an ensemble was begun in a directory."""
    return (path / ENSEMBLE).is_file()


def read(path: Path) -> EnsembleDirectory:
    """The ensemble in a directory.

    Raises:
        UserError: its `ensemble.json` is missing or damaged.
    """
    listed = path / ENSEMBLE
    try:
        values = files.read_json(listed)
        schema.require(values, _RULES)
        return EnsembleDirectory(path, [_member(value) for value in values["members"]])
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UserError(
            f"{listed}: cannot be read ({error}); expected an ensemble of engine.train --num-seeds"
        ) from error


def write(ensemble: EnsembleDirectory) -> None:
    """Writes `ensemble.json`."""
    values = {
        "format_version": FORMAT_VERSION,
        "members": [dataclasses.asdict(member) for member in ensemble.listed],
    }
    files.write_json(ensemble.path / ENSEMBLE, values)


def foreign(path: Path) -> list[Path]:
    """What is in a directory in which no ensemble was begun."""
    known = {locks.LOCK_NAME, files.aside_path(path / ENSEMBLE).name}
    return [entry for entry in path.iterdir() if entry.name not in known] if path.is_dir() else []


def _opened_one(path: Path) -> RunDirectory:
    return read(path) if is_ensemble(path) else RunDirectory(path)


def _member(values: Any) -> Member:
    schema.require(values, _MEMBER_RULES)
    return Member(**values)


def _is_name(value: Any) -> bool:
    """Of a directory right below the ensemble's, and of no other place."""
    return isinstance(value, str) and Path(value).name == value and value not in ("", ".", "..")


_RULES = {
    "format_version": schema.one_of(FORMAT_VERSION),
    "members": Rule(
        "a list of at least one member", lambda value: isinstance(value, list) and bool(value)
    ),
}
_MEMBER_RULES = {
    "directory": Rule("the name of a directory", _is_name),
    "seed": schema.COUNT,
    "epochs": Rule(
        "a whole number, or null", lambda value: value is None or schema.is_count(value)
    ),
}
