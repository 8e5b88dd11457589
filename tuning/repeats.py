"""Trains the top trials with more seeds, so that the winner is not just the luckiest."""

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from engine.base import files, progress
from engine.base.settings import TrainConfig
from tuning.device_shares import Share
from tuning.leaderboard import Trial
from tuning.search_directory import SearchDirectory, TrialDirectory
from tuning.trial_files import COMPLETED, Outcome, TrialSpec, is_minimized
from tuning.trial_process import run_trial


@dataclasses.dataclass(frozen=True)
class Repeats:
    """One configuration trained with several seeds.

    Attributes:
        values: the objective with each seed that did not fail.
        failed: the number of seeds with which it failed.
    """

    trial_id: str
    values: tuple[float, ...]
    failed: int = 0

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float | None:
        """The standard deviation between seeds; None for fewer than two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def to_json(self) -> dict[str, Any]:
        mean = self.mean if self.values else None
        return {**dataclasses.asdict(self), "mean": mean, "spread": self.spread}


class Trainer:
    """Runs complete trainings outside the search: with other seeds, or of the default configuration.

    Args:
        shares: the share of each concurrent training; a share of None is the whole host.
        command, stop: see `trial_process.run_trial`.
    """

    def __init__(
        self,
        directory: SearchDirectory,
        shards: Path,
        objective: str,
        *,
        shares: Sequence[Share | None] = (None,),
        command: Sequence[str],
        stop: Callable[[], bool],
    ) -> None:
        self._directory, self._shards, self._objective = directory, shards, objective
        self._num_workers = len(shares)
        self._shares: SimpleQueue[Share | None] = SimpleQueue()
        for share in shares:
            self._shares.put(share)
        self._command, self._stop = command, stop

    def train(
        self,
        where: TrialDirectory,
        config: TrainConfig,
        name: str,
        values: dict[str, Any] | None = None,
    ) -> Outcome:
        """One complete training; the stored outcome if it was done before."""
        spec = TrialSpec(
            trial_id=name,
            values=values or {},
            config=config.to_json(),
            objective=self._objective,
            last_epoch=config.epochs,
        )
        known = where.outcome.is_file()
        share = self._shares.get()
        try:
            outcome = run_trial(
                where,
                spec,
                self._shards,
                command=self._command,
                environment=share.environment if share else None,
                cores=share.cores if share else None,
                stop=self._stop,
            )
        finally:
            self._shares.put(share)
        if not known:
            ended = outcome.failure or outcome.status
            detail = outcome.reason if outcome.failed else f"{self._objective} {outcome.value:.4f}"
            progress.say(f"{name}: {ended} {detail}")
        return outcome

    def train_seed(self, trial: Trial, seed: int) -> tuple[TrialDirectory, Outcome]:
        """Trains a trial's configuration with a seed; uses the trial itself if it had that seed."""
        config = TrainConfig.from_json(trial.spec.config)
        if trial.outcome is not None and config.seed == seed and is_whole(trial):
            return self._directory.trial(trial.trial_id), trial.outcome
        where = TrialDirectory(self._directory.seeds / f"{trial.trial_id}-seed{seed}")
        name = f"trial {trial.trial_id} with seed {seed}"
        return where, self.train(where, dataclasses.replace(config, seed=seed), name, trial.values)

    def repeat(self, trials: Sequence[Trial], seeds: Sequence[int]) -> list[Repeats]:
        """Trains each trial with each seed, as many at a time as there are shares."""
        jobs = [(trial, seed) for trial in trials for seed in seeds]
        with ThreadPoolExecutor(self._num_workers) as pool:
            outcomes = list(pool.map(lambda job: self.train_seed(*job)[1], jobs))
        found = []
        for place, trial in enumerate(trials):
            own = outcomes[place * len(seeds) : (place + 1) * len(seeds)]
            values = tuple(outcome.value for outcome in own if outcome.value is not None)
            found.append(Repeats(trial.trial_id, values, failed=len(own) - len(values)))
        return found


def is_whole(trial: Trial) -> bool:
    """Whether a trial ran all epochs of its configuration, neither pruned nor cut short by Hyperband."""
    whole = trial.spec.last_epoch == trial.spec.config["epochs"]
    return whole and trial.outcome is not None and trial.outcome.status == COMPLETED


def ranked(repeats: Sequence[Repeats], objective: str) -> list[Repeats]:
    """Best mean first, without those that failed with every seed."""
    sign = 1 if is_minimized(objective) else -1
    return sorted((r for r in repeats if r.values), key=lambda repeated: sign * repeated.mean)


def write(path: Path, repeats: Sequence[Repeats], seeds: Sequence[int]) -> None:
    """Writes `seeds.json`."""
    files.write_json(
        path, {"seeds": list(seeds), "trials": [repeated.to_json() for repeated in repeats]}
    )
