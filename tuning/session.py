"""A search, whole: `run_search(config, space, shards, workdir)` is what the command calls."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from engine import files, progress, tfrecords
from engine.config import UserError
from tuning import checks, leaderboard, live_table, oracles, search_directory
from tuning.leaderboard import Trial
from tuning.search_directory import SearchDirectory
from tuning.search_space import SearchSpace
from tuning.settings import SearchConfig
from tuning.trial_process import TRIAL_COMMAND, Stopped
from tuning.tuner import ProcessTuner, TrialRunner, WrongInputError


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """How a search ended.

    Attributes:
        trials: in the order of their numbers.
        winner: the trial whose configuration `best.json` holds; None if all failed.
        stopped: whether it was told to stop; the same call goes on.
        gave_up: whether it ended because too many trials in a row failed.
    """

    trials: list[Trial]
    winner: Trial | None
    stopped: bool = False
    gave_up: bool = False


def run_search(
    config: SearchConfig,
    space: SearchSpace,
    shards: Path | str,
    workdir: Path | str,
    *,
    stop: Callable[[], bool] = lambda: False,
    trial_command: Sequence[str] = TRIAL_COMMAND,
) -> SearchResult:
    """Searches, or goes on with the search in `workdir`, and leaves the best configuration there.

    Args:
        stop: asked all the time; when true, running trials save and the search ends.
        trial_command: what runs a trial; the shards and the trial's directory are added.

    Raises:
        UserError: the shards or settings are wrong for every trial, or `workdir` holds another search.
    """
    shards, directory = Path(shards).absolute(), SearchDirectory(workdir)
    manifest = tfrecords.read_manifest(shards)
    checks.check_search(config, space, manifest)
    held = (
        f"{directory.path}: another search is running here; wait for it, or give another --workdir"
    )
    if directory.path.is_file():
        raise UserError(f"--workdir {directory.path} is a file; expected a directory")
    with search_directory.locked(directory.lock, wait=False, held=held):
        going_on = search_directory.prepare(
            directory, config, space, {"fingerprint": manifest.fingerprint}
        )
        oracle = oracles.make_oracle(config, space, directory)
        if going_on:
            progress.say(f"going on with {oracle.finished_trials} finished trials")
        read = leaderboard.Reader(directory)
        planned = oracles.planned_trials(config, space)
        stopped = False
        try:
            with live_table.LiveTable(read, config, space, planned=planned):
                run = TrialRunner(
                    config, space, shards, directory, command=trial_command, stop=stop
                )
                ProcessTuner(oracle, run, directory).search()
        except WrongInputError as error:
            raise UserError(str(error)) from error
        except Stopped:
            stopped = True
        trials = read()
        winner = leaderboard.best_trial(trials, config.objective)
        if winner is not None:
            files.write_json(directory.best, winner.spec.config)
        leaderboard.write_csv(directory.leaderboard, trials, space.names)
        gave_up = oracle.failures_in_a_row >= config.max_failures
        return SearchResult(trials, winner, stopped=stopped, gave_up=gave_up)
