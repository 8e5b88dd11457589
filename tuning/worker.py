"""A worker: asks KerasTuner's chief for trials and runs them, on the chief's host or on another.

KERASTUNER_TUNER_ID, KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT give its id and the chief's address,
as in KerasTuner's guide to distributed tuning. All hosts must share the search's directory.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.base import files, progress
from engine.base.config import UserError
from tuning import oracles, search_directory
from tuning.search_directory import SearchDirectory
from tuning.search_space import SearchSpace
from tuning.settings import SearchConfig
from tuning.tuner import ProcessTuner, TrialRunner

HEARTBEAT_SECONDS = 5.0
CHIEF, WORKER, ALONE = "chief", "worker", "alone"
_VARIABLES = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")


def role(environment: Mapping[str, str]) -> str:
    """The role that the environment gives this process: `chief`, `worker` or `alone`.

    Raises:
        UserError: some of KerasTuner's variables are set, but not all.
    """
    missing = [name for name in _VARIABLES if not environment.get(name)]
    if len(missing) == len(_VARIABLES):
        return ALONE
    if missing:
        raise UserError(
            f"{', '.join(missing)}: not set, but others of {', '.join(_VARIABLES)} are; set all of them "
            "on the chief and on every worker, or none"
        )
    return CHIEF if "chief" in environment[_VARIABLES[0]] else WORKER


def run_worker(
    config: SearchConfig,
    space: SearchSpace,
    shards: Path,
    directory: SearchDirectory,
    *,
    data: Mapping[str, Any],
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Runs trials until the chief has no more of them.

    Args:
        data: see `data_identity.describe`.

    Raises:
        UserError: the input is wrong for every trial, or the directory holds another search.
        Stopped: `stop` became true; the running trial has saved its state.
    """
    tuner_id = os.environ[_VARIABLES[0]]
    _wait_for_chief(directory, stop)
    search_directory.check_same_search(directory, config, space, data)
    oracle = oracles.make_oracle(config, space, directory)
    run = TrialRunner(config, space, shards, directory, stop=stop)
    with _alive(directory.workers / f"{tuner_id}.alive"):
        ProcessTuner(oracle, run, directory).search()


def _wait_for_chief(directory: SearchDirectory, stop: Callable[[], bool]) -> None:
    if not directory.data.is_file():
        progress.say(f"waiting for the chief to start the search in {directory.path}")
    while not directory.data.is_file() and not stop():
        time.sleep(0.5)


@contextlib.contextmanager
def _alive(path: Path) -> Iterator[None]:
    """Within the block, a counter in a file increases: the heartbeat."""
    ended = threading.Event()

    def beat() -> None:
        count = 0
        while True:
            files.write_text(path, f"{count}\n")
            count += 1
            if ended.wait(HEARTBEAT_SECONDS):
                return

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        path.unlink(missing_ok=True)
