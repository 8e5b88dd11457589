"""What a run leaves on disk, and how it is found again.

config.json  environment.json  history.csv  history.png (svg, pdf)  tensorboard/  checkpoints/
model.keras  refitted_head.npz  inference.json  threshold.json  applicability.npz
evaluation/<name>/  explanations/  exports/  report.md  model_card.md

`card.md` is its users' own: reports take it up, and nothing removes it.

Several runs used as one are in `engine.runs.ensemble`.
"""

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

from engine.base import files, locks
from engine.base.config import UserError

_WEIGHTS = "model.weights.h5"  # in a .keras file


class RunDirectory:
    """The names inside a run directory. Making one touches no disk; writers create what they need.

    Attributes:
        members: the runs that are averaged, where this stands for several (`engine.runs.ensemble`).
    """

    members: "tuple[RunDirectory, ...]" = ()

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        # All that a run owns stands here: `--overwrite` removes these, in this order. `config` is the
        # last, as a directory without it is no run.
        self.history = self.path / "history.csv"
        self.history_figure = self.path / "history.png"
        self.history_svg = self.path / "history.svg"  # with --figures, as the next
        self.history_pdf = self.path / "history.pdf"
        self.tensorboard = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self.threshold = self.path / "threshold.json"
        self.training_summary = self.path / "training.json"
        self.initial_weights = self.path / "initial_weights.json"
        self.soft_labels = self.path / "soft_labels.npz"
        self.diverged_batch = self.path / "diverged_batch.txt"
        self.evaluations = self.path / "evaluation"
        self.explanations = self.path / "explanations"
        self.exports = self.path / "exports"
        self.report = self.path / "report.md"
        self.model_card = self.path / "model_card.md"
        self.applicability = self.path / "applicability.npz"
        self.refitted_head = self.path / "refitted_head.npz"
        self.model = self.path / "model.keras"
        self.inference = self.path / "inference.json"
        self.environment = self.path / "environment.json"
        self.config = self.path / "config.json"

    @property
    def owned(self) -> list[Path]:
        """Every file and directory that a run may leave."""
        return [path for path in vars(self).values() if path != self.path]

    @property
    def card_text(self) -> Path:
        """What people write of the model; no file of the run's, which may be removed."""
        return self.path / "card.md"

    @property
    def has_contract(self) -> bool:
        """Whether there is an inference contract; several runs may stand together without one."""
        return self.inference.is_file()

    def foreign(self) -> list[Path]:
        """What is in a directory without a `config.json` that a run, killed as it began, did not leave."""
        if not self.path.is_dir():
            return []
        written_first = (self.inference, self.environment, self.soft_labels)
        begun = [*written_first, *map(files.aside_path, (*written_first, self.config))]
        known = {path.name for path in begun} | {locks.LOCK_NAME, self.card_text.name}
        return [path for path in self.path.iterdir() if path.name not in known]

    def evaluation(self, name: str) -> Path:
        """Where an evaluation goes: the split's name, where the data is the run's own."""
        return self.evaluations / name

    def require_trained(self) -> None:
        """Raises `UserError` unless the directory holds a finished model."""
        if not self.path.is_dir():
            raise UserError(f"{self.path}: no such run directory; train one with engine.train")
        if not self.model.is_file():
            raise UserError(
                f"{self.path}: holds no {self.model.name}; expected a run directory that "
                "engine.train finished at least one epoch of"
            )

    def model_digest(self) -> str | None:
        """A SHA-256 (hex) over the model's weights, by which results name it; None without a model.

        Equal weights have one digest, whenever and in whatever process they were saved.
        """
        if not self.model.is_file():
            return None
        try:
            with zipfile.ZipFile(self.model) as archive:
                return _digest_of_arrays(archive.read(_WEIGHTS))
        except (KeyError, OSError, zipfile.BadZipFile):  # whatever it is, it is no other model
            return hashlib.sha256(self.model.read_bytes()).hexdigest()

    def read_environment(self) -> dict[str, Any]:
        """What the run was trained on: versions, devices, the data's fingerprint and classes.

        Raises:
            UserError: the file is missing or damaged.
        """
        return self._read(self.environment)

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            return files.read_json(path)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path}: cannot be read ({error}); is this a run directory?"
            ) from error


def _digest_of_arrays(content: bytes) -> str:
    """Over the arrays of an HDF5 file in the order of their places; names of layers do not count."""
    import h5py

    digest = hashlib.sha256()

    def add(place: str, found: Any) -> None:
        if isinstance(found, h5py.Dataset):
            array = found[()]
            digest.update(f"{place} {array.dtype} {array.shape}\n".encode() + array.tobytes())

    with h5py.File(io.BytesIO(content), "r") as file:
        file.visititems(add)
    return digest.hexdigest()
