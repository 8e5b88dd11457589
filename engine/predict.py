"""`python -m engine.predict RUN PATH...`: predicts the class of image files, with its probability.

Paths are files, folders (searched through) and quoted globs; --paths-from takes a list of any length,
and --part K/N shares the files among machines or runs. Each line holds path, probability and class;
of two classes the probability is always that of the second one, the positive class. RUN may be an
ensemble (engine.train --num-seeds), and --with adds further runs: all are averaged. The distance from
the training images follows where the run knows it: above 1 an image is unlike them. Files that cannot
be read are named on standard error and passed over. Not for diagnosis.
"""

import argparse
import contextlib
import os
import stat
import sys
from pathlib import Path

from engine import api
from engine.base import callable_module, command_line, config, files, output_paths
from engine.base.flag_parser import FlagParser, add_with_flag
from engine.base.progress import ProgressBar
from engine.base.run_settings import PredictConfig
from engine.images import path_list
from engine.runs import contract, ensemble, outputs

PROGRAM = "python -m engine.predict"
STANDARD_OUTPUT = Path("-")


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = FlagParser(
        prog=PROGRAM,
        description=__doc__,
        usage=f"{PROGRAM} RUN PATH... [--output FILE] [flags]",
        intermixed=True,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="made by engine.train")
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help="an image, a folder, or a glob in quotes"
    )
    parser.add_argument(
        "--paths-from",
        type=Path,
        metavar="FILE",
        help="also the paths in a list, one per line (or as find -print0 gives them); - for standard "
        "input",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write a file instead of standard output, as CSV or JSON if it is called so; it appears "
        "when it is whole, and replaces an earlier one",
    )
    add_with_flag(parser)
    formats = parser.add_mutually_exclusive_group()
    formats.add_argument("--json", action="store_true", help="one JSON array")
    formats.add_argument("--csv", action="store_true", help="CSV with a header")
    config.add_flags(parser, PredictConfig)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status, 2 if no file could be read."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if not arguments.paths and arguments.paths_from is None:
        parser.error("PATH is missing: give images, folders, quoted globs, or --paths-from FILE")
    return command_line.run(PROGRAM, lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    settings = config.from_flags(PredictConfig, arguments)
    output = None if arguments.output == STANDARD_OUTPUT else arguments.output
    if output is not None:
        outputs.require_text_file(output, "--output")
    paths, read = list(arguments.paths), []
    if arguments.paths_from is not None:
        paths += path_list.read(arguments.paths_from)
        read = [arguments.paths_from]
    with command_line.quiet_imports():
        from engine.inference import prediction, prediction_output

    run = ensemble.opened([arguments.run, *arguments.others])
    if output is not None:
        output_paths.require_other(output, [*read, *paths], "--output")
        for one in (run, *run.members):  # whose parts may be links to other places
            owned = [*one.owned, one.card_text]
            output_paths.require_unowned(output, owned, "--output", one.path)
    written = _standard_output() if output is None else (output, files.aside_path(output))
    batches = prediction.predict_files(run, paths, settings, left_out=written)
    given = "json" if arguments.json else "csv" if arguments.csv else None
    with (
        _progress(output, batches.num_files) as progress,
        prediction_output.opened(
            output,
            prediction_output.format_of(output, given),
            contract.stored(run).class_names,
            is_average=bool(run.members),
            has_distances=batches.has_distances,
        ) as writer,
    ):
        done = 0
        for batch in batches:
            for found in batch:
                writer.write(found)
            with files.errors_named(output or Path("standard output")):
                writer.flush()
            done += len(batch)
            progress.advance_to(done + batches.num_unreadable)
    if output is not None:
        print(f"predictions: {files.one_line(output)}")
    return command_line.DONE


def _standard_output() -> tuple[Path, ...]:
    """The file that standard output was redirected to, where it was and the system knows its name."""
    with contextlib.suppress(OSError, ValueError):  # it may be closed, or no file at all
        if stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode):
            return (Path(os.path.realpath(f"/dev/fd/{sys.stdout.fileno()}")),)
    return ()


def _progress(output: Path | None, num_files: int) -> ProgressBar:
    """On standard error; nothing where the results themselves appear on a terminal as they are made."""
    is_hidden = output is None and sys.stdout.isatty()
    return ProgressBar("predicting", total=num_files, lines=output is not None, is_hidden=is_hidden)


callable_module.make_callable(__name__, api.predict)

if __name__ == "__main__":
    sys.exit(main())
