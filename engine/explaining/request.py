"""What can be wrong with what `engine.explain` is asked, found without TensorFlow, matplotlib and SciPy."""

from collections.abc import Sequence
from pathlib import Path

from engine.base import files
from engine.base.config import UserError
from engine.base.run_settings import EvidenceConfig
from engine.base.setting_names import did_you_mean
from engine.inference.predictor import wanted_prevalence
from engine.runs import contract
from engine.runs.run_directory import RunDirectory

TABLE = "localisation.csv"
TABLE_COLUMNS = ("path", "target", "x", "y", "in_box", "outside_body")


def check(run: RunDirectory, settings: EvidenceConfig) -> None:
    """Finds what is wrong with a run and settings without importing TensorFlow.

    Raises:
        UserError: the run is missing or damaged, or the class or the prevalence are not the run's.
    """
    run.require_trained()
    target_class(settings.target, contract.stored(run).class_names)
    if settings.prevalence is not None:
        wanted_prevalence(contract.read(run), settings.prevalence)


def require_own_table(directory: Path) -> None:
    """Checks that the table of places would replace at most an earlier one.

    Raises:
        UserError: a directory holds something else under its name.
    """
    path = directory / TABLE
    if not path.exists():
        return
    try:
        with open(path, "rb") as file:
            is_own = file.readline(200).strip() == ",".join(TABLE_COLUMNS).encode()
    except OSError:
        is_own = False
    if not is_own:
        raise UserError(
            f"--output {files.one_line(directory)}: holds a {TABLE} of something else, which would be "
            "replaced; give another directory"
        )


def target_class(text: str, class_names: Sequence[str]) -> int | None:
    """The index of a class by name; None for `predicted`.

    Raises:
        UserError: no class has that name.
    """
    if text in class_names:
        return list(class_names).index(text)
    if text == "predicted":
        return None
    known = did_you_mean(text, ["predicted", *class_names])
    raise UserError(f"--target: no class is called {text!r}{known}")
