"""The image files that a user's paths stand for, decoded a bounded number at a time.

Decoding is that of `engine.decoding`, as when shards are built, so that a model sees a file just as
it would have seen it in training.
"""

import collections
import itertools
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from engine import decoding, machine, progress
from engine.config import UserError

_CLUTTER = frozenset({"thumbs.db", "desktop.ini"})  # what file managers leave in folders
_GLOB_CHARACTERS = frozenset("*?[")


class Failures:
    """Names what cannot be read on standard error, and counts it."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, path: Path | str, reason: object) -> None:
        """Reports one path with its reason."""
        self.count += 1
        progress.say(f"{path}: {reason}")


def find_files(paths: Iterable[str], failures: Failures) -> Iterator[Path]:
    """The files that paths stand for, in the order given, folders and globs sorted.

    A path that exists is taken literally, even with `[` or `*` in its name. Hidden files are found
    only where they are named. What matches nothing is added to `failures`.
    """
    for text in paths:
        path = Path(text)
        if path.is_dir():
            found: Iterable[Path] = _files_below(path)
        elif path.exists() or path.is_symlink():
            found = [path]
        elif _GLOB_CHARACTERS & set(text):
            found = _matches(path)
        else:
            failures.add(path, "no such file or folder")
            continue
        count = 0
        for count, file in enumerate(found, start=1):  # noqa: B007  counted for the line below
            yield file
        if not count:
            failures.add(path, "holds no file" if path.is_dir() else "matches no file")


def require_files(paths: Iterable[str], failures: Failures) -> Iterator[Path]:
    """As `find_files`, but looks for the first file at once.

    Raises:
        UserError: the paths lead to no file at all.
    """
    found = find_files(paths, failures)
    first = next(found, None)
    if first is None:
        raise UserError("none of the paths leads to a file; give images, folders or quoted globs")
    return itertools.chain([first], found)


def _files_below(folder: Path) -> Iterator[Path]:
    """Every file in a folder and below, sorted, without following links to folders."""
    for directory, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and name.lower() not in _CLUTTER:
                yield Path(directory, name)


def _matches(pattern: Path) -> Iterator[Path]:
    """Files that match a glob, and the files in folders that match it."""
    # What exists is taken literally: `scans [2024]/*.png` holds only one glob.
    base, rest = Path(pattern.anchor), list(pattern.parts[1 if pattern.anchor else 0 :])
    while rest and (base / rest[0]).exists():
        base /= rest.pop(0)
    recursive = "**" in rest
    if rest[-1] == "**":  # pathlib takes it for the folders alone before Python 3.13
        rest.append("*")
    for match in sorted(base.glob("/".join(rest))):
        hidden = any(part.startswith(".") for part in match.relative_to(base).parts)
        if hidden and not any(part.startswith(".") for part in rest):
            continue
        if match.is_dir():
            # With `**` the files below are matches themselves.
            yield from () if recursive else _files_below(match)
        else:
            yield match


def decoded_images(
    paths: Iterable[Path],
    failures: Failures,
    *,
    image_size: tuple[int, int],
    channels: int,
    keep_aspect_ratio: bool,
    max_pixels: int | None = None,
    workers: int | None = None,
) -> Iterator[tuple[Path, np.ndarray]]:
    """Yields (path, uint8[H, W, C]) in order, decoded by threads, a bounded number at a time.

    Args:
        failures: told of each file that cannot be decoded; it is then passed over.
        max_pixels: the largest image to decode; None for the decoder's own bound.
        workers: threads; None for one a core.
    """
    limits: dict[str, Any] = {} if max_pixels is None else {"max_pixels": max_pixels}
    workers = workers or machine.usable_cores()

    def decode(path: Path) -> np.ndarray:
        return decoding.decode_file(
            path,
            image_size=image_size,
            channels=channels,
            keep_aspect_ratio=keep_aspect_ratio,
            **limits,
        )

    waiting: collections.deque[tuple[Path, Future[np.ndarray]]] = collections.deque()

    def finished() -> Iterator[tuple[Path, np.ndarray]]:
        path, future = waiting.popleft()
        try:
            yield path, future.result()
        except (decoding.DecodeError, OSError) as error:
            failures.add(path, error)

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
