"""Durable versions of KerasTuner's oracles: a search killed at any moment loses no trial and repeats none.

KerasTuner writes one file per trial and one for the oracle, one after the other, each in place. If the
process is killed between two of them, a trial is never run or is proposed again; if within one, the
search cannot be read. Here all state is one file, written aside and renamed, once per change.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner import oracles
from keras_tuner.engine import oracle as oracle_module
from keras_tuner.engine import trial as trial_module

from engine.base import files
from tuning.search_directory import SearchDirectory
from tuning.search_space import Choices, SearchSpace
from tuning.settings import SearchConfig
from tuning.trial_files import is_minimized

HYPERBAND_FACTOR = 3
_Status = trial_module.TrialStatus
_NEVER = 10**9


class Durable(oracle_module.Oracle):
    """A mixin for an oracle of KerasTuner; it comes first among the bases.

    Attributes:
        max_failures: the search ends when this many trials in a row have failed.
        failures_in_a_row: counted since this process started.
        file: where the state is stored.
    """

    file: Any
    ongoing_trials: dict[str, trial_module.Trial]
    max_failures = _NEVER
    failures_in_a_row = 0
    _saving = True

    def save(self) -> None:
        """Writes state and trials in one step."""
        if not self._saving:
            return
        trials = {trial_id: trial.get_state() for trial_id, trial in self.trials.items()}
        files.write_json(self.file, {"oracle": self.get_state(), "trials": trials})

    def reload(self) -> None:
        """Restores the saved state, if there is one; trials that were running come first."""
        if not self.file.is_file():
            return
        state = files.read_json(self.file)
        self.trials = {
            trial_id: trial_module.Trial.from_state(trial)
            for trial_id, trial in state["trials"].items()
        }
        self.set_state(state["oracle"])
        for trial in self.ongoing_trials.values():
            self._retry_queue.append(trial.trial_id)
        self.ongoing_trials = {}

    @property
    def finished_trials(self) -> int:
        """How many trials have ended, failed ones included."""
        return len(set(self.end_order))

    def workers(self) -> list[str]:
        """The workers that asked for trials and have not been told to stop."""
        return sorted(self.tuner_ids)

    @keras_tuner.synchronized
    def create_trial(self, tuner_id: str) -> trial_module.Trial:
        """The next trial for a worker; its status is STOPPED if the search is over."""
        running = tuner_id in self.ongoing_trials
        if not running and self.failures_in_a_row >= self.max_failures:
            self.tuner_ids.discard(tuner_id)
            return trial_module.Trial(keras_tuner.HyperParameters(), "", _Status.STOPPED)
        return super().create_trial(tuner_id)

    @keras_tuner.synchronized
    def end_trial(self, trial: trial_module.Trial) -> None:
        """Records how a trial ended, and saves once, after all of it is recorded."""
        # gRPC returns floats in single precision: no longer the values that were tried.
        trial.hyperparameters = self.trials[trial.trial_id].hyperparameters
        with self._one_save():
            super().end_trial(trial)
        failed = self.trials[trial.trial_id].status == _Status.FAILED
        self.failures_in_a_row = self.failures_in_a_row + 1 if failed else 0

    @keras_tuner.synchronized
    def release(self, tuner_id: str) -> str | None:
        """Removes a worker that died; the next worker that asks gets its trial.

        Returns:
            The trial it was running, if any.
        """
        trial = self.ongoing_trials.pop(tuner_id, None)
        self.tuner_ids.discard(tuner_id)
        if trial is None:
            return None
        self._retry_queue.append(trial.trial_id)
        self.save()
        return trial.trial_id

    def _save_trial(self, trial: trial_module.Trial) -> None:
        """Does nothing: trials are saved with the state."""

    @contextlib.contextmanager
    def _one_save(self) -> Iterator[None]:
        self._saving = False
        try:
            yield
        finally:
            self._saving = True
        self.save()


class RandomSearch(Durable, oracles.RandomSearchOracle):
    """Independent draws."""


class BayesianOptimization(Durable, oracles.BayesianOptimizationOracle):
    """A Gaussian process and an upper confidence bound."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        # KerasTuner's random state is not saved: a resumed search would repeat its first draws.
        self._random_state = np.random.RandomState(self.seed + len(self.trials))
        return super().populate_space(trial_id)


class Hyperband(Durable, oracles.HyperbandOracle):
    """Successive halving over brackets."""


class GridSearch(Durable, oracles.GridSearchOracle):
    """Every combination of choices and integers; ten values of any other range.

    KerasTuner's version does not save its position in the grid, so it cannot resume.
    """

    def get_state(self) -> dict[str, Any]:
        trial_id = self.start_order[0] if self.start_order else None
        order = []
        while trial_id is not None:
            order.append(trial_id)
            trial_id = self._ordered_ids.next(trial_id)
        return {**super().get_state(), "order": order, "populate_next": self._populate_next}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        for trial_id in state["order"]:
            self._ordered_ids.insert(trial_id)
        self._populate_next = list(state["populate_next"])


def make_oracle(config: SearchConfig, space: SearchSpace, directory: SearchDirectory) -> Durable:
    """The oracle of a search, with the state it was saved in."""
    hp = keras_tuner.HyperParameters()
    space.declare(hp)
    direction = "min" if is_minimized(config.objective) else "max"
    options: dict[str, Any] = {
        "objective": keras_tuner.Objective(config.objective, direction),
        "hyperparameters": hp,
        "allow_new_entries": False,
        # KerasTuner treats 0 as no seed.
        "seed": config.seed + 1,
        # Failures are counted by `Durable`; KerasTuner would raise an error.
        "max_consecutive_failed_trials": _NEVER,
    }
    oracle: Durable
    if config.tuner == "hyperband":
        oracle = Hyperband(max_epochs=config.epochs, factor=HYPERBAND_FACTOR, **options)
        oracle.max_trials = config.max_trials
    elif config.tuner == "grid":
        oracle = GridSearch(max_trials=config.max_trials, **options)
    else:
        kind = RandomSearch if config.tuner == "random" else BayesianOptimization
        oracle = kind(max_trials=config.trial_limit, **options)
    oracle.file = directory.oracle
    oracle.max_failures = config.max_failures
    oracle.verbose = 0
    oracle.reload()
    return oracle


def planned_trials(config: SearchConfig, space: SearchSpace) -> int | None:
    """How many trials a search will have if none fails; None if unknown."""
    known = None
    if config.tuner == "hyperband":
        known = _hyperband_trials(config.epochs)
    elif config.tuner == "grid":
        counts = [_grid_values(parameter) for parameter in space.parameters]
        known = math.prod(count for count in counts if count) if all(counts) else None
    limits = [number for number in (known, config.trial_limit) if number is not None]
    return min(limits, default=None)


def _hyperband_trials(epochs: int) -> int:
    oracle = oracles.HyperbandOracle(max_epochs=epochs, factor=HYPERBAND_FACTOR)
    return sum(
        oracle._get_size(bracket, round_number)
        for bracket in range(oracle._get_num_brackets())
        for round_number in range(oracle._get_num_rounds(bracket))
    )


def _grid_values(parameter: Any) -> int | None:
    if isinstance(parameter, Choices):
        return len(parameter.values)
    if parameter.is_integer and parameter.scale == "linear":
        return int(parameter.high - parameter.low) + 1
    return None
