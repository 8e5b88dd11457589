"""Whether shards hold what a command needs of them, by their manifest alone: no TensorFlow.

Commands can then refuse wrong input before they import TensorFlow, which takes 3 s, and 30 s on a
busy machine.
"""

from pathlib import Path

import numpy as np

from engine.base.config import UserError
from engine.base.settings import TrainConfig
from engine.base.wording import counted
from engine.images.split_plan import SMALL_VALIDATION
from engine.metrics import thresholds
from engine.shards import tfrecords
from engine.shards.tfrecords import Manifest


def check_trainable(manifest: Manifest, config: TrainConfig) -> None:
    """Raises `UserError` unless there is something to train and to validate on."""
    thresholds.parse_threshold_rule(config.threshold)
    steps_per_epoch(manifest, "train", config.global_batch_size)
    check_validation(manifest)


def steps_per_epoch(
    shards: Path | str | Manifest, split: str = "train", global_batch_size: int = 64
) -> int:
    """How many whole batches a split holds.

    Args:
        shards: a directory of shards, or its manifest.

    Raises:
        UserError: there is no such split, or it holds less than one batch.
    """
    manifest = shards if isinstance(shards, Manifest) else tfrecords.read_manifest(shards)
    num_examples = split_info(manifest, split).num_examples
    if global_batch_size < 1:
        raise UserError(f"--global-batch-size must be at least 1, got {global_batch_size}")
    if num_examples < global_batch_size:
        raise UserError(
            f"--global-batch-size {global_batch_size} is more than the {num_examples} images of "
            f"split {split!r}; give at most {num_examples}"
        )
    return num_examples // global_batch_size


def split_info(manifest: Manifest, split: str) -> tfrecords.SplitInfo:
    """What the manifest says of a split.

    Raises:
        UserError: there is no such split, or it is empty.
    """
    info = manifest.splits.get(split)
    if info is None or info.num_examples == 0:
        present = ", ".join(
            name for name, split_info in manifest.splits.items() if split_info.num_examples
        )
        raise UserError(
            f"the shards hold no split {split!r}, only {present}; build them again with "
            f"--validation-fraction or --test-fraction to draw one"
        )
    return info


def balanced_class_weights(manifest: Manifest, split: str) -> np.ndarray:
    """float32[K]: N / (K * count), so that every class weighs the same in the loss; 0 if absent.

    Raises:
        UserError: there is no such split, or it is empty.
    """
    counts = split_info(manifest, split).class_counts
    numbers = np.array([counts.get(name, 0) for name in manifest.class_names], np.float32)
    present = numbers > 0
    weights = numbers.sum() / (present.sum() * np.maximum(numbers, 1))
    return np.where(present, weights, 0).astype(np.float32)


def check_validation(manifest: Manifest) -> None:
    """Raises `UserError` unless there is a validation split with something to tell apart."""
    validation = split_info(manifest, "validation")
    if sum(1 for count in validation.class_counts.values() if count) < 2:
        raise UserError(
            f"the validation split has one class only, {dict(validation.class_counts)}; expected two "
            "or more, to measure and to choose a threshold on; build with --validation-fraction 0.1"
        )


def validation_warning(manifest: Manifest) -> str | None:
    """A line for the user where validation is too small to choose by; None where it is not.

    It quotes the 95 % interval of `intervals` for 90 % right of the rarest class's images.
    """
    present = {
        name: count
        for name, count in split_info(manifest, "validation").class_counts.items()
        if count
    }
    rarest = min(present, key=present.__getitem__)
    count = present[rarest]
    if count >= SMALL_VALIDATION:
        return None
    # With SciPy, which commands import only once their input is right.
    from engine.metrics import intervals

    low, high = intervals.clopper_pearson(0.9, count)
    return (
        f"warning: validation has {counted(count, 'image')} of class {rarest!r}, fewer than "
        f"{SMALL_VALIDATION}: of a model right on 90% of them, all that is known is {low:.0%} to "
        f"{high:.0%} (95%), and epochs, thresholds and settings are chosen by it; build with a larger "
        "--validation-fraction"
    )
