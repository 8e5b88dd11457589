"""`python -m tuning.search SHARDS --workdir SEARCH`: finds the settings to train with.

Every trial is a training of engine.train in a process of its own. Ctrl-C and SIGTERM save; the same
command goes on.
"""

import argparse
import signal
import sys
from pathlib import Path

from engine import command_line, progress
from engine.config import UserError
from tuning import arguments as arguments_module

PROGRAM = "python -m tuning.search"


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=__doc__.partition("\n")[0],
        epilog="Settings of the network, the optimization and the augmentation take one value, which "
        "fixes them, LOW:HIGH (or LOW:HIGH:log) or A,B,C, which are searched.",
    )
    parser.add_argument(
        "shards", type=Path, metavar="SHARDS", help="made by engine.build_tfrecords"
    )
    parser.add_argument(
        "--workdir", type=Path, metavar="SEARCH", help="where the search's files go"
    )
    arguments_module.add_flags(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    namespace = build_parser().parse_args(argv)
    return command_line.run(PROGRAM, lambda: _run(namespace))


def _run(namespace: argparse.Namespace) -> int:
    asked = arguments_module.read(namespace)
    if namespace.workdir is None:
        raise UserError("--workdir SEARCH is missing; say where the search's files go")
    with command_line.quiet_imports():
        from engine import tfrecords
        from tuning import checks, session

    space = asked.space
    if "depth" not in asked.asked:
        manifest = tfrecords.read_manifest(namespace.shards)
        space = checks.fit_default_depth(space, asked.config, manifest)
    with command_line.StopFlag() as stop:
        result = session.run_search(
            asked.config, space, namespace.shards, namespace.workdir, stop=stop
        )
    if result.stopped:
        progress.say("stopped and saved; the same command goes on")
        interrupted = stop.signal_number == signal.SIGINT
        return command_line.INTERRUPTED if interrupted else command_line.TERMINATED
    print(result)
    return command_line.DONE


if __name__ == "__main__":
    sys.exit(main())
