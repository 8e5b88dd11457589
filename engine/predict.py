"""`python -m engine.predict RUN PATH...`: predicts the class of image files, with its probability.

Paths are files, folders (searched through) and quoted globs. Each line holds path, probability and
class; of two classes the probability is always that of the second one, the positive class. Files that
cannot be read are named on standard error and passed over. Not for diagnosis.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from engine.base import command_line, config, files, progress
from engine.base.csv_rows import CsvRows
from engine.base.flag_parser import FlagParser
from engine.base.run_settings import PredictConfig
from engine.images import image_files
from engine.runs import contract
from engine.runs.run_directory import RunDirectory

PROGRAM = "python -m engine.predict"


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = FlagParser(
        prog=PROGRAM,
        description=__doc__,
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
    image_files.check_paths(arguments.paths)
    with command_line.quiet_imports():
        from engine.inference.predictor import Predictor

    run = RunDirectory(arguments.run)
    run.require_trained()
    contract.read(run)
    failures = image_files.Failures()
    paths = image_files.require_files(arguments.paths, failures)
    progress.say("loading TensorFlow and the model ...")
    predictor = Predictor.load(arguments.run, batch_size=settings.batch_size)
    kind = JsonWriter if arguments.json else CsvWriter if arguments.csv else TextWriter
    images = image_files.decoded_images(
        paths,
        failures,
        image_format=predictor.contract.image_format,
        max_pixels=settings.max_pixels,
        workers=settings.workers,
    )
    batches = image_files.batched(images, predictor.batch_size)
    predicted = 0
    with kind(predictor.contract.class_names, sys.stdout) as writer:
        for batch, probabilities in predictor.predict_batches(batches):
            labels = predictor.predicted_labels(probabilities)
            for path, probability, label in zip(batch["path"], probabilities, labels, strict=True):
                writer.write(path, probability, int(label))
                predicted += 1
            with files.errors_named(Path("standard output")):
                sys.stdout.flush()
    failures.say_doubts()
    if failures.count:
        progress.say(f"{failures.count} not read, {predicted} predicted")
    if not predicted:
        raise config.UserError("none of the paths holds an image that can be read")
    return command_line.DONE


class TextWriter:
    """`path<TAB>probability<TAB>class`, one line per image."""

    def __init__(self, class_names: Sequence[str], file: IO[str]) -> None:
        self._names, self._file = class_names, file

    def __enter__(self) -> "TextWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def write(self, path: Path, probability: np.ndarray, label: int) -> None:
        """Writes one image: `probability` is a scalar of two classes, or float[K]."""
        shown = _shown_probability(probability)
        print(f"{files.one_line(path)}\t{shown:.4f}\t{self._names[label]}", file=self._file)


class CsvWriter(TextWriter):
    """`path,probability,predicted`; with more than two classes, a column for each follows."""

    def __enter__(self) -> "CsvWriter":
        self._csv = CsvRows(self._file)
        many = len(self._names) > 2
        columns = [f"probability_{name}" for name in self._names] if many else []
        self._csv.writerow(["path", "probability", "predicted", *columns])
        return self

    def write(self, path: Path, probability: np.ndarray, label: int) -> None:
        """As `TextWriter.write`."""
        each = [f"{value:.6f}" for value in probability] if np.ndim(probability) else []
        shown = f"{_shown_probability(probability):.6f}"
        self._csv.writerow([files.as_utf8(path), shown, self._names[label], *each])


class JsonWriter(TextWriter):
    """One JSON array with one object per image, written as it grows."""

    def __enter__(self) -> "JsonWriter":
        self._separator = "\n"
        self._file.write("[")
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.write("\n]\n")

    def write(self, path: Path, probability: np.ndarray, label: int) -> None:
        """As `TextWriter.write`."""
        each: Any = probability if np.ndim(probability) else (1 - probability, probability)
        value = {
            "path": files.as_utf8(path),
            "probability": round(_shown_probability(probability), 6),
            "predicted": self._names[label],
            "probabilities": {
                name: round(float(p), 6) for name, p in zip(self._names, each, strict=True)
            },
        }
        self._file.write(self._separator + json.dumps(value, ensure_ascii=False))
        self._separator = ",\n"


def _shown_probability(probability: np.ndarray) -> float:
    """The positive class's of two, the largest of more."""
    return float(np.max(probability))


if __name__ == "__main__":
    sys.exit(main())
