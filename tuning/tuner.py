"""KerasTuner's loop over trials, each of which is a training in its own process."""

import contextlib
import io
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_tuner.engine import base_tuner
from keras_tuner.engine import trial as trial_module

from tuning import leaderboard, pruning
from tuning.search_directory import SearchDirectory
from tuning.search_space import SearchSpace
from tuning.settings import SearchConfig
from tuning.trial_files import COMPLETED, Outcome, TrialSpec
from tuning.trial_process import TRIAL_COMMAND, run_trial

_IDLE_SECONDS = 0.5


class TrialRunner:
    """Turns the values that an oracle proposes into a trial, and runs it.

    Args:
        command, environment, cores: see `trial_process.run_trial`.
        stop: polled; when true, the running trial saves and exits.
    """

    def __init__(
        self,
        config: SearchConfig,
        space: SearchSpace,
        shards: Path,
        directory: SearchDirectory,
        *,
        command: Sequence[str] = TRIAL_COMMAND,
        environment: Mapping[str, str] | None = None,
        cores: Sequence[int] | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._config, self._space = config, space
        self._shards, self._directory = shards, directory
        self._options: dict[str, Any] = {
            "command": command,
            "environment": environment,
            "cores": cores,
            "stop": stop,
            "keep_checkpoints": config.tuner == "hyperband",
        }

    def __call__(self, trial_id: str, values: Mapping[str, Any]) -> Outcome:
        """Runs the trial until it ends; returns the stored outcome if it has ended before.

        Raises:
            UserError, Stopped: see `trial_process.run_trial`.
        """
        spec = self._spec(trial_id, values)
        return run_trial(self._directory.trial(trial_id), spec, self._shards, **self._options)

    def _spec(self, trial_id: str, values: Mapping[str, Any]) -> TrialSpec:
        settings = self._space.settings(values)
        return TrialSpec(
            trial_id=trial_id,
            values=settings,
            config=self._config.train_config(**settings).to_json(),
            objective=self._config.objective,
            last_epoch=int(values.get("tuner/epochs", self._config.epochs)),
            bars=self._bars(trial_id),
            continue_from=str(values.get("tuner/trial_id") or ""),
        )

    def _bars(self, trial_id: str) -> list[float | None]:
        config = self._config
        if not config.prunes:
            return []
        earlier = [
            trial.outcome.history
            for trial in leaderboard.read_trials(self._directory)
            if trial.trial_id != trial_id
            and trial.outcome is not None
            and trial.outcome.status == COMPLETED
        ]
        return pruning.median_bars(
            earlier,
            objective=config.objective,
            epochs=config.epochs,
            warmup_trials=config.pruning_warmup_trials,
            warmup_epochs=config.pruning_warmup_epochs,
        )


class ProcessTuner(base_tuner.BaseTuner):
    """Asks the oracle (or the chief that the environment names) for trials, and runs them.

    Args:
        oracle: one of `tuning.oracles`.
        run: takes a trial's id and values and returns its outcome.
    """

    def __init__(
        self,
        oracle: Any,
        run: Callable[[str, Mapping[str, Any]], Outcome],
        directory: SearchDirectory,
    ) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            super().__init__(oracle, directory=str(directory.oracle.parent), project_name=".")
        self._run = run
        self._idle = False

    def pre_create_trial(self) -> None:
        """Waits briefly if the oracle had no trial last time; KerasTuner would ask again at once."""
        if self._idle:
            time.sleep(_IDLE_SECONDS)
        self._idle = True

    def on_trial_begin(self, trial: trial_module.Trial) -> None:
        self._idle = False

    def _try_run_and_update_trial(
        self, trial: trial_module.Trial, *args: Any, **kwargs: Any
    ) -> None:
        """Runs a trial and reports it to the oracle; marks a failed one, and lets any error through.

        KerasTuner's method would swallow all of our errors and print a traceback per failed trial.
        """
        outcome = self._run(trial.trial_id, trial.hyperparameters.values)
        if outcome.failed or outcome.value is None:
            trial.status = trial_module.TrialStatus.FAILED
            trial.message = f"{outcome.failure}: {outcome.reason}"
            return
        objective = self.oracle.objective.name
        # The oracle may already know the value of a trial that resumed after a kill.
        if not self.oracle.get_trial(trial.trial_id).metrics.exists(objective):
            self.oracle.update_trial(
                trial.trial_id, {objective: outcome.value}, step=outcome.best_epoch
            )
        trial.status = trial_module.TrialStatus.COMPLETED

    def save(self) -> None:
        """Saves the oracle's state; there is no other."""
        if not self._is_worker():
            self.oracle.save()

    def reload(self) -> None:
        """Does nothing: the oracle was created with its state."""
