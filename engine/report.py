"""`python -m engine.report RUN`: writes a run's report, model card and HTML page.

RUN/report.md and RUN/model_card.md follow from the run's files and from RUN/card.md, where people
write what only they know: what the model is for, its licence, a contact (--template makes one).
--html holds all figures and tables in one file; --output is the card with the metadata that model
hubs read, to become their README.md.
"""

import argparse
import sys
from pathlib import Path

from engine import api
from engine.base import callable_module, command_line, config
from engine.base.flag_parser import FlagParser
from engine.base.run_settings import ReportConfig

PROGRAM = "python -m engine.report"


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = FlagParser(prog=PROGRAM, description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="made by engine.train")
    config.add_flags(parser, ReportConfig)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    arguments = build_parser().parse_args(argv)
    return command_line.run(PROGRAM, lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    settings = config.from_flags(ReportConfig, arguments)
    for name, path in api.report(arguments.run, **settings.to_json()).items():
        print(f"{name}: {path}")
    return command_line.DONE


callable_module.make_callable(__name__, api.report)

if __name__ == "__main__":
    sys.exit(main())
