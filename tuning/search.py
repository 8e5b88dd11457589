"""`python -m tuning.search SHARDS --workdir SEARCH`: finds the settings to train with.

Every trial is a training as by engine.train, in its own process. Ctrl-C and SIGTERM save the state; the
same command resumes.
"""

import argparse
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from engine.base import command_line, progress
from engine.base.config import UserError
from engine.base.flag_parser import FlagParser
from engine.shards import data_identity, tfrecords
from tuning import arguments as arguments_module
from tuning import checks, search_directory
from tuning.search_directory import SearchDirectory
from tuning.settings import SearchConfig

if TYPE_CHECKING:
    from tuning.held_out import HeldOut
    from tuning.session import SearchResult

PROGRAM = "python -m tuning.search"


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = FlagParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} SHARDS --workdir SEARCH [flags]",
        description=__doc__,
        epilog="Each setting of the network, the optimization and the augmentation takes one value, which "
        "fixes it, or LOW:HIGH (or LOW:HIGH:log) or A,B,C, which is searched.",
    )
    parser.add_argument(
        "shards", type=Path, metavar="SHARDS", help="made by engine.build_tfrecords"
    )
    parser.add_argument(
        "--workdir", type=Path, metavar="SEARCH", help="directory for the search's files"
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
        raise UserError("--workdir SEARCH is missing; give a directory for the search's files")
    manifest = tfrecords.read_manifest(namespace.shards)
    checks.check_data(asked.config, asked.space, manifest)
    search_directory.check_directory(SearchDirectory(namespace.workdir))
    progress.say("loading TensorFlow ...")
    with command_line.quiet_imports():
        from tuning import session, worker
        from tuning.trial_process import Stopped

    space = asked.space
    if "depth" not in asked.asked:
        space = checks.fit_to_images(space, asked.config, manifest)
    role = worker.role(os.environ)
    # The trials use the GPUs; this process computes too little to need one.
    _hide_gpus()
    with command_line.StopFlag() as stop:
        try:
            if role == worker.WORKER:
                directory = SearchDirectory(namespace.workdir)
                worker.run_worker(
                    asked.config,
                    space,
                    namespace.shards.absolute(),
                    directory,
                    data=data_identity.describe(manifest),
                    stop=stop,
                )
                return command_line.DONE
            result = session.run_search(
                asked.config, space, namespace.shards, namespace.workdir, role=role, stop=stop
            )
            stopped = result.stopped
        except Stopped:
            stopped = True
    if stopped:
        progress.say("stopped and saved; the same command continues the search")
        interrupted = stop.signal_number == signal.SIGINT
        return command_line.INTERRUPTED if interrupted else command_line.TERMINATED
    return _print_result(result, asked.config, namespace.shards, namespace.workdir)


def _hide_gpus() -> None:
    """Hides the GPUs from this process; trials still find them."""
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")


def _print_result(
    result: "SearchResult", settings: SearchConfig, shards: Path, workdir: Path
) -> int:
    from tuning import leaderboard
    from tuning.live_table import number, values_text
    from tuning.report import pruning_text

    for place, trial in enumerate(leaderboard.ranked(result.trials, settings.objective)[:5], 1):
        print(
            f"{place}. trial {trial.trial_id}  {settings.objective} {number(trial.best)}  "
            f"{trial.status}  {values_text(trial.values)}"
        )
    outcomes = [trial.outcome for trial in result.trials if trial.outcome is not None]
    failed = sum(outcome.failed for outcome in outcomes)
    print(f"{len(outcomes)} trials, {failed} failed; {pruning_text(outcomes, settings)}")
    for repeats in result.repeats:
        spread = "" if repeats.spread is None else f" +- {repeats.spread:.4f}"
        seeds = f"{len(repeats.values)} seeds"
        print(f"trial {repeats.trial_id} with {seeds}: mean {number(repeats.mean)}{spread}")
    if result.held_out is not None:
        _print_held_out(result.held_out)
    print(f"report: {workdir / 'report.md'}")
    if result.gave_up:
        last = outcomes[-1]
        progress.say(
            f"{PROGRAM}: ended because {settings.max_failures} trials in a row failed; the last: "
            f"{last.failure}: {last.reason}"
        )
        return command_line.FAILED
    if result.winner is None:
        progress.say(f"{PROGRAM}: no trial ended with a value; see {workdir / 'report.md'}")
        return command_line.FAILED
    best = workdir / "best.json"
    command = [*("python", "-m", "engine.train", shards), *("--config", best)]
    trained = workdir.absolute()  # the name of "." is empty
    command += ["--workdir", trained.with_name(f"{trained.name}-best")]
    print(f"best: {best} (trial {result.winner.trial_id})")
    print(f"train it: {shlex.join(map(str, command))}")
    if result.remark is not None:
        print(result.remark)
    return command_line.DONE


def _print_held_out(found: "HeldOut") -> None:
    print(f"test AUROC, winner: {found.winner.metrics['auroc']}")
    if found.default is not None:
        print(f"test AUROC, default: {found.default.metrics['auroc']}")


if __name__ == "__main__":
    sys.exit(main())
