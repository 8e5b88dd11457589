"""Files that are either whole or absent: written aside, synced, then renamed into place.

POSIX promises that `rename` within one directory is atomic; syncing the file before it and the
directory after it makes the promise hold through a power cut as well.
"""

import csv
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

ASIDE_SUFFIX = ".partial"


def sync_directory(directory: Path) -> None:
    """Makes the names in `directory` durable (a no-op where directories cannot be opened)."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Makes the contents of `path` durable."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yields a path to write to, which takes the name `path` only when the block ends well.

    The name aside keeps the suffix of `path` (`model.partial.keras`), since some writers choose
    the format by it. When the block raises, `path` is as it was and nothing is left aside.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.stem}{ASIDE_SUFFIX}{path.suffix}")
    try:
        with errors_named(path):
            yield aside
            sync_file(aside)
            aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


@contextmanager
def errors_named(path: Path) -> Iterator[None]:
    """Gives the errors of the system their file: it names one where it opens, but not where it writes."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def write_text(path: Path, text: str) -> None:
    """Writes `text` (UTF-8) so that readers see the old file or the new one, never a part."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON with a final newline, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_csv_row(file: IO[str], row: Sequence[Any]) -> None:
    """Writes one row of CSV (RFC 4180, but for the line ends) that `csv.reader` reads back as it was."""
    # Python's own writer leaves a carriage return unquoted, before 3.13, and readers split the row.
    if any("\r" in str(field) for field in row):
        csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(row)
    else:
        csv.writer(file, lineterminator="\n").writerow(row)


def read_json(path: Path) -> Any:
    """Reads a JSON file; raises `OSError` or `ValueError` as `open` and `json` do."""
    with open(path, encoding="utf-8") as file:
        return json.load(file)
