"""What a search leaves on disk, and how it is found again.

search.json  space.json  data.json   what was asked for, and the images it was asked on
tuner/oracle.json                    KerasTuner's state
trials/<id>/                         spec.json  outcome.json  stderr.log  run/ (as engine.train leaves)
seeds/<id>-seed<n>/  default/        the same, of trainings after the search
best.json  leaderboard.csv  report.md  figures/  tensorboard/
workers/                             logs and signs of life of workers
"""

import contextlib
import fcntl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine import files
from engine.config import UserError, flag_name
from engine.run_directory import RunDirectory
from tuning.search_space import SearchSpace
from tuning.settings import FREE_ON_RESUME, SearchConfig


class TrialDirectory:
    """The names inside a trial's directory."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.spec = self.path / "spec.json"
        self.outcome = self.path / "outcome.json"
        self.stderr = self.path / "stderr.log"
        self.lock = self.path / "lock"
        self.run = RunDirectory(self.path / "run")


class SearchDirectory:
    """The names inside a search's directory. Making one touches no disk."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config = self.path / "search.json"
        self.space = self.path / "space.json"
        self.data = self.path / "data.json"
        self.oracle = self.path / "tuner" / "oracle.json"
        self.trials = self.path / "trials"
        self.seeds = self.path / "seeds"
        self.default = TrialDirectory(self.path / "default")
        self.workers = self.path / "workers"
        self.best = self.path / "best.json"
        self.leaderboard = self.path / "leaderboard.csv"
        self.repeats = self.path / "seeds.json"
        self.held_out = self.path / "held_out.json"
        self.report = self.path / "report.md"
        self.figures = self.path / "figures"
        self.tensorboard = self.path / "tensorboard"
        self.lock = self.path / "lock"

    def trial(self, trial_id: str) -> TrialDirectory:
        """Where one trial's files go."""
        return TrialDirectory(self.trials / trial_id)

    def trial_ids(self) -> list[str]:
        """The trials that were begun, in the order of their numbers."""
        found = [path.parent.name for path in self.trials.glob("*/spec.json")]
        return sorted(found, key=lambda name: (int(name) if name.isdigit() else 0, name))


@contextlib.contextmanager
def locked(path: Path, *, wait: bool, held: str) -> Iterator[None]:
    """Holds a lock for the block; the system releases it however the process ends.

    Args:
        wait: whether to wait for whoever holds it.
        held: what to say if it is held and is not waited for.

    Raises:
        UserError: it is held by another process.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise UserError(held) from None
        yield


def prepare(
    directory: SearchDirectory, config: SearchConfig, space: SearchSpace, data: Mapping[str, Any]
) -> bool:
    """Makes the directory ready for a search, or for going on with the same one.

    Args:
        data: what tells the images apart, as `{"fingerprint": ...}`.

    Returns:
        Whether there is a search to go on with.

    Raises:
        UserError: it holds other files, or a search with other arguments; the message names them.
    """
    going_on = directory.data.is_file()
    if going_on:
        check_same_search(directory, config, space, data)
    else:
        check_directory(directory)
    files.write_json(directory.config, config.to_json())
    if not going_on:
        files.write_json(directory.space, space.to_json())
        files.write_json(directory.data, dict(data))  # last: from now on there is a search
    return going_on


def check_directory(directory: SearchDirectory) -> None:
    """Raises `UserError` unless a search may begin there, or one has begun; needs no TensorFlow."""
    if directory.path.is_file():
        raise UserError(f"--workdir {directory.path} is a file; expected a directory")
    others = [entry for entry in _entries(directory.path) if entry != directory.lock.name]
    if others and not directory.data.is_file():
        raise UserError(
            f"--workdir {directory.path} holds other files; give a new or an empty directory"
        )


def _entries(path: Path) -> list[str]:
    known = {"search.json", "search.partial.json", "space.json", "space.partial.json"}
    known |= {"data.partial.json"}
    return [p.name for p in path.iterdir() if p.name not in known] if path.is_dir() else []


def check_same_search(
    directory: SearchDirectory, config: SearchConfig, space: SearchSpace, data: Mapping[str, Any]
) -> None:
    """Raises `UserError`, which names what differs, unless the directory holds this very search."""
    stored = SearchConfig.from_json(
        files.read_json(directory.config), source=str(directory.config)
    ).to_json()
    differing = [
        f"{flag_name(name)} was {stored[name]}, now {value}"
        for name, value in config.to_json().items()
        if value != stored[name] and name not in FREE_ON_RESUME
    ]
    then, now = files.read_json(directory.space), space.to_json()
    differing += [
        f"the range of {flag_name(name)} was {_entry(then.get(name))}, now {_entry(now.get(name))}"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]
    was = files.read_json(directory.data)
    differing += [
        f"the images' {name} was {was.get(name)}, now {value}"
        for name, value in data.items()
        if was.get(name) != value
    ]
    if differing:
        raise UserError(
            f"{directory.path} holds a search with other arguments: {'; '.join(differing)}; give "
            "those to go on with it, or another --workdir"
        )


def _entry(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return "not searched"
    if "choices" in entry:
        return ",".join(str(choice) for choice in entry["choices"])
    return f"{entry['low']}:{entry['high']}:{entry['scale']}"
