"""Datasets for plain Keras: `(image, label)` pairs for `Model.fit` and `Model.evaluate`.

    model = keras.Sequential([keras.Input((224, 224, 1)), keras.layers.Rescaling(1 / 255), ...])
    trained = datasets.augmented(model)
    trained.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    trained.fit(
        datasets.training("shards", global_batch_size=64, seed=0, augment="standard"),
        steps_per_epoch=datasets.steps_per_epoch("shards", global_batch_size=64),
        epochs=10,
        validation_data=datasets.evaluation("shards", split="validation"),
        class_weight=datasets.class_weights("shards"),
    )
    model.save("model.keras")  # the plain model; augmentation is no part of it

Without `augment`, `model.fit` takes the dataset as it is. `ResumeTraining` is a callback that
resumes an interrupted `fit` at the exact batch. Images are uint8 with values from 0 to 255: begin a
model with `Rescaling`.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from engine.base.config import UserError
from engine.base.settings import AugmentationSettings
from engine.pipeline import augmentation, mixing
from engine.pipeline.augmentation import Strengths
from engine.pipeline.augmented_model import AugmentedModel
from engine.pipeline.dataset_options import unconverted
from engine.pipeline.mixing import Mixing
from engine.pipeline.plan import InputPlan, check_count
from engine.pipeline.reading import StoredSplit
from engine.pipeline.resume_training import ResumeTraining
from engine.pipeline.training_input import TrainingInput
from engine.shards import dataset_checks, tfrecords
from engine.shards.dataset_checks import steps_per_epoch

__all__ = [
    "ResumeTraining",
    "Strengths",
    "augmented",
    "class_names",
    "class_weights",
    "evaluation",
    "steps_per_epoch",
    "training",
]

LABEL_MODES = ("int", "categorical")


def training(
    shards: Path | str,
    *,
    split: str = "train",
    global_batch_size: int = 64,
    seed: int = 0,
    augment: str | Strengths = "none",
    mixup: float = 0.0,
    cutmix: float = 0.0,
    label_mode: str = "int",
    sampling: str = "natural",
    cache: str = "auto",
    cache_memory_fraction: float = 0.5,
    shuffle_window: int = 4096,
    data_service: str | None = None,
    start_step: int = 0,
) -> tf.data.Dataset:
    """An endless dataset of shuffled training batches, for `Model.fit` with `steps_per_epoch`.

    Batches are a pure function of the arguments and the step: the same again in every process, on
    any number of devices, and opened at any step.

    Args:
        shards: a directory of shards.
        split: one of its splits.
        global_batch_size: images per step, over all devices.
        seed: of the order and the augmentation; any integer.
        augment: a preset (`none`, `light`, `standard`, `strong`, `tutorial`) or
            `datasets.Strengths`. What is drawn travels in the batch; the model must be wrapped
            in `augmented`, which moves the pixels on the device.
        mixup, cutmix: average each image with its neighbour in the batch, or paste a part of the
            neighbour into it, by shares drawn from Beta(alpha, alpha) of this alpha; 0 turns it
            off. Labels, which must be `categorical`, are shared out alike. The model must be wrapped
            in `augmented`, and each device needs an even number of images.
        label_mode: `int` for class indices, as `sparse_categorical_crossentropy` and
            `binary_crossentropy` take them, or `categorical` for one-hot vectors.
        sampling: `natural`, or `balanced` (every class equally often; not from PNG or JPEG shards
            that are streamed).
        cache: `memory`, `streaming`, or `auto`: memory where the decoded split fits.
        cache_memory_fraction: the share of free memory that `auto` may take.
        shuffle_window: PNG or JPEG examples permuted together when they are streamed.
        data_service: `grpc://HOST:PORT` of a tf.data service dispatcher whose workers read.
        start_step: the number of batches to pass over, as after a resume.

    Returns:
        `(uint8[B, H, W, C], int64[B])`. With augmentation or mixing, the first of the pair is a
        dictionary of `image`, `key` and the draws (see `augmentation.draw` and `mixing.draw`). With
        `categorical`, labels are float32[B, K].

    Raises:
        UserError: there is no such split, it holds less than one batch, or an argument is wrong.
    """
    plan = InputPlan(
        split=split,
        seed=seed,
        global_batch_size=global_batch_size,
        sampling=sampling,
        strengths=_strengths(augment),
        mixing=_mixing(mixup, cutmix, label_mode),
        shuffle_window=shuffle_window,
        cache=cache,
        cache_memory_fraction=cache_memory_fraction,
        data_service=data_service,
    )
    check_count("start_step", start_step, minimum=0)
    batches = TrainingInput(plan, shards)
    label = _labeller(label_mode, len(batches.split.manifest.class_names))

    @unconverted
    def pair(batch: dict[str, tf.Tensor]) -> tuple[Any, tf.Tensor]:
        labels = label(batch["label"])
        if plan.mixing:
            shares = mixing.label_share(batch["mix"])[:, None]
            labels = shares * labels + (1 - shares) * mixing.neighbours(labels)
        if not (plan.strengths or plan.mixing):
            return batch["image"], labels
        return {name: value for name, value in batch.items() if name != "label"}, labels

    return batches.dataset(start_step).map(pair)


def evaluation(
    shards: Path | str,
    *,
    split: str = "validation",
    batch_size: int = 256,
    label_mode: str = "int",
) -> tf.data.Dataset:
    """Every example of a split once, in the order of the records, the remainder included.

    Args:
        shards: a directory of shards.
        batch_size: images per batch; on several devices a multiple of their number, as Keras needs.
        label_mode: see `training`.

    Returns:
        A dataset of known length: `(uint8[<=B, H, W, C], int64[<=B])`, ready for `Model.evaluate`,
        `Model.predict` and as `validation_data` of `Model.fit`.

    Raises:
        UserError: there is no such split, or an argument is wrong.
    """
    check_count("batch_size", batch_size)
    stored = StoredSplit(shards, split)
    label = _labeller(label_mode, len(stored.manifest.class_names))
    return stored.dataset(batch_size).map(
        unconverted(lambda batch: (batch["image"], label(batch["label"])))
    )


def augmented(model: keras.Model) -> AugmentedModel:
    """A model to `fit` on augmented batches of `training`; it shares every variable with `model`.

    The images are moved on the device, in the compiled step, by the draws that come with each
    batch: the same images on any number of devices and after a resume. Under a distribution
    strategy, call it within the strategy's scope.

    Args:
        model: takes images [B, H, W, C] with values from 0 to 255, preferably float32: with integer
            inputs, augmented pixels are rounded.

    Raises:
        UserError: `model` is no Keras model.
    """
    return AugmentedModel(model)


def class_names(shards: Path | str) -> tuple[str, ...]:
    """The classes, in the order of their indices."""
    return tfrecords.read_manifest(shards).class_names


def class_weights(shards: Path | str, split: str = "train") -> dict[int, float]:
    """`class_weight` for `Model.fit`, N / (K * count): every class weighs the same in the loss.

    Raises:
        UserError: there is no such split.
    """
    manifest = tfrecords.read_manifest(shards)
    weights = dataset_checks.balanced_class_weights(manifest, split)
    return {index: float(weight) for index, weight in enumerate(weights)}


def _strengths(augment: str | Strengths) -> Strengths:
    if isinstance(augment, Strengths):
        AugmentationSettings(**dataclasses.asdict(augment))  # holds each to its bounds
        return augment
    if not isinstance(augment, str) or augment not in augmentation.PRESETS:
        known = ", ".join(augmentation.PRESETS)
        raise UserError(f"augment must be one of {known}, or Strengths, got {augment!r}")
    return augmentation.PRESETS[augment]


def _mixing(mixup: float, cutmix: float, label_mode: str) -> Mixing:
    AugmentationSettings(mixup=mixup, cutmix=cutmix)  # holds both to their bounds
    if (mixup or cutmix) and label_mode != "categorical":
        raise UserError(
            f"mixup and cutmix share labels out, which needs label_mode='categorical', got "
            f"{label_mode!r}"
        )
    return Mixing(mixup=mixup, cutmix=cutmix)


def _labeller(label_mode: str, num_classes: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function from labels int64[B] to what the loss is to be given."""
    if label_mode not in LABEL_MODES:
        raise UserError(f"label_mode must be one of {', '.join(LABEL_MODES)}, got {label_mode!r}")
    if label_mode == "int":
        return lambda labels: labels
    return lambda labels: tf.one_hot(labels, num_classes)
