"""The engine's training step, opened to be timed: on real input, or on one batch on the device."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.workload import SPLIT
from engine import (
    augmentation,
    checkpoints,
    input_pipeline,
    models,
    optimization,
    runtime,
    tfrecords,
    trainer,
)
from engine.settings import TrainConfig
from engine.tfrecords import Manifest
from engine.training_step import TrainingStep


def open_training(
    shards: Path, config: TrainConfig, *, synthetic: bool = False, steps_a_pass: int = 2
) -> Callable[[int], int]:
    """A training that goes on with every run: passes -> images.

    Args:
        shards: trained on.
        config: what `engine.train` would be given.
        synthetic: train on one batch that stays on the device, its draws included: the ceiling.
        steps_a_pass: every step is synchronised, as in `engine.train`.
    """
    opened = _open(shards, config, synthetic=synthetic)
    return lambda passes: sum(opened.steps(steps_a_pass) for _ in range(passes))


class _Opened:
    """A step, its batches, and all that it changes."""

    def __init__(
        self, step: TrainingStep, batches: Iterator[Any], network: Any, optimizer: Any, size: int
    ) -> None:
        self._step, self._batches, self._size = step, batches, size
        self._network, self._optimizer = network, optimizer

    def steps(self, count: int) -> int:
        """Trains on the next batches; returns the images in them."""
        for _ in range(count):
            self._step.run(self._batches, 1)
        return count * self._size

    def variables(self) -> list[Any]:
        """Weights and optimizer state."""
        return [*self._network.variables, *self._optimizer.variables]


def _open(shards: Path, config: TrainConfig, *, synthetic: bool = False) -> _Opened:
    manifest = tfrecords.read_manifest(shards)
    run_on = runtime.prepare(
        precision=config.precision,
        jit_compile=config.jit_compile,
        strategy=config.strategy,
        num_logical_devices=config.num_logical_devices,
        global_batch_size=config.global_batch_size,
        normalization=config.normalization if config.model == "cnn" else "none",
        seed=config.seed,
        deterministic=config.deterministic,
    )
    with runtime.dtype_policy(run_on.precision), run_on.strategy.scope():
        network = models.training_model(trainer.build_model(config, manifest))
        optimizer = _optimizer(config, run_on.precision)
        optimizer.build(network.trainable_variables)
    step = TrainingStep(
        network,
        optimizer,
        strategy=run_on.strategy,
        global_batch_size=config.global_batch_size,
        class_weights=np.ones(len(manifest.class_names), np.float32),
        label_smoothing=config.label_smoothing,
        clip_norm=config.clip_norm,
        jit_compile=run_on.jit_compile,
    )
    dataset = training_batches(shards, manifest, config)
    batches: Iterator[Any] = iter(run_on.strategy.experimental_distribute_dataset(dataset))
    if synthetic:
        batches = same_batch(next(batches), run_on.strategy)

    return _Opened(step, batches, network, optimizer, config.global_batch_size)


def open_saving(
    shards: Path, config: TrainConfig, directory: Path, *, every: int
) -> "SavingTraining":
    """The same training, which saves everything after each `every` steps, a pass."""
    return SavingTraining(_open(shards, config), directory, every)


class SavingTraining:
    """A training that saves checkpoints as `engine.train --checkpoint-every` does.

    Attributes:
        waits: seconds that training stood still for each checkpoint.
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


def training_batches(shards: Path, manifest: Manifest, config: TrainConfig) -> tf.data.Dataset:
    """The batches `engine.train` would read."""
    return input_pipeline.TrainingInput(
        shards,
        manifest,
        split=SPLIT,
        global_batch_size=config.global_batch_size,
        seed=config.seed,
        strengths=augmentation.strengths_from(config),
        tier=input_pipeline.choose_tier(
            manifest, SPLIT, cache=config.cache, memory_fraction=config.cache_memory_fraction
        ),
        shuffle_window=config.shuffle_window,
        sampling=config.sampling,
    ).dataset()


def same_batch(batch: Any, strategy: tf.distribute.Strategy) -> Iterator[Any]:
    """One batch for ever, without copying: its tensors are captured where they lie."""
    dataset = tf.data.Dataset.from_tensors(batch).repeat()
    return iter(strategy.experimental_distribute_dataset(dataset))


def _optimizer(config: TrainConfig, precision: str) -> Any:
    return optimization.make_optimizer(
        config.optimizer,
        learning_rate=config.learning_rate,
        schedule=config.schedule,
        steps_per_epoch=1000,
        epochs=config.epochs,
        warmup_epochs=config.warmup_epochs,
        weight_decay=config.weight_decay,
        ema=config.ema,
        loss_scaling=precision == "mixed_float16",
    )
