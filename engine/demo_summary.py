"""`python -m engine.demo_summary RUN`: sums up in a few lines how good and how fast a run was.

The last lines of `make demo`; reads what engine.train and engine.evaluate left in the run directory.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from engine.base import command_line, config
from engine.base.flag_parser import FlagParser
from engine.base.progress import format_duration
from engine.runs.run_directory import RunDirectory

PROGRAM = "python -m engine.demo_summary"


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = FlagParser(prog=PROGRAM, description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="made by engine.train")
    parser.add_argument("--split", default="test", metavar="NAME", help="an evaluated split")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    arguments = build_parser().parse_args(argv)
    return command_line.run(PROGRAM, lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    from engine.runs import stored_evaluations

    run = RunDirectory(arguments.run)
    run.require_trained()
    directory = run.evaluation(arguments.split)
    training = config.read_settings(run.training_summary)
    lines = [*training_lines(training), *stored_evaluations.read(directory).summary_lines()]
    print("\n".join(lines))
    print(f"pictures: {run.history_figure} and {directory}/*.png")
    print(f"report:   {run.report} (not for diagnosis)")
    return command_line.DONE


def training_lines(training: dict[str, Any]) -> list[str]:
    """How fast and how long a run was trained, from the contents of `training.json`."""
    return [
        f"trained:  {training['images_per_second']:,.0f} images/s in training steps",
        f"          {training['epochs']} epochs in {format_duration(training['seconds'])}, "
        "with loading, validating and saving",
        f"          best {training['monitor']} {training['best_value']:.4f} "
        f"in epoch {training['best_epoch']}",
    ]


if __name__ == "__main__":
    sys.exit(main())
