"""The evaluations that a run directory holds, read back as objects."""

from pathlib import Path

from engine.base import files
from engine.base.config import UserError
from engine.metrics.evaluation import Evaluation
from engine.runs.run_directory import RunDirectory

METRICS = "metrics.json"
SHIFTS = "shifts.json"  # only where shifts were measured
SPLITS = ("test", "external", "validation", "train")  # the most important one first
MEMBERS = "members.json"  # only where several runs were averaged


def names(run: RunDirectory) -> list[str]:
    """The names of a run's finished evaluations: the splits first, then the others in order."""
    found = {path.parent.name for path in run.evaluations.glob(f"*/{METRICS}")}
    return [split for split in SPLITS if split in found] + sorted(found - set(SPLITS))


def read(directory: Path) -> Evaluation:
    """The evaluation in a directory, its shifts and members included.

    Raises:
        UserError: there is none, or it is damaged or of an earlier version.
    """
    path = directory / METRICS
    if not path.is_file():
        raise UserError(f"{path}: no such file; measure the split with python -m engine.evaluate")
    try:
        values = files.read_json(path)
        for part in (SHIFTS, MEMBERS):
            if (directory / part).is_file():
                values = {**values, Path(part).stem: files.read_json(directory / part)}
        return Evaluation.from_json(values)
    except (OSError, TypeError, ValueError, UserError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); measure again with python -m engine.evaluate"
        ) from error
