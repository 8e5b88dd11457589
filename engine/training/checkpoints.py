"""A run's state on disk: every variable and the loop's own state, one file per checkpoint.

    checkpoints/step-00001234.npz

Files are as `array_files` describes them; the archive holds the arrays, its header the step and the
loop's state.
"""

import dataclasses
import re
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from engine.base import array_files, files

KEPT = 3
# Of the file, and of what is computed from it: a run is not resumed from files of another version.
VERSION = 2
_NAME = re.compile(r"step-(\d{8,})\.npz")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What was saved at a step.

    Attributes:
        arrays: the variables, by the keys they were saved under.
        state: JSON values.
        skipped: damaged, newer files that were passed over.
    """

    step: int
    arrays: dict[str, np.ndarray]
    state: dict[str, Any]
    skipped: tuple[Path, ...] = ()


def save(
    directory: Path,
    *,
    step: int,
    arrays: dict[str, np.ndarray],
    state: dict[str, Any],
    kept: int = KEPT,
) -> Path:
    """Writes a checkpoint, then removes all but the newest `kept`."""
    path = _path(directory, step)
    header = {"step": step, "state": state}
    array_files.write(path, arrays=arrays, header=header, version=VERSION)
    for old in paths(directory)[:-kept]:
        old.unlink(missing_ok=True)
    return path


class Writer:
    """Saves in a thread of its own, one checkpoint at a time, so that training need not wait.

    Whoever hands over arrays must not change them afterwards. An error is raised by the next call.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._pending: Future[Path] | None = None

    def save(self, *, step: int, arrays: dict[str, np.ndarray], state: dict[str, Any]) -> None:
        """Begins to save; waits first until the checkpoint before is on the disk."""
        self.wait()
        self._pending = self._thread.submit(
            save, self._directory, step=step, arrays=arrays, state=state
        )

    def wait(self) -> None:
        """Returns when everything handed over is on the disk."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Waits, then ends the thread."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()


def paths(directory: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    if not directory.is_dir():
        return []
    found = [path for path in directory.iterdir() if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.stem.partition("-")[2]))


def load_newest(directory: Path) -> Checkpoint | None:
    """The newest whole checkpoint, or None where there is none."""
    skipped: list[Path] = []
    for path in reversed(paths(directory)):
        found = _read(path)
        if found is not None:
            return dataclasses.replace(found, skipped=tuple(skipped))
        skipped.append(path)
    return None


def load(directory: Path, step: int) -> Checkpoint | None:
    """The checkpoint of a step, or None where it is missing or damaged."""
    return _read(_path(directory, step))


def is_of_another_version(path: Path) -> bool:
    """Whether a file that cannot be resumed from is whole, but written by another version."""
    return array_files.is_of_another_version(path, VERSION)


def remove_unfinished(directory: Path) -> None:
    """Removes what was being saved when a run was killed."""
    for path in directory.glob(f"step-*{files.ASIDE_SUFFIX}.npz"):
        path.unlink(missing_ok=True)


def _path(directory: Path, step: int) -> Path:
    return directory / f"step-{step:08d}.npz"


def _read(path: Path) -> Checkpoint | None:
    found = array_files.read(path, version=VERSION)
    if found is None:
        return None
    arrays, header = found
    if path != _path(path.parent, header["step"]):
        return None
    return Checkpoint(header["step"], arrays, header["state"])
