"""What a configuration asks for, built: runtime, input, network, optimizer and the compiled step.

The whole configuration is unpacked here; what is called takes plain arguments.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine.base.config import UserError
from engine.base.settings import TrainConfig
from engine.networks import registry
from engine.networks.network import Network
from engine.networks.pooling import STATISTICS
from engine.networks.training_form import TrainingForm
from engine.pipeline import augmentation
from engine.pipeline.plan import InputPlan
from engine.pipeline.reading import StoredSplit
from engine.pipeline.training_input import TrainingInput
from engine.runs.run_directory import RunDirectory
from engine.shards import dataset_checks
from engine.shards.tfrecords import Manifest
from engine.training import fine_tuning, losses, optimization, runtime, soft_labels
from engine.training.distillation import Distillation
from engine.training.fine_tuning import FineTuning
from engine.training.losses import Loss, Objective
from engine.training.solved_head import SolvedHead
from engine.training.training_step import TrainingStep
from engine.training.weight_rates import WeightRates


@dataclasses.dataclass(frozen=True)
class BuiltStep:
    """A training step, and what it changes.

    Attributes:
        model: as the network's builder gave it; takes images [B, H, W, C].
        form: the form of it that is trained, from pixels to logits; shares its variables.
        fine_tuning: which of its weights are trained, and when.
        refits_head: whether the head is solved for when training ends.
    """

    model: Any
    form: TrainingForm
    optimizer: Any
    step: TrainingStep
    fine_tuning: FineTuning
    refits_head: bool = False


def prepare_runtime(config: TrainConfig, network: Network | None = None) -> runtime.Runtime:
    """Chooses devices and modes as a configuration asks; see `runtime.prepare`.

    Args:
        network: what is trained; None for the one that the configuration names.
    """
    network = network or registry.resolve(config.model)
    return runtime.prepare(
        precision=config.precision,
        jit_compile=config.jit_compile,
        strategy=config.strategy,
        num_logical_devices=config.num_logical_devices,
        global_batch_size=config.global_batch_size,
        precision_advice=network.precision_advice(registry.settings_of(network, config)),
        seed=config.seed,
        deterministic=config.deterministic,
    )


def check_pairs(config: TrainConfig, run_on: runtime.Runtime) -> None:
    """Raises `UserError` unless each device gets whole pairs of images, where images are mixed."""
    size, replicas = config.global_batch_size, run_on.num_replicas
    if not (config.mixup or config.cutmix) or size // replicas % 2 == 0:
        return
    raise UserError(
        f"--global-batch-size {size} gives each of {replicas} devices {size // replicas} images, but "
        f"--mixup and --cutmix mix them in pairs; the nearest that give pairs are "
        f"{runtime.nearest_multiples(size, 2 * replicas)}"
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
    network: Network | None = None,
    objective: Objective | None = None,
) -> BuiltStep:
    """The network, the optimizer and the step that a configuration asks for, under the policy in force.

    Args:
        network: what is trained; None for the one that the configuration names.
        objective: what is minimized; None for the one that the configuration names.

    Raises:
        UserError: the network does not fit the images or the classes.
    """
    network = network or registry.resolve(config.model)
    steps_per_epoch = dataset_checks.steps_per_epoch(manifest, "train", config.global_batch_size)
    with run_on.strategy.scope():
        model = build_model(config, manifest, network)
        form = registry.build_training_form(
            network,
            model,
            config,
            manifest.image_format,
            len(manifest.class_names),
            synchronized=config.sync_batch_norm and run_on.num_replicas > 1,
        )
        pretrained = registry.is_pretrained(network, config)
        tuned = fine_tuning.plan(form.network, config, pretrained=pretrained)
        optimizer = _build_optimizer(config, steps_per_epoch, run_on.precision, tuned.rates)
        optimizer.build(tuned.weights)
    objective = objective or choose_objective(config)
    objective.check(units=form.network.output_shape[-1])
    step = TrainingStep(
        form.network,
        optimizer,
        strategy=run_on.strategy,
        global_batch_size=config.global_batch_size,
        class_weights=_class_weights(config, manifest),
        loss=objective.training,
        global_clipnorm=config.global_clipnorm,
        jit_compile=run_on.jit_compile,
        weights=tuned.weights,
        head=tuned.head,
        distillation=_distillation(config),
    )
    refits = refits_head(config, network, objective)
    return BuiltStep(model, form, optimizer, step, tuned, refits)


def solved_head(
    config: TrainConfig,
    built: BuiltStep,
    split: StoredSplit,
    run_on: runtime.Runtime,
    *,
    say: Callable[[str], None],
) -> SolvedHead:
    """What solves for the head, in an epoch or when training ends.

    Raises:
        UserError: the network does not end in a dense layer.
    """
    manifest, weights = split.manifest, _class_weights(config, split.manifest)
    if config.sampling == "balanced":
        weights = dataset_checks.balanced_class_weights(manifest, "train")
    return SolvedHead(
        built.form.network,
        split,
        mirrored=augmentation.strengths_from(config).horizontal_flip,
        class_weights=weights,
        agreed=run_on.agreed,
        say=say,
    )


def refits_head(config: TrainConfig, network: Network, objective: Objective) -> bool:
    """Whether the head is solved for anew when training ends (see `--refit-head`)."""
    if config.refit_head is not None:
        return config.refit_head
    return (
        "pooling" in network.settings
        and config.pooling == STATISTICS
        and not registry.is_pretrained(network, config)
        and objective.name == losses.CROSS_ENTROPY
        and config.distill_from is None
    )


def training_input(config: TrainConfig, shards: Path, manifest: Manifest) -> TrainingInput:
    """The batches that a configuration trains on; the validation split lies in memory besides.

    Raises:
        UserError: see `TrainingInput`; or a teacher's probabilities cannot follow the order of the images.
    """
    plan = InputPlan.from_config(config, held_splits=("validation",))
    batches = TrainingInput(plan, shards, manifest)
    if config.distill_from is not None and batches.tier.examples is None:
        raise UserError(
            "--distill-from needs the memory tier or raw images, but this split of "
            f"{manifest.encoding} images is streamed ({batches.tier.reason}); use --cache memory"
        )
    return batches


def teach(
    config: TrainConfig,
    batches: TrainingInput,
    run: RunDirectory,
    run_on: runtime.Runtime,
    *,
    say: Callable[[str], None],
) -> None:
    """Gives batches what the teacher says of their images, where a configuration names one.

    Args:
        run: where that is kept.

    Raises:
        UserError: the teacher cannot be read, or a shard is damaged.
    """
    if config.distill_from is None:
        return
    split = batches.split
    prior = implied_prior(config, split.manifest)
    batches.teach(
        soft_labels.prepare(
            Path(config.distill_from), split, run, prior=prior, run_on=run_on, say=say
        )
    )


def build_model(config: TrainConfig, manifest: Manifest, network: Network | None = None) -> Any:
    """The model that a configuration asks for, for the manifest's images and classes.

    Raises:
        UserError: the network does not fit the images or the classes.
    """
    network = network or registry.resolve(config.model)
    return registry.build(network, config, manifest.image_format, len(manifest.class_names))


def _build_optimizer(
    config: TrainConfig, steps_per_epoch: int, precision: str, rates: WeightRates
) -> Any:
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
        rates=rates,
        average_from=config.average_from,
    )


def _distillation(config: TrainConfig) -> Distillation | None:
    if config.distill_from is None:
        return None
    return Distillation(weight=config.distill_weight, temperature=config.distill_temperature)


def _class_weights(config: TrainConfig, manifest: Manifest) -> np.ndarray:
    """float32[K]: what an example of each class counts in the loss."""
    if config.class_weights == "none" or config.sampling == "balanced":
        return np.ones(len(manifest.class_names), np.float32)
    return dataset_checks.balanced_class_weights(manifest, "train")


def implied_prior(config: TrainConfig, manifest: Manifest) -> tuple[float, ...]:
    """The share of each class that the probabilities hold for which training leads to."""
    num_classes = len(manifest.class_names)
    if config.class_weights == "balanced" or config.sampling == "balanced":
        return (1 / num_classes,) * num_classes
    counts = dataset_checks.split_info(manifest, "train").class_counts
    present = [max(1, counts.get(name, 0)) for name in manifest.class_names]
    return tuple(count / sum(present) for count in present)
