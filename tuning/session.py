"""A search, whole: `run_search(config, space, shards, workdir)` is what the command calls.

First the trials; then, if requested, the top ones with more seeds; then the choice; then, if requested,
the winner on the test split. Whenever it is interrupted, the same call resumes it.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine.base import files, locks, progress
from engine.base.progress import format_duration
from engine.shards import data_identity, dataset_checks, tfrecords
from engine.shards.tfrecords import Manifest
from tuning import (
    checks,
    device_shares,
    figures,
    held_out,
    hparams_log,
    leaderboard,
    live_table,
    oracles,
    repeats,
    report,
    search_directory,
    worker,
)
from tuning.held_out import HeldOut
from tuning.leaderboard import Trial
from tuning.oracles import Durable
from tuning.repeats import Repeats
from tuning.search_directory import SearchDirectory
from tuning.search_space import SearchSpace
from tuning.settings import SearchConfig
from tuning.trial_files import is_minimized
from tuning.trial_process import TRIAL_COMMAND, Stopped
from tuning.tuner import ProcessTuner, TrialRunner


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """How a search ended.

    Attributes:
        trials: ordered by number.
        winner: the trial whose configuration `best.json` holds; None if all failed.
        repeats: the top trials with more seeds, best mean first.
        held_out: the winner on the test split; None unless requested.
        remark: a sentence for the user if the default configuration did better on validation.
        stopped: whether it was stopped; the same call resumes it.
        gave_up: whether it ended because too many trials in a row failed.
    """

    trials: list[Trial]
    winner: Trial | None = None
    repeats: tuple[Repeats, ...] = ()
    held_out: HeldOut | None = None
    remark: str | None = None
    stopped: bool = False
    gave_up: bool = False


def run_search(
    config: SearchConfig,
    space: SearchSpace,
    shards: Path | str,
    workdir: Path | str,
    *,
    role: str = worker.ALONE,
    stop: Callable[[], bool] = lambda: False,
    trial_command: Sequence[str] = TRIAL_COMMAND,
) -> SearchResult:
    """Starts or resumes the search in `workdir`, and writes the best configuration there.

    Args:
        role: `chief` serves workers of other hosts, at the address in KerasTuner's variables.
        stop: polled; when true, running trials save their state and the search ends.
        trial_command: the command that runs a trial; the shards and the trial's directory are appended.
            Workers use their own.

    Raises:
        UserError: the shards or settings are wrong for every trial, or `workdir` holds another search.
    """
    shards, directory = Path(shards).absolute(), SearchDirectory(workdir)
    manifest = tfrecords.read_manifest(shards)
    checks.check_search(config, space, manifest)
    search_directory.check_directory(directory)
    asked, config = config, _shared_images(config, manifest)
    with locks.held(directory.path, purpose="a search"):
        data = data_identity.describe(manifest)
        resuming = search_directory.prepare(directory, config, space, data)
        session = _Session(
            config, space, shards, directory, role, stop, trial_command, cache=asked.cache
        )
        if (warning := dataset_checks.validation_warning(manifest)) is not None:
            progress.say(warning)
        if resuming:
            progress.say(f"resuming with {session.oracle.finished_trials} finished trials")
            # Workers on other hosts have other processors.
            if role != worker.CHIEF and (warning := _precision_warning(directory)) is not None:
                progress.say(warning)
        return session.run()


def _shared_images(config: SearchConfig, manifest: Manifest) -> SearchConfig:
    """Streams raw images if trials run concurrently: the page cache is one copy for all of them."""
    if config.num_workers > 1 and config.cache == "auto" and manifest.encoding == "raw":
        return dataclasses.replace(config, cache="streaming")
    return config


def _precision_warning(directory: SearchDirectory) -> str | None:
    """A warning if trials ended in another precision than `auto` chooses here."""
    from engine.training import runtime

    changes: Counter[tuple[str, str]] = Counter()
    for trial in leaderboard.read_trials(directory):
        run, config = directory.trial(trial.trial_id).run, trial.spec.config
        if trial.outcome is None or config["precision"] != "auto" or not run.environment.is_file():
            continue
        then = run.read_environment()["runtime"]["precision"]
        now, _ = runtime.choose_precision("auto", config["normalization"])
        if now != then:
            changes[then, now] += 1
    if not changes:
        return None
    differing = "; ".join(
        f"{now} here, was {then} in {count} finished trials"
        for (then, now), count in changes.items()
    )
    return f"warning: --precision auto is {differing}; these keep their values, so trials are less comparable"


class _Session:
    """The steps of one call of `run_search`."""

    def __init__(
        self,
        config: SearchConfig,
        space: SearchSpace,
        shards: Path,
        directory: SearchDirectory,
        role: str,
        stop: Callable[[], bool],
        command: Sequence[str],
        *,
        cache: str,
    ) -> None:
        self._config, self._space, self._shards = config, space, shards
        self._cache = cache  # as requested; trials may use another one that they can share
        self._directory, self._role = directory, role
        self._options: dict[str, Any] = {"command": command, "stop": stop}
        self._stop = stop
        self.oracle: Durable = oracles.make_oracle(config, space, directory)
        self._read = leaderboard.Reader(directory)

    def run(self) -> SearchResult:
        """Runs all steps, or those before it is stopped."""
        result = SearchResult(self._read())
        try:
            self._run_trials()
            trials = self._read()
            best = leaderboard.best_trial(trials, self._config.objective)
            gave_up = self.oracle.failures_in_a_row >= self._config.max_failures
            result = SearchResult(trials, best, gave_up=gave_up)
            if not gave_up and best is not None:
                result = self._repeat(result)
                self._write(result)  # the choice is made before the test split is measured
                result = self._measure_held_out(result)
        except Stopped:
            trials = self._read()
            best = leaderboard.best_trial(trials, self._config.objective)
            result = SearchResult(trials, result.winner or best, result.repeats, stopped=True)
        self._write(result)
        return result

    def _run_trials(self) -> None:
        config = self._config
        planned = oracles.planned_trials(config, self._space)
        with live_table.LiveTable(self._read, config, planned=planned):
            if self._role == worker.CHIEF:
                from tuning import chief

                chief.serve_hosts(self.oracle, self._directory, stop=self._stop)
            elif config.num_workers > 1:
                from tuning import chief

                chief.serve_this_host(
                    self.oracle,
                    self._directory,
                    self._shards,
                    num_workers=config.num_workers,
                    num_gpus=_num_gpus(),
                    stop=self._stop,
                )
            else:
                run = TrialRunner(
                    config, self._space, self._shards, self._directory, **self._options
                )
                ProcessTuner(self.oracle, run, self._directory).search()

    def _repeat(self, result: SearchResult) -> SearchResult:
        """Trains the top trials with more seeds; the winner is the one with the best mean."""
        config = self._config
        if config.num_seeds < 2:
            return result
        top = leaderboard.ranked(result.trials, config.objective)[: config.top]
        seeds = range(config.seed, config.seed + config.num_seeds)
        trials = "trial" if len(top) == 1 else f"{len(top)} trials"
        progress.say(f"training the top {trials} with {config.num_seeds} seeds each")
        found = self._trainer().repeat(top, seeds)
        ranked = repeats.ranked(found, config.objective)
        repeats.write(self._directory.repeats, ranked, seeds)
        winner = next((t for t in top if ranked and t.trial_id == ranked[0].trial_id), None)
        return dataclasses.replace(result, winner=winner or result.winner, repeats=tuple(ranked))

    def _measure_held_out(self, result: SearchResult) -> SearchResult:
        config = self._config
        if not config.compare_default or result.winner is None:
            return result
        trainer = self._trainer()
        default = self._directory.default
        if not default.outcome.is_file():
            seconds = live_table.trial_seconds(result.trials)
            about = f", about {format_duration(seconds)}" if seconds else ""
            progress.say(f"training the default configuration for comparison{about}")
        where, outcome = trainer.train_seed(result.winner, config.seed)
        if outcome.failed:
            progress.say(f"the winner could not be measured: {outcome.failure}: {outcome.reason}")
            return result
        ended = trainer.train(default, config.train_config(), "the default configuration")
        compared = held_out.compare(
            result.winner.trial_id,
            where.run,
            None if ended.failed else default.run,
            self._shards,
            self._directory.held_out,
        )
        remark = None if ended.failed else self._remark(result, ended.value)
        return dataclasses.replace(result, held_out=compared, remark=remark)

    def _remark(self, result: SearchResult, default: float | None) -> str | None:
        """A remark if the default configuration did better on validation than the winner."""
        objective = self._config.objective
        best = None if result.winner is None else result.winner.best
        if result.repeats:  # the winner's are the first
            best = result.repeats[0].mean
        if default is None or best is None:
            return None
        better = default < best if is_minimized(objective) else default > best
        if not better:
            return None
        return (
            f"The default configuration did better on validation: {objective} {default:.4f} against the "
            f"winner's {best:.4f}. Train with the default settings, or search longer."
        )

    def _trainer(self) -> repeats.Trainer:
        count = self._config.num_workers
        shares: list[Any] = [None]
        if count > 1:
            shares = device_shares.divide_host(count, num_gpus=_num_gpus())
        return repeats.Trainer(
            self._directory, self._shards, self._config.objective, shares=shares, **self._options
        )

    def _write(self, result: SearchResult) -> None:
        """Writes everything that is derived from the trials, anew each time."""
        config, space, directory = self._config, self._space, self._directory
        if result.winner is not None:
            files.write_json(directory.best, {**result.winner.spec.config, "cache": self._cache})
        leaderboard.write_csv(directory.leaderboard, result.trials, space.names)
        figures.draw(result.trials, space, config.objective, directory.figures)
        hparams_log.write(result.trials, space, config.objective, directory.tensorboard)
        report.write_report(
            directory,
            config,
            space,
            result.trials,
            winner=result.winner,
            repeats=result.repeats,
            held_out=result.held_out,
            remark=result.remark,
        )


def _num_gpus() -> int:
    """How many GPUs TensorFlow finds; none is initialized."""
    import tensorflow as tf

    return len(tf.config.list_physical_devices("GPU"))
