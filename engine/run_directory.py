"""What a run leaves on disk, and how it is found again.

config.json  environment.json  history.csv  history.png  tensorboard/  checkpoints/
model.keras  threshold.json  evaluation/<split>/  report.md
"""

from pathlib import Path
from typing import Any

from engine import files
from engine.config import UserError


class RunDirectory:
    """The names inside a run directory. Making one touches no disk; writers create what they need."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.environment = self.path / "environment.json"
        self.history = self.path / "history.csv"
        self.history_figure = self.path / "history.png"
        self.tensorboard = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model.keras"
        self.threshold = self.path / "threshold.json"
        self.training_summary = self.path / "training.json"
        self.diverged_batch = self.path / "diverged_batch.txt"
        self.report = self.path / "report.md"

    def evaluation(self, split: str) -> Path:
        """Where the evaluation of one split goes."""
        return self.path / "evaluation" / split

    def require_trained(self) -> None:
        """Raises `UserError` unless the directory holds a finished model."""
        if not self.path.is_dir():
            raise UserError(f"{self.path}: no such run directory; train one with engine.train")
        if not self.model.is_file():
            raise UserError(
                f"{self.path}: holds no {self.model.name}; expected a run directory that "
                "engine.train finished at least one epoch of"
            )

    def read_environment(self) -> dict[str, Any]:
        """What the run was trained on: versions, devices, the data's fingerprint and classes.

        Raises:
            UserError: the file is missing or damaged.
        """
        return self._read(self.environment)

    def read_threshold(self) -> float | None:
        """The stored decision threshold; None for more than two classes, where the largest wins."""
        if not self.threshold.is_file():
            return None
        return self._read(self.threshold)["threshold"]

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            return files.read_json(path)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path}: cannot be read ({error}); is this a run directory?"
            ) from error
