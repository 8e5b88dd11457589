"""The winner on the test split, beside the default configuration: looked at once, after the choice."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.base import files, orphans, progress
from engine.runs.run_directory import RunDirectory

SPLIT = "test"
METRICS = ("auroc", "accuracy", "sensitivity", "specificity")


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Metrics on the test split: each a mapping of `value`, `low`, `high` (95 %, over patients).

    Attributes:
        trial_id: the winner's.
        default: None where the default configuration could not be trained.
    """

    trial_id: str
    winner: Mapping[str, Mapping[str, Any]]
    default: Mapping[str, Mapping[str, Any]] | None


def compare(
    trial_id: str, winner: RunDirectory, default: RunDirectory | None, shards: Path, path: Path
) -> HeldOut:
    """Measures both runs as `engine.evaluate` does; what was measured before is read from `path`."""
    if path.is_file():
        stored = HeldOut(**files.read_json(path))
        if stored.trial_id == trial_id:
            return stored
    found = HeldOut(
        trial_id, _measure(winner, shards), None if default is None else _measure(default, shards)
    )
    files.write_json(path, dataclasses.asdict(found))
    return found


def _measure(run: RunDirectory, shards: Path) -> dict[str, dict[str, Any]]:
    progress.say(f"measuring {run.path} on the {SPLIT} split")
    command = [
        sys.executable,
        "-m",
        "engine.evaluate",
        str(run.path),
        str(shards),
        "--split",
        SPLIT,
    ]
    done = subprocess.run(
        command,
        env={**os.environ, **orphans.environment(grace_seconds=0)},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.strip()[-2000:]}")
    metrics = files.read_json(run.evaluation(SPLIT) / "metrics.json")
    return {name: metrics[name] for name in METRICS if name in metrics}
