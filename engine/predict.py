"""`python -m engine.predict RUN PATH...`: predicts the class of image files, with its probability.

Paths are files, folders (searched through) and quoted globs. Each line holds path, probability and
class; of two classes the probability is always that of the second one, the positive class. RUN may
be an ensemble (engine.train --num-seeds), and --with adds further runs: all are averaged. The
distance from the training images follows where the run knows it: above 1 an image is unlike them.
Files that cannot be read are named on standard error and passed over. Not for diagnosis.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from engine import api
from engine.base import callable_module, command_line, config, files
from engine.base.csv_rows import CsvRows
from engine.base.flag_parser import FlagParser, add_with_flag
from engine.base.run_settings import PredictConfig
from engine.runs import contract, ensemble

if TYPE_CHECKING:
    from engine.inference.prediction import Prediction

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
    add_with_flag(parser)
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
    with command_line.quiet_imports():
        from engine.inference import prediction

    run = ensemble.opened([arguments.run, *arguments.others])
    batches = prediction.predict_files(run, arguments.paths, settings)
    kind = JsonWriter if arguments.json else CsvWriter if arguments.csv else TextWriter
    names = contract.stored(run).class_names
    known = {"is_average": bool(run.members), "has_distances": batches.has_distances}
    with kind(names, sys.stdout, **known) as writer:
        for batch in batches:
            for found in batch:
                writer.write(found)
            with files.errors_named(Path("standard output")):
                sys.stdout.flush()
    return command_line.DONE


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

    def write(self, found: "Prediction") -> None:
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

    def write(self, found: "Prediction") -> None:
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
        self._file.write("\n]\n")

    def write(self, found: "Prediction") -> None:
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


callable_module.make_callable(__name__, api.predict)

if __name__ == "__main__":
    sys.exit(main())
