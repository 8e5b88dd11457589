"""A run's state on disk: every variable and the loop's own state, one file per checkpoint.

    checkpoints/step-00001234.npz

An uncompressed NumPy archive holds the arrays and, as JSON, the loop's state. Behind it stands a line with
the format's version and a CRC-32C over everything before it: the archive's own checksums leave its
headers out. (`numpy.load` ignores that line.) Files are written aside and renamed.
"""

import dataclasses
import io
import json
import re
import zipfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import google_crc32c
import numpy as np

from engine.base import files

KEPT = 3
VERSION = 2  # of the file, and of what is computed from it: other versions are not resumed
_STATE = "state"
_NAME = re.compile(r"step-(\d{8,})\.npz")
_LAST_LINE = re.compile(rb"checkpoint version (\d{3}) crc32c ([0-9a-f]{8})\n")
_LAST_LINE_BYTES = len("checkpoint version 000 crc32c ") + 8 + 1
_ARCHIVE_END = b"PK\x05\x06"  # 22 bytes before the end of a ZIP file
_BLOCK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What was saved at a step.

    Attributes:
        arrays: the variables, by the keys they were saved under.
        state: JSON values.
        skipped: newer files that are damaged.
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
    encoded = json.dumps({"step": step, "state": state}).encode()
    members: dict[str, Any] = {_STATE: np.frombuffer(encoded, np.uint8), **arrays}
    with files.written_aside(path) as aside, open(aside, "wb+") as file:
        np.savez(file, **members)
        _write_last_line(file)
    for old in paths(directory)[:-kept]:
        old.unlink(missing_ok=True)
    return path


class Writer:
    """Saves in a thread of its own, one checkpoint at a time, so that training need not wait.

    Arrays that were handed over must not be changed afterwards. An error is raised by the next call.
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
    """The newest undamaged checkpoint, or None where there is none."""
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
    """Whether a file that cannot be resumed from is undamaged, but written by another version."""
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return _version(content) not in (None, VERSION) or content[-22:-18] == _ARCHIVE_END


def remove_unfinished(directory: Path) -> None:
    """Removes what was being saved when a run was killed."""
    for path in directory.glob(f"step-*{files.ASIDE_SUFFIX}.npz"):
        path.unlink(missing_ok=True)


def _path(directory: Path, step: int) -> Path:
    return directory / f"step-{step:08d}.npz"


def _write_last_line(file: IO[bytes]) -> None:
    file.seek(0)
    checksum = 0
    while block := file.read(_BLOCK_BYTES):
        checksum = google_crc32c.extend(checksum, block)
    beginning = f"checkpoint version {VERSION:03d} crc32c ".encode()
    checksum = google_crc32c.extend(checksum, beginning)
    file.write(beginning + f"{checksum:08x}\n".encode())


def _version(content: bytes) -> int | None:
    """The version of an undamaged file; None of a damaged one."""
    line = _LAST_LINE.fullmatch(content[-_LAST_LINE_BYTES:])
    if line is None:
        return None
    checksum = google_crc32c.value(content[: line.start(2) - _LAST_LINE_BYTES])
    return int(line[1]) if int(line[2], 16) == checksum else None


def _read(path: Path) -> Checkpoint | None:
    try:
        content = path.read_bytes()
        if _version(content) != VERSION:
            return None
        with np.load(io.BytesIO(content)) as archive:
            arrays = {name: archive[name] for name in archive.files}
        stored = json.loads(arrays.pop(_STATE).tobytes())
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    if path != _path(path.parent, stored["step"]):
        return None
    return Checkpoint(stored["step"], arrays, stored["state"])
