"""The image files that a user's paths stand for, decoded a bounded number at a time.

Decoding is that of `engine.images.decoding`, as when shards are built, so that a model sees a file just as
it would have seen it in training.
"""

import collections
import fnmatch
import itertools
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from engine.base import files, machine, progress, wording
from engine.base.config import UserError
from engine.images import decoding, image_folder
from engine.images.format import ImageFormat

_GLOB_CHARACTERS = frozenset("*?[")


class Failures:
    """Names what cannot be read on standard error, and counts it; keeps what may have been misread."""

    def __init__(self) -> None:
        self.count = 0
        self._doubts: dict[str, wording.Group] = {}

    def add(self, path: Path | str, reason: object) -> None:
        """Reports one path with its reason."""
        self.count += 1
        progress.say(f"{files.one_line(path)}: {reason}")

    def doubt(self, path: Path | str, doubt: str) -> None:
        """Notes what `decoding.decode_bytes` warned of."""
        self._doubts.setdefault(doubt, wording.Group()).add(str(path))

    def say_doubts(self) -> None:
        """Reports them, one line for each kind."""
        for doubt, group in self._doubts.items():
            progress.say(f"warning: {group.described(doubt)}")


def check_paths(paths: Sequence[str]) -> None:
    """Raises `UserError` for an empty path, which would mean the current folder."""
    if "" in paths:
        raise UserError(
            "PATH: got an empty text, as an unset variable leaves it; expected an image, a folder or "
            "a glob (. is the current folder)"
        )


def find_files(
    paths: Iterable[str], failures: Failures, *, left_out: Collection[Path] = ()
) -> Iterator[Path]:
    """The files that paths stand for, in the order given, folders and globs sorted.

    A path that exists is taken literally, even with `[` or `*` in its name. Hidden files, and what
    operating systems leave in folders, are found only where they are named. What matches nothing, and
    each folder that cannot be searched, is added to `failures`.

    Args:
        left_out: files that are passed over, such as those that are written meanwhile.
    """
    names = {file.name for file in left_out}
    resolved = {file.resolve() for file in left_out}
    for text in paths:
        path = Path(text)
        before, count = failures.count, 0
        for count, file in enumerate(_found(path, failures), start=1):  # noqa: B007  counted for below
            if file.name not in names or file.resolve() not in resolved:
                yield file
        if not count and failures.count == before:
            failures.add(path, "holds no file" if path.is_dir() else "matches no file")


def require_files(
    paths: Iterable[str], failures: Failures, *, left_out: Collection[Path] = ()
) -> Iterator[Path]:
    """As `find_files`, but looks for the first file at once.

    Raises:
        UserError: the paths lead to no file at all.
    """
    found = find_files(paths, failures, left_out=left_out)
    first = next(found, None)
    if first is None:
        raise UserError("none of the paths leads to a file; give images, folders or quoted globs")
    return itertools.chain([first], found)


def would_find(paths: Iterable[str], file: Path) -> bool:
    """Whether a file, which need not exist yet, is among those that paths stand for.

    Of a glob with `**` this is said of every file below the folder where the glob begins.
    """
    real = Path(os.path.realpath(file))
    return any(_would_find(Path(text), real) for text in paths)


def _would_find(path: Path, real: Path) -> bool:
    if image_folder.is_folder(path):
        below = _parts_below(path, real)
        return below is not None and all(map(image_folder.is_visible, below))
    if os.path.lexists(path) or not _GLOB_CHARACTERS & set(str(path)):
        return path.name == real.name and Path(os.path.realpath(path)) == real
    parts = path.parts
    start = next(i for i, part in enumerate(parts) if _GLOB_CHARACTERS & set(part))
    below, wanted = _parts_below(Path(*parts[:start]), real), parts[start:]
    if below is None or ("**" not in wanted and len(below) < len(wanted)):
        return False
    return "**" in wanted or all(
        name == part or fnmatch.fnmatchcase(name, part)
        for name, part in zip(below, wanted, strict=False)
    )


def _parts_below(folder: Path, real: Path) -> tuple[str, ...] | None:
    """Of a path without links, what lies below a folder; None where it is elsewhere."""
    folder = Path(os.path.realpath(folder))
    return real.relative_to(folder).parts if real.is_relative_to(folder) else None


def _found(path: Path, failures: Failures) -> Iterable[Path]:
    """The files that one path stands for."""
    if image_folder.is_folder(path):
        return _files_below(path, failures)
    try:
        path.lstat()
    except OSError as error:
        if _GLOB_CHARACTERS & set(str(path)):
            return _matches(path, failures)
        absent = isinstance(error, (FileNotFoundError, NotADirectoryError))
        failures.add(path, "no such file or folder" if absent else _unreadable(error))
        return []
    return [path]


