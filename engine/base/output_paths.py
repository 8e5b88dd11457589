"""Whether something can be written where a user wants it, checked before any work begins."""

import os
from collections.abc import Iterable
from pathlib import Path

from engine.base.config import UserError


def require_directory(path: Path, name: str) -> None:
    """Checks that files can be written into a directory, which need not exist yet.

    Args:
        name: the flag or argument that gave the path, such as `--workdir`.

    Raises:
        UserError: it, or what it would lie in, is a file, or may not be written to by this user.
    """
    existing = path
    while not os.path.lexists(existing) and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        what = "it" if existing == path else f"{existing}"
        kind = "a file" if existing.exists() else "a link that leads nowhere"
        raise UserError(f"{name} {path}: {what} is {kind}; expected a directory")
    if not os.access(existing, os.W_OK | os.X_OK):
        where = "" if existing == path else f"{existing}: "
        raise UserError(
            f"{name} {path}: {where}Permission denied; change its permissions, or give another path"
        )


def require_file(path: Path, name: str) -> None:
    """Checks that a file can be written, over an earlier one if there is one.

    Raises:
        UserError: it is a directory, or cannot be written into the one that it lies in.
    """
    if path.is_dir():
        raise UserError(f"{name} {path}: it is a directory; expected the path of a file")
    require_directory(path.parent, name)


def require_text_file(path: Path, name: str) -> None:
    """As `require_file`, and makes sure that no image or other file is replaced by mistake.

    Raises:
        UserError: as `require_file`; or there is something that is no regular file, or holds no text.
    """
    require_file(path, name)
    if not path.exists():
        return
    if not path.is_file():
        raise UserError(f"{name} {path}: is no regular file; expected the path of a file")
    try:
        with open(path, "rb") as file:
            holds_text = b"\0" not in file.read(4096)
    except OSError as error:
        raise UserError(f"{name} {path}: cannot be replaced ({error.strerror})") from error
    if not holds_text:
        raise UserError(
            f"{name} {path}: is a file that holds no text, such as an image; give another path, or remove "
            "it first"
        )


def require_other(path: Path, inputs: Iterable[Path | str], name: str) -> None:
    """Checks that writing a file replaces none of those that are read; links are followed.

    Args:
        inputs: files, of which some may be absent; directories are none.

    Raises:
        UserError: it is one of them.
    """
    try:
        written = path.stat()
    except OSError:  # nothing is replaced
        return
    for one in inputs:
        try:
            is_same = os.path.samestat(Path(one).stat(), written)
        except (OSError, ValueError):
            continue
        if is_same:
            raise UserError(
                f"{name} {path}: is among what is read and would be replaced; give another path"
            )


def require_holds_none(directory: Path, inputs: Iterable[Path], name: str) -> None:
    """Checks that none of the files that are read lies in a directory of files to be written.

    A link counts both where it is and where it leads.

    Raises:
        UserError: one of them does.
    """
    if not directory.is_dir():
        return
    is_it: dict[Path, bool] = {}
    for one in inputs:
        for parent in {one.parent, Path(os.path.realpath(one)).parent}:
            if parent not in is_it:
                is_it[parent] = parent.is_dir() and parent.samefile(directory)
            if is_it[parent]:
                raise UserError(
                    f"{name} {directory}: holds {one.name}, which is read and could be replaced; give "
                    "another directory"
                )


def require_unowned(path: Path, owned: Iterable[Path], name: str, owner: Path) -> None:
    """Checks that a file is none of those that a run, or the like, keeps; links are followed.

    Args:
        owned: files and directories, such as `RunDirectory.owned`, which need not exist.
        owner: whose they are, such as the run's directory.

    Raises:
        UserError: it is one of them, or would lie in one of them.
    """
    real = Path(os.path.realpath(path))
    kept = {os.path.realpath(one) for one in owned}
    if any(str(place) in kept for place in (real, *real.parents)):
        raise UserError(f"{name} {path}: is part of {owner}, which has to stay; give another path")
