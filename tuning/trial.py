"""`python -m tuning.trial SHARDS TRIAL`: one trial of a search, started by the search.

TRIAL is a directory with a spec.json. The training is the same as that of engine.train; it ends at the
spec's last epoch, or when it falls behind the spec's bars, and writes outcome.json last.
"""

import argparse
import shutil
import signal
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from engine.base import command_line, locks, progress
from engine.base.flag_parser import FlagParser
from engine.base.settings import TrainConfig
from engine.runs.run_directory import RunDirectory
from tuning import pruning
from tuning.search_directory import TrialDirectory
from tuning.trial_files import (
    COMPLETED,
    DIVERGED,
    FAILED,
    OUT_OF_MEMORY,
    PRUNED,
    Outcome,
    TrialSpec,
    best_of,
)

if TYPE_CHECKING:
    from engine.training.trainer import TrainResult

PROGRAM = "python -m tuning.trial"


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = FlagParser(prog=PROGRAM, description=__doc__.partition("\n")[0])
    parser.add_argument(
        "shards", type=Path, metavar="SHARDS", help="made by engine.build_tfrecords"
    )
    parser.add_argument("trial", type=Path, metavar="TRIAL", help="made by tuning.search")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    started = time.monotonic()
    arguments = build_parser().parse_args(argv)
    trial = TrialDirectory(arguments.trial)

    def body() -> int:
        # The trial process of a search that was killed may still be saving: wait for it.
        with locks.held(trial.path, purpose="a trial", wait=True):
            if trial.outcome.is_file():
                return command_line.DONE
            return _run(trial, arguments.shards, started)

    return command_line.run(PROGRAM, body)


def _run(trial: TrialDirectory, shards: Path, started: float) -> int:
    with command_line.quiet_imports(), command_line.without_scikit_learn():
        import tensorflow as tf

        from engine.training import trainer

    spec = TrialSpec.read(trial.spec)
    _make_resumable(trial, spec)
    judge = _Judge(spec)
    with command_line.StopFlag() as stop:
        try:
            result = _train(trial, spec, shards, stop, judge)
        except trainer.DivergenceError as error:
            return _fail(trial, DIVERGED, str(error), started)
        except (MemoryError, tf.errors.ResourceExhaustedError) as error:
            return _fail(trial, OUT_OF_MEMORY, str(error) or type(error).__name__, started)
    if result.stopped:
        interrupted = stop.signal_number == signal.SIGINT
        return command_line.INTERRUPTED if interrupted else command_line.TERMINATED
    history = [row[spec.objective] for row in result.history]
    value, best_epoch = best_of(history, spec.objective)
    if value is None:
        return _fail(trial, DIVERGED, f"{spec.objective} was NaN in every epoch", started)
    if spec.objective == result.monitor:
        best_epoch = result.best_epoch  # of several tied epochs, the one whose weights were kept
    outcome = Outcome(
        status=PRUNED if judge.pruned else COMPLETED,
        reason=judge.reason,
        value=value,
        best_epoch=best_epoch,
        metrics=result.history[best_epoch - 1],
        history=history,
        epoch_seconds=_epoch_seconds(result.history),
        seconds=time.monotonic() - started,
    )
    outcome.write(trial.outcome)
    return command_line.DONE


def _train(
    trial: TrialDirectory,
    spec: TrialSpec,
    shards: Path,
    stop: command_line.StopFlag,
    judge: "_Judge",
) -> "TrainResult":
    """Trains or resumes the trial; restarts it if its state was computed in another way.

    engine.train would ask the user for the value that `auto` had there. A search cannot: it has one
    configuration, and this trial may have started on another processor or with more free memory.
    """
    from engine.training import resuming, trainer

    config = TrainConfig.from_json(spec.config, source=str(trial.spec))

    def train(*, resume: bool) -> "TrainResult":
        return trainer.train(
            config,
            shards,
            trial.run.path,
            resume=resume,
            overwrite=not resume,
            should_stop=stop,
            ends_early=judge,
        )

    try:
        return train(resume=True)
    except resuming.OtherComputationError as error:
        progress.say(f"warning: {error.differing}; restarting trial {spec.trial_id}")
    return train(resume=False)


def _epoch_seconds(rows: list[dict[str, float]]) -> float:
    """The median time of an epoch, without the first, which includes compilation, if there are more."""
    seconds = [row["seconds"] for row in rows]
    return statistics.median(seconds[1:] or seconds)


class _Judge:
    """Decides after every epoch, from the history alone, whether the trial ends there."""

    def __init__(self, spec: TrialSpec) -> None:
        self._spec = spec
        self.pruned, self.reason = False, ""

    def __call__(self, rows: list[dict[str, float]]) -> bool:
        spec, epoch = self._spec, len(rows)
        if epoch >= spec.last_epoch:
            return True
        history = [row[spec.objective] for row in rows]
        if not pruning.is_behind(history, spec.bars, objective=spec.objective):
            return False
        best, _ = best_of(history, spec.objective)
        reached = "nan" if best is None else f"{best:.4f}"
        self.pruned = True
        self.reason = (
            f"{reached} after {epoch} epochs, the median of earlier trials was "
            f"{spec.bars[epoch - 1]:.4f}"
        )
        progress.say(f"pruned: {self.reason}")
        return True


def _make_resumable(trial: TrialDirectory, spec: TrialSpec) -> None:
    """Leaves in the run's directory either a complete checkpoint and its files, or nothing.

    A run that was killed before its first checkpoint cannot be resumed, and its files may be incomplete.
    """
    from engine.training import checkpoints

    run = trial.run
    if checkpoints.paths(run.checkpoints):
        return
    shutil.rmtree(run.path, ignore_errors=True)
    if spec.continue_from:
        earlier = TrialDirectory(trial.path.parent / spec.continue_from).run
        _copy_run(earlier, run)


def _copy_run(earlier: RunDirectory, run: RunDirectory) -> None:
    """Copies the earlier run's state, if it was kept; if not, the training starts from epoch 1."""
    from engine.training import checkpoints

    if not checkpoints.paths(earlier.checkpoints):
        return
    aside = run.path.with_name(run.path.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    for path in (earlier.config, earlier.environment, earlier.history, earlier.model):
        shutil.copy2(path, aside / path.name)
    shutil.copytree(earlier.checkpoints, aside / earlier.checkpoints.name)
    aside.rename(run.path)


def _fail(trial: TrialDirectory, failure: str, reason: str, started: float) -> int:
    lines = reason.strip().splitlines()
    outcome = Outcome(
        status=FAILED,
        failure=failure,
        reason=lines[0] if lines else failure,
        seconds=time.monotonic() - started,
    )
    outcome.write(trial.outcome)
    progress.say(f"{PROGRAM}: {failure}: {outcome.reason}")
    return command_line.FAILED


if __name__ == "__main__":
    sys.exit(main())
