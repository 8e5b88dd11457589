"""The files of a search, and how a search is recognized and resumed.

search.json  space.json  data.json   the settings, the space, and the data set that was searched on
tuner/oracle.json                    KerasTuner's state
trials/<id>/                         spec.json  outcome.json  stderr.log  run/ (as engine.train leaves)
seeds/<id>-seed<n>/  default/        the same, for trainings after the search
best.json  leaderboard.csv  report.md  figures/  tensorboard/
workers/                             logs and heartbeats of workers
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.base import files, locks, output_paths
from engine.base.config import UserError, changed_settings
from engine.base.setting_names import flag_name
from engine.runs.run_directory import RunDirectory
from engine.shards import data_identity
from tuning.search_space import SearchSpace
from tuning.settings import SearchConfig


class TrialDirectory:
    """The paths inside a trial's directory."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.spec = self.path / "spec.json"
        self.outcome = self.path / "outcome.json"
        self.stderr = self.path / "stderr.log"
        self.run = RunDirectory(self.path / "run")


class SearchDirectory:
    """The paths inside a search's directory. Creating the object touches no disk."""

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

    def trial(self, trial_id: str) -> TrialDirectory:
        """The directory of one trial."""
        return TrialDirectory(self.trials / trial_id)

    def trial_ids(self) -> list[str]:
        """The trials that have started, ordered by number."""
        found = [path.parent.name for path in self.trials.glob("*/spec.json")]
        return sorted(found, key=lambda name: (int(name) if name.isdigit() else 0, name))


def prepare(
    directory: SearchDirectory, config: SearchConfig, space: SearchSpace, data: Mapping[str, Any]
) -> bool:
    """Prepares the directory for a new search, or for resuming the same one.

    Args:
        data: see `data_identity.describe`.

    Returns:
        Whether there is a search to resume.

    Raises:
        UserError: the directory holds other files, or a search with other arguments, which the message
            names.
    """
    resuming = directory.data.is_file()
    if resuming:
        check_same_search(directory, config, space, data)
    else:
        check_directory(directory)
    files.write_json(directory.config, config.to_json())
    if not resuming:
        files.write_json(directory.space, space.to_json())
        files.write_json(directory.data, dict(data))  # last: it marks a search that has started
    return resuming


def check_directory(directory: SearchDirectory) -> None:
    """Raises `UserError` unless a search may start there or has started; needs no TensorFlow."""
    output_paths.require_directory(directory.path, "--workdir")
    if not directory.data.is_file() and _foreign(directory):
        raise UserError(
            f"--workdir {directory.path} holds other files; give a new or an empty directory"
        )


def _foreign(directory: SearchDirectory) -> list[Path]:
    """The files that are not those of a search killed right after its start."""
    started = (directory.config, directory.space, directory.data)
    known = {locks.LOCK_NAME}
    known |= {path.name for file in started for path in (file, files.aside_path(file))}
    found = directory.path.iterdir() if directory.path.is_dir() else ()
    return [path for path in found if path.name not in known]


def check_same_search(
    directory: SearchDirectory, config: SearchConfig, space: SearchSpace, data: Mapping[str, Any]
) -> None:
    """Raises `UserError`, naming what differs, unless the directory holds this same search."""
    stored = SearchConfig.from_json(files.read_json(directory.config), source=str(directory.config))
    differing = changed_settings(stored, config)
    then, now = files.read_json(directory.space), space.to_json()
    differing += [
        f"the range of {flag_name(name)} was {_entry(then.get(name))}, now {_entry(now.get(name))}"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]
    differing += data_identity.differences(files.read_json(directory.data), data)
    if differing:
        raise UserError(
            f"{directory.path} holds a search with other arguments: {'; '.join(differing)}; give "
            "those to continue it, or another --workdir"
        )


def _entry(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return "not searched"
    if "choices" in entry:
        return ",".join(str(choice) for choice in entry["choices"])
    return f"{entry['low']}:{entry['high']}:{entry['scale']}"
