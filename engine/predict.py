"""`python -m engine.predict RUN PATH...`: the probability and the class of image files.

Paths are files, folders (searched through) and quoted globs. Each line holds path, probability and
class; of two classes the probability is always that of the second one, the positive class. Files that
cannot be read are named on standard error and passed over. Not for diagnosis.
"""

import argparse
import collections
import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from engine import command_line, config, progress
from engine.settings import PredictConfig

if TYPE_CHECKING:
    from engine.predictor import Predictor

PROGRAM = "python -m engine.predict"
_CLUTTER = frozenset({"thumbs.db", "desktop.ini"})  # what file managers leave in folders
_GLOB_CHARACTERS = frozenset("*?[")


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=__doc__.partition("\n\n")[2],
        usage=f"{PROGRAM} RUN PATH [PATH ...] [--json | --csv] [flags]",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="made by engine.train")
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="an image, a folder, or a glob in quotes"
    )
    formats = parser.add_mutually_exclusive_group()
    formats.add_argument("--json", action="store_true", help="print one JSON array")
    formats.add_argument("--csv", action="store_true", help="print CSV with a header")
    config.add_flags(parser, PredictConfig)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status, 2 if no file could be read."""
    arguments = build_parser().parse_args(argv)
    return command_line.run(PROGRAM, lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    settings = config.from_flags(PredictConfig, arguments)
    from engine.predictor import Predictor

    predictor = Predictor.load(arguments.run, batch_size=settings.batch_size)
    kind = JsonWriter if arguments.json else CsvWriter if arguments.csv else TextWriter
    failures = Failures()
    images = decoded_images(
        find_files(arguments.paths, failures),
        predictor,
        failures,
        workers=settings.workers or os.cpu_count() or 1,
        max_pixels=settings.max_pixels,
    )
    predicted = 0
    with kind(predictor.data.class_names, sys.stdout) as writer:
        for batch, probabilities in predictor.predict_batches(_batches(images, predictor)):
            labels = predictor.predicted_labels(probabilities)
            for path, probability, label in zip(batch["path"], probabilities, labels, strict=True):
                writer.write(path, probability, int(label))
                predicted += 1
            sys.stdout.flush()
    if failures.count:
        progress.say(f"{failures.count} not read, {predicted} predicted")
    if not predicted:
        raise config.UserError("none of the paths holds an image that can be read")
    return command_line.DONE


class Failures:
    """Names what cannot be read on standard error, and counts it."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, path: Path | str, reason: object) -> None:
        """Reports one path with its reason."""
        self.count += 1
        progress.say(f"{path}: {reason}")


# --- which files --------------------------------------------------------------------------------


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


# --- decoding -----------------------------------------------------------------------------------


def decoded_images(
    paths: Iterable[Path],
    predictor: "Predictor",
    failures: Failures,
    *,
    workers: int,
    max_pixels: int | None = None,
) -> Iterator[tuple[Path, np.ndarray]]:
    """Yields (path, uint8[H, W, C]) in order, decoded by threads, a bounded number at a time.

    Args:
        max_pixels: the largest image to decode; None for the decoder's own bound.
    """
    from engine import decoding

    data = predictor.data
    limits: dict[str, Any] = {} if max_pixels is None else {"max_pixels": max_pixels}

    def decode(path: Path) -> np.ndarray:
        return decoding.decode_file(
            path,
            image_size=data.image_size,
            channels=data.channels,
            keep_aspect_ratio=data.keep_aspect_ratio,
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


def _batches(
    images: Iterable[tuple[Path, np.ndarray]], predictor: "Predictor"
) -> Iterator[dict[str, Any]]:
    paths: list[Path] = []
    pixels: list[np.ndarray] = []
    for path, image in images:
        paths.append(path)
        pixels.append(image)
        if len(paths) == predictor.batch_size:
            yield {"path": paths, "image": np.stack(pixels)}
            paths, pixels = [], []
    if paths:
        yield {"path": paths, "image": np.stack(pixels)}


# --- output -------------------------------------------------------------------------------------


class TextWriter:
    """`path<TAB>probability<TAB>class`, a line an image."""

    def __init__(self, class_names: Sequence[str], file: IO[str]) -> None:
        self._names, self._file = class_names, file

    def __enter__(self) -> "TextWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def write(self, path: Path, probability: np.ndarray, label: int) -> None:
        """Writes one image: `probability` is a scalar of two classes, or float[K]."""
        shown = _shown_probability(probability)
        print(f"{_printable(path)}\t{shown:.4f}\t{self._names[label]}", file=self._file)


class CsvWriter(TextWriter):
    """`path,probability,label`; with more than two classes, a column for each follows."""

    def __enter__(self) -> "CsvWriter":
        self._csv = csv.writer(self._file, lineterminator="\n")
        many = len(self._names) > 2
        columns = [f"probability_{name}" for name in self._names] if many else []
        self._csv.writerow(["path", "probability", "label", *columns])
        return self

    def write(self, path: Path, probability: np.ndarray, label: int) -> None:
        """As `TextWriter.write`."""
        each: list[str] = [f"{value:.6f}" for value in probability] if np.ndim(probability) else []
        shown = f"{_shown_probability(probability):.6f}"
        self._csv.writerow([_printable(path), shown, self._names[label], *each])


class JsonWriter(TextWriter):
    """One JSON array with an object an image, written as it grows."""

    def __enter__(self) -> "JsonWriter":
        self._separator = "\n"
        self._file.write("[")
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.write("\n]\n")

    def write(self, path: Path, probability: np.ndarray, label: int) -> None:
        """As `TextWriter.write`."""
        each = probability if np.ndim(probability) else (1 - probability, probability)
        value = {
            "path": _printable(path),
            "probability": round(_shown_probability(probability), 6),
            "label": self._names[label],
            "probabilities": {
                name: round(float(p), 6) for name, p in zip(self._names, each, strict=True)
            },
        }
        self._file.write(self._separator + json.dumps(value, ensure_ascii=False))
        self._separator = ",\n"


def _shown_probability(probability: np.ndarray) -> float:
    """The positive class's of two, the largest of more."""
    return float(np.max(probability))


def _printable(path: Path) -> str:
    """The path as text that every stream takes; bytes that are no UTF-8 are escaped."""
    return str(path).encode("utf-8", errors="surrogateescape").decode("utf-8", "backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