def _unreadable(error: OSError) -> str:
    return f"cannot be read ({error.strerror})"


def _files_below(folder: Path, failures: Failures) -> Iterator[Path]:
    """Every file in a folder and below, sorted, without following links to folders."""
    for directory, names in _folders_below(folder, failures):
        for name in sorted(names):
            if image_folder.is_visible(name):
                yield directory / name


def _folders_below(folder: Path, failures: Failures) -> Iterator[tuple[Path, list[str]]]:
    """A folder and all below it, sorted, links not followed, each with the names of its files."""

    def note(error: OSError) -> None:
        failures.add(error.filename, _unreadable(error))

    for directory, folders, names in os.walk(folder, onerror=note):
        folders[:] = sorted(name for name in folders if image_folder.is_visible(name))
        yield Path(directory), names


def _matches(pattern: Path, failures: Failures) -> Iterator[Path]:
    """Files that match a glob, and the files in folders that match it, each once."""
    base, parts = Path(pattern.anchor), list(pattern.parts[1 if pattern.anchor else 0 :])
    matches = sorted(set(_expanded(base, parts, failures)))
    for match in matches:
        if not image_folder.is_folder(match):
            yield match
        elif "**" not in parts:  # with it, the files below are matches themselves
            yield from _files_below(match, failures)


def _expanded(base: Path, parts: Sequence[str], failures: Failures) -> Iterator[Path]:
    """What a glob's remaining parts match below `base`.

    Unlike `pathlib`'s, it names the folders that cannot be searched, and takes a part that exists
    literally: `scans [2024]/*.png` holds only one glob.
    """
    if not parts:
        yield base
        return
    part, rest = parts[0], parts[1:]
    if part == "**":
        for directory, _ in list(_folders_below(base, failures)):
            yield from _expanded(directory, rest or ["*"], failures)
    elif os.path.lexists(base / part):
        yield from _expanded(base / part, rest, failures)
    elif _GLOB_CHARACTERS & set(part) and image_folder.is_folder(base):
        for name in _names(base, failures):
            if fnmatch.fnmatchcase(name, part) and (
                image_folder.is_visible(name) or part.startswith(".")
            ):
                yield from _expanded(base / name, rest, failures)


def _names(folder: Path, failures: Failures) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        failures.add(folder, _unreadable(error))
        return []


def decoded_images(
    paths: Iterable[Path],
    failures: Failures,
    *,
    image_format: ImageFormat,
    max_pixels: int | None = None,
    workers: int | None = None,
) -> Iterator[tuple[Path, np.ndarray]]:
    """Yields (path, uint8[H, W, C]) in order, decoded by threads, a bounded number at a time.

    Args:
        failures: records each file that cannot be decoded, which is then skipped, and each
            that may have been misread.
        max_pixels: the largest image to decode; None for the decoder's own bound.
        workers: threads; None for one per core.
    """
    limits: dict[str, Any] = {} if max_pixels is None else {"max_pixels": max_pixels}
    workers = workers or machine.usable_cores()

    def decode(path: Path) -> tuple[np.ndarray, list[str]]:
        doubts: list[str] = []
        pixels = decoding.decode_file(
            path,
            image_format,
            warn=doubts.append,
            **limits,
        )
        return pixels, doubts

    waiting: collections.deque[tuple[Path, Future[tuple[np.ndarray, list[str]]]]]
    waiting = collections.deque()

    def finished() -> Iterator[tuple[Path, np.ndarray]]:
        path, future = waiting.popleft()
        try:
            pixels, doubts = future.result()
        except decoding.DecodeError as error:
            failures.add(path, error)
            return
        for doubt in doubts:
            failures.doubt(path, doubt)
        yield path, pixels

    with ThreadPoolExecutor(workers) as pool:
        try:
            for path in paths:
                waiting.append((path, pool.submit(decode, path)))
                if len(waiting) > 2 * workers:
                    yield from finished()
            while waiting:
                yield from finished()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def batched(images: Iterable[tuple[Path, np.ndarray]], batch_size: int) -> Iterator[dict[str, Any]]:
    """Dicts of `path`, a list, and `image`, uint8[B, H, W, C]; the last one may be smaller."""
    paths: list[Path] = []
    pixels: list[np.ndarray] = []
    for path, image in images:
        paths.append(path)
        pixels.append(image)
        if len(paths) == batch_size:
            yield {"path": paths, "image": np.stack(pixels)}
            paths, pixels = [], []
    if paths:
        yield {"path": paths, "image": np.stack(pixels)}
