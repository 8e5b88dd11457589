"""Where predictions go: standard output or a file that is whole or absent, as text, CSV or JSON."""

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from engine.base import files
from engine.base.config import UserError
from engine.base.csv_rows import CsvRows
from engine.inference.prediction import Prediction

FORMATS = ("text", "csv", "json")


def format_of(output: Path | None, given: str | None) -> str:
    """The format that was asked for, else that of the suffix, `.csv` or `.json`, else `text`."""
    suffix = "" if output is None else output.suffix.lower().lstrip(".")
    return given or (suffix if suffix in FORMATS else "text")


@contextlib.contextmanager
def opened(
    output: Path | None,
    kind: str,
    class_names: Sequence[str],
    *,
    is_average: bool = False,
    has_distances: bool = False,
) -> Iterator["TextWriter"]:
    """A writer to a file, which takes its name when the block ends well, or to standard output.

    Args:
        kind: one of `FORMATS`.
        is_average, has_distances: see `TextWriter`.
    """
    writer = {"text": TextWriter, "csv": CsvWriter, "json": JsonWriter}[kind]
    known = {"is_average": is_average, "has_distances": has_distances}
    if output is None:
        with writer(class_names, sys.stdout, **known) as standard_output:
            yield standard_output
        return
    with (
        files.written_aside(output) as aside,
        open(aside, "w", encoding="utf-8", newline="") as file,
        writer(class_names, file, **known) as to_file,
    ):
        yield to_file


class TextWriter:
    """`path<TAB>probability<TAB>class`, one line per image; then the distance, and `unlike` above 1.

    Args:
        is_average: whether several runs are averaged; CSV and JSON give their `spread` then.
        has_distances: whether distances from the training images are known.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        file: IO[str],
        *,
        is_average: bool = False,
        has_distances: bool = False,
    ) -> None:
        self._names, self._file = class_names, file
        self._is_average, self._has_distances = is_average, has_distances

    def __enter__(self) -> "TextWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def flush(self) -> None:
        """Hands on what was written, so that readers see it."""
        self._file.flush()

    def write(self, found: Prediction) -> None:
        """Writes one image."""
        path = files.one_line(found.path)
        line = f"{path}\t{found.probability:.4f}\t{found.predicted}"
        if found.distance is not None:
            line += f"\t{found.distance:.2f}" + (" unlike" if found.is_unlike else "")
        print(line, file=self._file)


class CsvWriter(TextWriter):
    """`path,probability,predicted`; with more than two classes, a column for each follows.

    Then, where they are known, `spread`, and `distance` and `unlike` (0 or 1).
    """

    def __enter__(self) -> "CsvWriter":
        self._csv = CsvRows(self._file)
        self._columns = self._names if len(self._names) > 2 else ()
        columns = [f"probability_{name}" for name in self._columns]
        spread = ["spread"] if self._is_average else []
        distance = ["distance", "unlike"] if self._has_distances else []
        self._csv.writerow(["path", "probability", "predicted", *columns, *spread, *distance])
        return self

    def write(self, found: Prediction) -> None:
        """As `TextWriter.write`."""
        each = [f"{found.probabilities[name]:.6f}" for name in self._columns]
        each += [] if found.spread is None else [f"{found.spread:.6f}"]
        if found.distance is not None:
            each += [f"{found.distance:.4f}", str(int(found.is_unlike))]
        path, shown = files.as_utf8(found.path), f"{found.probability:.6f}"
        self._csv.writerow([path, shown, found.predicted, *each])


class JsonWriter(TextWriter):
    """One JSON array with one object per image, written as it grows."""

    def __enter__(self) -> "JsonWriter":
        self._separator = "\n"
        self._file.write("[")
        return self

    def __exit__(self, *exception: object) -> None:
        # An array without its end shows that it is not whole. That of no file that could be read is.
        nothing_read = isinstance(exception[1], UserError) and self._separator == "\n"
        if exception[0] is None or nothing_read:
            self._file.write("\n]\n")

    def write(self, found: Prediction) -> None:
        """As `TextWriter.write`."""
        value = {
            "path": files.as_utf8(found.path),
            "probability": round(found.probability, 6),
            "predicted": found.predicted,
            "probabilities": {name: round(p, 6) for name, p in found.probabilities.items()},
            **({} if found.spread is None else {"spread": round(found.spread, 6)}),
        }
        if found.distance is not None:
            value |= {"distance": round(found.distance, 4), "unlike": found.is_unlike}
        self._file.write(self._separator + json.dumps(value, ensure_ascii=False))
        self._separator = ",\n"
