"""`python -m engine.export RUN`: writes a run as SavedModel, LiteRT, ONNX or joblib, checked.

A SavedModel takes image files and lies as TensorFlow Serving expects it; LiteRT (--quantize int8 too), ONNX and
joblib take pixels. All give calibrated probabilities, with classes and threshold in metadata.json. RUN may be an
ensemble, and --with adds further runs: all are averaged in the model.

What is written is loaded and run on the same images as the run: on a split of --shards (by default the shards
of the training, if they are still there), or on --images. An export that differs by more than 0.0001 is
removed. Not for diagnosis.
"""

import argparse
import sys
from pathlib import Path

from engine import api
from engine.base import callable_module, command_line, config, files
from engine.base.export_settings import ExportConfig
from engine.base.flag_parser import FlagParser, add_with_flag
from engine.runs import ensemble

PROGRAM = "python -m engine.export"


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = FlagParser(prog=PROGRAM, description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="made by engine.train")
    add_with_flag(parser)
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="the directory to write (default: RUN/exports/FORMAT)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an earlier export in that directory"
    )
    parser.add_argument(
        "--shards", type=Path, metavar="SHARDS", help="shards to check the export on"
    )
    parser.add_argument(
        "--images",
        nargs="+",
        default=[],
        metavar="PATH",
        help="or images, folders and globs in quotes",
    )
    config.add_flags(parser, ExportConfig)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status, 1 if the export does not agree with the run."""
    arguments = build_parser().parse_args(argv)
    return command_line.run(PROGRAM, lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    settings = config.from_flags(ExportConfig, arguments)
    with command_line.quiet_imports():
        from engine.inference.export import exporting
        from engine.inference.export.verification import DisagreementError

    try:
        exported = exporting.export_run(
            ensemble.opened([arguments.run, *arguments.others]),
            settings,
            output=arguments.output,
            shards=arguments.shards,
            images=arguments.images,
            overwrite=arguments.overwrite,
        )
    except DisagreementError as error:
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return command_line.FAILED
    print(files.one_line(exported.path))
    for line in exported.lines():
        print(f"  {line}")
    return command_line.DONE


callable_module.make_callable(__name__, api.export)

if __name__ == "__main__":
    sys.exit(main())
