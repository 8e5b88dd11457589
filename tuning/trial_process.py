"""Runs a trial in its own process and reports how it ended.

With its own process, every trial starts with fresh memory and can crash alone. Its standard error is
kept in the trial's directory.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from engine.base import command_line, orphans
from engine.base.config import UserError
from tuning.search_directory import TrialDirectory
from tuning.trial_files import CRASHED, FAILED, OUT_OF_MEMORY, Outcome, TrialSpec

TRIAL_COMMAND = (sys.executable, "-m", "tuning.trial")
GRACE_SECONDS = 120.0  # for a stopping trial to finish its step and save a checkpoint
_POLL_SECONDS = 0.1
_TAIL_BYTES = 20_000
# Set if a scheduler started the search's workers: a trial would wait for others to train with.
_OF_A_CLUSTER = ("TF_CONFIG", "SLURM_STEP_NUM_TASKS")
_MEMORY_SIGNS = (
    "resourceexhausted", "resource exhausted", "out of memory", "bad_alloc", "memoryerror", "oom",
)  # fmt: skip


class Stopped(BaseException):
    """The search was stopped; the trial has saved its state and resumes with the search.

    A `BaseException`, because KerasTuner swallows every `Exception` of a trial.
    """


def run_trial(
    trial: TrialDirectory,
    spec: TrialSpec,
    shards: Path,
    *,
    command: Sequence[str] = TRIAL_COMMAND,
    environment: Mapping[str, str] | None = None,
    cores: Sequence[int] | None = None,
    stop: Callable[[], bool] = lambda: False,
    keep_checkpoints: bool = False,
) -> Outcome:
    """Runs or resumes a trial until it ends; returns the stored outcome if it has ended before.

    Args:
        command: the command to run; the shards and the trial's directory are appended.
        environment: variables added to this process's environment.
        cores: the processor cores that it may use; None for all.
        stop: polled; when true, the trial is asked to save and exit.
        keep_checkpoints: whether to keep the checkpoints after the trial has ended.

    Raises:
        UserError: the trial reports wrong input, which all other trials share.
        Stopped: `stop` became true.
    """
    if not trial.outcome.is_file():
        if stop():
            raise Stopped
        if not trial.spec.is_file():  # the bars stay those of the trial's start
            spec.write(trial.spec)
        started = time.monotonic()
        status = _run([*command, str(shards), str(trial.path)], trial, environment, cores, stop)
        if not trial.outcome.is_file():
            if stop():
                raise Stopped
            _explain(trial, status, time.monotonic() - started).write(trial.outcome)
    if not keep_checkpoints:
        shutil.rmtree(trial.run.checkpoints, ignore_errors=True)
    return Outcome.read(trial.outcome)


def _run(
    command: Sequence[str],
    trial: TrialDirectory,
    environment: Mapping[str, str] | None,
    cores: Sequence[int] | None,
    stop: Callable[[], bool],
) -> int:
    trial.path.mkdir(parents=True, exist_ok=True)
    inherited = {name: v for name, v in os.environ.items() if name not in _OF_A_CLUSTER}
    with open(trial.stderr, "ab") as log:
        process = subprocess.Popen(
            command,
            env={
                **inherited,
                **(environment or {}),
                **orphans.environment(grace_seconds=GRACE_SECONDS),
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C at a terminal reaches the search alone, which stops the trial.
            start_new_session=True,
        )
    if cores:
        os.sched_setaffinity(process.pid, cores)
    try:
        return _wait(process, stop)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], stop: Callable[[], bool]) -> int:
    deadline = None
    while process.poll() is None:
        if deadline is None and stop():
            process.terminate()
            deadline = time.monotonic() + GRACE_SECONDS
        if deadline is not None and time.monotonic() > deadline:
            process.kill()
        time.sleep(_POLL_SECONDS)
    return process.returncode


def _explain(trial: TrialDirectory, status: int, seconds: float) -> Outcome:
    """The outcome of a process that ended without writing one."""
    tail = _tail(trial.stderr)
    last = tail[-1] if tail else "nothing on standard error"
    if status == command_line.WRONG_INPUT:
        raise UserError(last.partition("error: ")[2] or last)
    if status == -signal.SIGKILL:
        failure, ended = OUT_OF_MEMORY, "killed, probably by the system because memory ran out"
    else:
        seen = " ".join(tail[-5:]).lower()
        failure = OUT_OF_MEMORY if any(sign in seen for sign in _MEMORY_SIGNS) else CRASHED
        ended = f"signal {_signal_name(-status)}" if status < 0 else f"exit status {status}"
    return Outcome(status=FAILED, failure=failure, reason=f"{ended}: {last}", seconds=seconds)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _tail(path: Path) -> list[str]:
    """The last lines of a log that are not empty."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        text = file.read().decode("utf-8", "replace")
    return [line.strip() for line in text.splitlines() if line.strip()]
