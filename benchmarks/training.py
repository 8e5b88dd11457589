"""The engine's training step, ready to be timed: on real input, or on one batch on the device."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from engine.base.settings import TrainConfig
from engine.networks import saved_models
from engine.shards import tfrecords
from engine.training import building, checkpoints, runtime


def open_training(
    shards: Path, config: TrainConfig, *, synthetic: bool = False, steps_per_pass: int = 2
) -> Callable[[int], int]:
    """A training that continues with every run: passes -> images.

    Args:
        shards: the shards to train on.
        config: the configuration, as for `engine.train`.
        synthetic: train on one batch, with its draws, that stays on the device: the upper bound.
        steps_per_pass: steps per pass; each is synchronised, as in `engine.train`.
    """
    opened = _open(shards, config, synthetic=synthetic)
    return lambda passes: sum(opened.steps(steps_per_pass) for _ in range(passes))


class _Opened:
    """A step of the trainer, its batches, and the variables that it changes."""

    def __init__(self, built: building.BuiltStep, batches: Iterator[Any], size: int) -> None:
        self._built, self._batches, self._size = built, batches, size

    def steps(self, count: int) -> int:
        """Trains on the next batches; returns the images in them."""
        for _ in range(count):
            self._built.step.run(self._batches, 1)
        return count * self._size

    def variables(self) -> list[Any]:
        """Weights and optimizer state."""
        return [*self._built.form.network.variables, *self._built.optimizer.variables]


def _open(shards: Path, config: TrainConfig, *, synthetic: bool = False) -> _Opened:
    manifest = tfrecords.read_manifest(shards)
    run_on = building.prepare_runtime(config)
    with saved_models.dtype_policy(run_on.precision):
        built = building.build_step(config, manifest, run_on)
    source = building.training_input(config, shards, manifest)
    batches = run_on.distribute(lambda share: source.dataset(share=share))
    if synthetic:
        batches = same_batch(next(batches), run_on)
    return _Opened(built, batches, config.global_batch_size)


def open_saving(
    shards: Path, config: TrainConfig, directory: Path, *, every: int
) -> "SavingTraining":
    """The same training with a checkpoint after `every` steps, which make a pass."""
    return SavingTraining(_open(shards, config), directory, every)


class SavingTraining:
    """A training that saves checkpoints as `engine.train --checkpoint-every` does.

    Attributes:
        waits: seconds that training waited for each checkpoint.
    """

    def __init__(self, opened: "_Opened", directory: Path, every: int) -> None:
        self._opened, self._every = opened, every
        self._writer = checkpoints.Writer(directory)
        self.waits: list[float] = []
        self._step = 0

    def __call__(self, passes: int) -> int:
        """Passes of `every` steps and a checkpoint -> images."""
        images = 0
        for _ in range(passes):
            images += self._opened.steps(self._every)
            self._step += self._every
            started = time.perf_counter()
            arrays = {str(i): v.numpy() for i, v in enumerate(self._opened.variables())}
            self._writer.save(step=self._step, arrays=arrays, state={})
            self.waits.append(time.perf_counter() - started)
        self._writer.wait()
        return images

    def checkpoint_bytes(self) -> int:
        """The size of the variables that are saved."""
        return sum(variable.numpy().nbytes for variable in self._opened.variables())


def same_batch(batch: Any, run_on: runtime.Runtime) -> Iterator[Any]:
    """One batch, repeated forever without copying: the graph captures its tensors."""
    return run_on.distribute(lambda share: tf.data.Dataset.from_tensors(batch).repeat())
