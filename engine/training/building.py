"""What a configuration asks for, built: runtime, input, network, optimizer and the compiled step.

The whole configuration is unpacked here; what is called takes plain arguments.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from engine.base.config import UserError
from engine.base.settings import TrainConfig
from engine.networks import models
from engine.pipeline.plan import InputPlan
from engine.pipeline.training_input import TrainingInput
from engine.shards import dataset_checks
from engine.shards.tfrecords import Manifest
from engine.training import losses, optimization, runtime
from engine.training.losses import Loss, Objective
from engine.training.training_step import TrainingStep


@dataclasses.dataclass(frozen=True)
class BuiltStep:
    """A training step, and what it changes.

    Attributes:
        model: the plain model, which is saved; takes uint8[B, H, W, C].
        network: the model around it that is trained, which takes the draws of augmentation as well.
    """

    model: Any
    network: Any
    optimizer: Any
    step: TrainingStep


def prepare_runtime(config: TrainConfig) -> runtime.Runtime:
    """Chooses devices and modes as a configuration asks; see `runtime.prepare`."""
    return runtime.prepare(
        precision=config.precision,
        jit_compile=config.jit_compile,
        strategy=config.strategy,
        num_logical_devices=config.num_logical_devices,
        global_batch_size=config.global_batch_size,
        normalization=config.normalization if config.model == "cnn" else "none",
        seed=config.seed,
        deterministic=config.deterministic,
    )


def check_pairs(config: TrainConfig, run_on: runtime.Runtime) -> None:
    """Raises `UserError` unless each device gets whole pairs of images, where images are mixed."""
    size, replicas = config.global_batch_size, run_on.num_replicas
    if not (config.mixup or config.cutmix) or size // replicas % 2 == 0:
        return
    below = size // (2 * replicas) * 2 * replicas
    nearest = f"{below} or {below + 2 * replicas}" if below else str(2 * replicas)
    raise UserError(
        f"--global-batch-size {size} gives each of {replicas} devices {size // replicas} images, but "
        f"--mixup and --cutmix mix them in pairs; the nearest that give pairs are {nearest}"
    )


def choose_objective(config: TrainConfig, given: Loss | None = None) -> Objective:
    """The loss that a configuration names, or the one that is given in Python instead.

    Raises:
        UserError: there is no such function.
    """
    return losses.choose(
        config.loss,
        given,
        label_smoothing=config.label_smoothing,
        focal_gamma=config.focal_gamma,
    )


def build_step(
    config: TrainConfig,
    manifest: Manifest,
    run_on: runtime.Runtime,
    *,
    objective: Objective | None = None,
) -> BuiltStep:
    """The network, the optimizer and the step that a configuration asks for, under the policy in force.

    Args:
        objective: what is minimized; None for the one that the configuration names.

    Raises:
        UserError: the network does not fit the images or the classes.
    """
    steps_per_epoch = dataset_checks.steps_per_epoch(manifest, "train", config.global_batch_size)
    with run_on.strategy.scope():
        model = build_model(
            config, manifest, synchronized=config.sync_batch_norm and run_on.num_replicas > 1
        )
        network = models.training_model(model)
        optimizer = _build_optimizer(config, steps_per_epoch, run_on.precision)
        optimizer.build(network.trainable_variables)
    objective = objective or choose_objective(config)
    objective.check(units=network.output_shape[-1])
    step = TrainingStep(
        network,
        optimizer,
        strategy=run_on.strategy,
        global_batch_size=config.global_batch_size,
        class_weights=_class_weights(config, manifest),
        loss=objective.training,
        global_clipnorm=config.global_clipnorm,
        jit_compile=run_on.jit_compile,
    )
    return BuiltStep(model, network, optimizer, step)


def training_input(config: TrainConfig, shards: Path, manifest: Manifest) -> TrainingInput:
    """The batches that a configuration trains on; the validation split lies in memory besides.

    Raises:
        UserError: see `TrainingInput`.
    """
    plan = InputPlan.from_config(config, held_splits=("validation",))
    return TrainingInput(plan, shards, manifest)


def build_model(config: TrainConfig, manifest: Manifest, *, synchronized: bool = False) -> Any:
    """The network that a configuration asks for, at the manifest's size.

    Args:
        synchronized: see `models.build_model`.

    Raises:
        UserError: the network does not fit the images or the classes.
    """
    try:
        return models.build_model(
            config.model,
            image_size=manifest.image_size,
            channels=manifest.channels,
            num_classes=len(manifest.class_names),
            depth=config.depth,
            width=config.width,
            blocks=config.blocks,
            dropout=config.dropout,
            normalization=config.normalization,
            synchronized=synchronized,
            head=config.head,
            resized_to=config.image_size,
        )
    except ValueError as error:
        raise UserError(str(error)) from error


def _build_optimizer(config: TrainConfig, steps_per_epoch: int, precision: str) -> Any:
    return optimization.make_optimizer(
        config.optimizer,
        learning_rate=config.learning_rate,
        schedule=config.schedule,
        steps_per_epoch=steps_per_epoch,
        epochs=config.epochs,
        warmup_epochs=config.warmup_epochs,
        weight_decay=config.weight_decay,
        ema_momentum=config.ema_momentum,
        loss_scaling=precision == "mixed_float16",
    )


def _class_weights(config: TrainConfig, manifest: Manifest) -> np.ndarray:
    """float32[K]: what an example of each class counts in the loss."""
    if config.class_weights == "none" or config.sampling == "balanced":
        return np.ones(len(manifest.class_names), np.float32)
    return dataset_checks.balanced_class_weights(manifest, "train")
