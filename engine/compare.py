"""`python -m engine.compare RUN RUN...`: compares runs on the same images, with paired tests.

What is compared are evaluations that engine.evaluate stored, each of the same images; RUN is a run, an
ensemble, or one evaluation of it (RUN/evaluation/NAME). Prints one table over all, and each run against
the first one (or --baseline): differences with intervals over patients, DeLong's test, McNemar's test.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

from engine import api
from engine.base import callable_module, command_line, config, files
from engine.base.flag_parser import FlagParser
from engine.base.run_settings import CompareConfig
from engine.runs import outputs

PROGRAM = "python -m engine.compare"


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = FlagParser(
        prog=PROGRAM, description=__doc__, usage=f"{PROGRAM} RUN RUN [RUN ...] [flags]"
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="made by engine.train, and evaluated"
    )
    parser.add_argument(
        "--baseline",
        type=Path,
        metavar="RUN",
        help="what the others are compared with (default: the first)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures as JSON")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="also write compare.md, compare.json and compare_roc.png there",
    )
    config.add_flags(parser, CompareConfig)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    arguments = build_parser().parse_args(argv)
    return command_line.run(PROGRAM, lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    settings = config.from_flags(CompareConfig, arguments)
    if arguments.json is not None:
        outputs.require_text_file(arguments.json, "--json")
    if arguments.output is not None:
        outputs.require_directory(arguments.output, "--output")
    with command_line.quiet_imports():
        from engine.evaluation import comparison, comparison_display

    if None not in (arguments.json, arguments.output):
        from engine.evaluation import comparison_files

        report = arguments.output / comparison_files.REPORT
        outputs.require_distinct({"--json": arguments.json, "the report in --output": report})
    values = dataclasses.asdict(settings)
    formats = values.pop("figures")
    found = comparison.compare_runs(arguments.runs, baseline=arguments.baseline, **values)
    comparison_display.show(found)
    if arguments.json is not None:
        files.write_json(arguments.json, found.to_json())
        print(f"figures: {files.one_line(arguments.json)}")
    if arguments.output is not None:
        from engine.evaluation import comparison_files

        report = comparison_files.write(found, arguments.output, formats=formats)
        print(f"report: {files.one_line(report)}")
    return command_line.DONE


callable_module.make_callable(__name__, api.compare)

if __name__ == "__main__":
    sys.exit(main())
