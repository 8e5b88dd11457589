"""The search for TensorBoard's HParams page: `tensorboard --logdir SEARCH/tensorboard`."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from tensorboard.plugins.hparams import api

from tuning.leaderboard import Trial
from tuning.search_space import Choices, Parameter, SearchSpace


def write(trials: Sequence[Trial], space: SearchSpace, objective: str, directory: Path) -> None:
    """Writes the space and, for every trial, its values and its objective epoch by epoch.

    Rewritten from the search's own files each time, so that no trial is logged twice.
    """
    shutil.rmtree(directory, ignore_errors=True)
    with tf.summary.create_file_writer(str(directory)).as_default():
        api.hparams_config(
            hparams=[api.HParam(p.name, _domain(p)) for p in space.parameters],
            metrics=[api.Metric(objective, display_name=objective)],
        )
    for trial in trials:
        if trial.best is None:
            continue
        with tf.summary.create_file_writer(str(directory / trial.trial_id)).as_default():
            api.hparams(dict(trial.values), trial_id=trial.trial_id)
            for epoch, value in enumerate(trial.history, 1):
                tf.summary.scalar(objective, value, step=epoch)


def _domain(parameter: Parameter) -> api.Discrete | api.IntInterval | api.RealInterval:
    if isinstance(parameter, Choices):
        return api.Discrete(list(parameter.values))
    if parameter.is_integer:
        return api.IntInterval(int(parameter.low), int(parameter.high))
    return api.RealInterval(float(parameter.low), float(parameter.high))
