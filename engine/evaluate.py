"""`python -m engine.evaluate RUN SHARDS`: measures a run on a split, with intervals over patients.

Writes `evaluation/<name>/` (metrics.json, predictions.csv, figures) and `report.md` into the run; the
name is that of the split, or another for other data than the run's own. RUN may be an ensemble
(engine.train --num-seeds), and --with adds further runs: all are averaged, and the results go to the
first one.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

from engine import api
from engine.base import callable_module, command_line, config
from engine.base.flag_parser import FlagParser, add_with_flag
from engine.base.run_settings import EvaluateConfig
from engine.runs import ensemble

PROGRAM = "python -m engine.evaluate"


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = FlagParser(prog=PROGRAM, description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="made by engine.train")
    parser.add_argument(
        "shards", type=Path, metavar="SHARDS", help="made by engine.build_tfrecords"
    )
    add_with_flag(parser)
    config.add_flags(parser, EvaluateConfig)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    arguments = build_parser().parse_args(argv)
    return command_line.run(PROGRAM, lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    settings = config.from_flags(EvaluateConfig, arguments)
    with command_line.quiet_imports():
        from engine.evaluation import display, run_evaluation

    run = ensemble.opened([arguments.run, *arguments.others])
    result = run_evaluation.evaluate_run(run, arguments.shards, **dataclasses.asdict(settings))
    display.show(result)
    assert result.subject is not None
    print(f"figures: {run.evaluation(result.subject.name)}")
    print(f"report: {run.report}")
    return command_line.DONE


callable_module.make_callable(__name__, api.evaluate)

if __name__ == "__main__":
    sys.exit(main())
