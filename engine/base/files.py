"""Files that are either whole or absent: written aside, synced, then renamed into place.

POSIX promises that `rename` within one directory is atomic; syncing the file before it and the
directory after it makes the promise hold through a power cut as well.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


def aside_path(path: Path) -> Path:
    """Where `path` is written until it is whole, and where it stays if its writer is killed.

    The suffix is that of `path` (`model.partial.keras`), since some writers choose the format by it.
    """
    return path.with_name(f"{path.stem}{ASIDE_SUFFIX}{path.suffix}")


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yields a path to write to, which takes the name `path` only when the block ends well.

    It is a new, empty file: a link that somebody put there is removed, not followed. When the
    block raises, `path` is as it was and nothing is left aside.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = aside_path(path)
    aside.unlink(missing_ok=True)
    os.close(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
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


def as_utf8(path: Path | str) -> str:
    """A path as text that every stream takes: bytes that are not UTF-8 are escaped."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def one_line(path: Path | str) -> str:
    """A path as part of a message: as `as_utf8`, and control characters (line ends, a terminal's
    commands) are escaped too. What was escaped before stays as it is."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in as_utf8(path)
    )


def append(path: Path, data: bytes) -> None:
    """Adds `data` to the end of a file, durably.

    Raises:
        OSError: as `open` does, and where `path` is a link, which is not followed.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with errors_named(path), open(os.open(path, flags, 0o666), "ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Writes `text` (UTF-8) so that readers see the old file or the new one, never a part."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON with a final newline, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads a JSON file; raises `OSError` or `ValueError` as `open` and `json` do."""
    with open(path, encoding="utf-8") as file:
        return json.load(file)
