"""Where an export goes: a directory that is written aside, and is whole or absent.

    RUN/exports/<format>            litert, onnx, joblib; int8 in litert-int8
    RUN/exports/saved_model/<name>/<version>   as TensorFlow Serving looks for it

TensorFlow Serving passes over directories whose names are no numbers, so it never loads a part of a model.
"""

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from engine.base import files, output_paths
from engine.base.config import UserError
from engine.base.export_settings import EXPORT_FORMATS, ExportConfig
from engine.inference.export import metadata
from engine.runs.run_directory import RunDirectory

_SAVED_MODEL_METADATA = Path("assets.extra", metadata.NAME)
_DEFAULT_NAME = "model"
_COMPILED = "__pycache__"  # made by Python where classifier.py is imported


def place_of(run: RunDirectory, settings: ExportConfig, output: Path | None) -> Path:
    """The directory of the export that the settings ask for.

    Args:
        output: what the user gave; None for a directory in the run.
    """
    kind = (
        settings.format if settings.quantize is None else f"{settings.format}-{settings.quantize}"
    )
    base = run.exports / kind if output is None else output
    if settings.format != "saved_model":
        return base
    name = settings.name or run.path.resolve().name or _DEFAULT_NAME
    return base / name / str(settings.version)


def require_free(place: Path, *, overwrite: bool) -> None:
    """Checks that an export can be written to a directory.

    Raises:
        UserError: it holds an export and `overwrite` is not given, or it holds anything else, or this user
            may not write there.
    """
    output_paths.require_directory(place, "--output")
    if not place.exists() or not any(place.iterdir()):
        return
    if not _is_export(place):
        raise UserError(
            f"--output {place}: holds other files; expected an empty directory, a new one, or an earlier "
            "export"
        )
    if not overwrite:
        raise UserError(
            f"--output {place}: already holds an export; replace it with --overwrite, or give another "
            "directory (a SavedModel: another --version)"
        )


@contextlib.contextmanager
def written_aside(place: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yields an empty directory, which takes the name `place` only when the block ends well.

    When the block raises, `place` is as it was and nothing is left aside. A process that is killed leaves a
    hidden directory, `.NAME.<random>.partial`, which no other process writes to or removes.

    Raises:
        UserError: as `require_free`, if something was put there meanwhile.
    """
    unique = f".{place.name}.{secrets.token_hex(8)}"
    aside, former = (place.with_name(f"{unique}{end}") for end in (".partial", ".former"))
    place.parent.mkdir(parents=True, exist_ok=True)
    aside.mkdir()
    try:
        with files.errors_named(place):
            yield aside
            require_free(place, overwrite=overwrite)
            if place.exists():
                place.rename(former)
            aside.rename(place)
            _remove(former)
    except BaseException:
        if former.exists() and not place.exists():
            former.rename(place)
        _remove(former)  # where another export took the place meanwhile
        _remove(aside)
        raise
    files.sync_directory(place.parent)


def files_in(directory: Path) -> list[str]:
    """The files of an export, relative to its directory, sorted, but for what Python compiled."""
    return sorted(
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if (path.is_symlink() or not path.is_dir()) and not _is_compiled(directory, path)
    )


def _is_compiled(directory: Path, path: Path) -> bool:
    return path.parent == directory / _COMPILED and path.suffix == ".pyc"


def _is_export(place: Path) -> bool:
    """Whether a directory holds an export and nothing else: only such a one may be replaced."""
    for path in (place / metadata.NAME, place / _SAVED_MODEL_METADATA):
        try:
            found = files.read_json(path)
        except (OSError, ValueError):
            continue
        if not isinstance(found, dict) or found.get("format") not in EXPORT_FORMATS:
            return False
        own = found.get("files")
        known = set(map(str, own)) if isinstance(own, list) else set()
        return known.issuperset({*files_in(place)} - {path.relative_to(place).as_posix()})
    return False


def _remove(directory: Path) -> None:
    if directory.is_symlink() or directory.is_file():
        directory.unlink()
    elif directory.exists():
        shutil.rmtree(directory)
