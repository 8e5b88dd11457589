"""The winner on the test split, beside the default configuration: measured once, after the choice."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from engine.base import files, orphans, progress
from engine.base.config import UserError
from engine.metrics.evaluation import Evaluation
from engine.runs import stored_evaluations
from engine.runs.run_directory import RunDirectory

SPLIT = "test"


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """The winner and the default configuration, each measured on the test split.

    Attributes:
        trial_id: the winner's.
        default: None where the default configuration could not be trained.
    """

    trial_id: str
    winner: Evaluation
    default: Evaluation | None

    def to_json(self) -> dict[str, Any]:
        """The contents of `held_out.json`."""
        return {
            "trial_id": self.trial_id,
            "winner": self.winner.to_json(),
            "default": None if self.default is None else self.default.to_json(),
        }

    @classmethod
    def read(cls, path: Path) -> "HeldOut":
        """The contents of `held_out.json`.

        Raises:
            UserError: the file is missing or damaged, or of an earlier version.
        """
        try:
            values = files.read_json(path)
            default = values["default"]
            return cls(
                str(values["trial_id"]),
                Evaluation.from_json(values["winner"]),
                None if default is None else Evaluation.from_json(default),
            )
        except (OSError, KeyError, TypeError, ValueError, UserError) as error:
            raise UserError(f"{path}: cannot be read ({error!r})") from error


def compare(
    trial_id: str, winner: RunDirectory, default: RunDirectory | None, shards: Path, path: Path
) -> HeldOut:
    """Measures both runs, or returns what was measured before, as it is stored in `path`."""
    try:
        stored = HeldOut.read(path)
        if stored.trial_id == trial_id and (stored.default is None) == (default is None):
            return stored
    except UserError:
        pass  # nothing is stored, or it is of an earlier version
    found = HeldOut(
        trial_id, measure(winner, shards), None if default is None else measure(default, shards)
    )
    files.write_json(path, found.to_json())
    return found


def measure(run: RunDirectory, shards: Path) -> Evaluation:
    """`evaluate_run` on the test split, in a process of its own.

    The model and TensorFlow's memory, on a GPU too, are released when that process ends.

    Raises:
        RuntimeError: the process failed; the message holds the end of what it wrote.
    """
    progress.say(f"measuring {run.path} on the {SPLIT} split")
    command = [sys.executable, "-m", "engine.evaluate", str(run.path), str(shards)]
    command += ["--split", SPLIT, "--name", SPLIT]
    done = subprocess.run(
        command,
        env={**os.environ, **orphans.environment(grace_seconds=0)},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.strip()[-2000:]}")
    return stored_evaluations.read(run.evaluation(SPLIT))
