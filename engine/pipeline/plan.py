"""The plan of a training's input: what decides its batches, and where images are read from."""

import dataclasses
import numbers
from typing import Any

import tensorflow as tf

from engine.base.config import UserError
from engine.base.setting_values import check_service_address
from engine.base.settings import InputSettings, TrainConfig
from engine.pipeline import augmentation, mixing
from engine.pipeline.augmentation import Strengths
from engine.pipeline.mixing import NO_MIXING, Mixing

_CHOICES = {
    field.name: field.metadata["choices"]
    for field in dataclasses.fields(InputSettings)
    if field.metadata["choices"] is not None
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputPlan:
    """What batches are made of, validated.

    `split`, `seed`, `global_batch_size`, `sampling`, `strengths` and `mixing` decide every batch,
    and so does `shuffle_window` where PNG or JPEG images are streamed. The others decide where
    images are read from.

    Attributes:
        split: the split that is read.
        seed: any integer.
        global_batch_size: images per step, over all replicas.
        sampling: `natural`, or `balanced`: every class equally often (not for PNG or JPEG images
            that are streamed).
        strengths: the augmentation that is drawn; all zero draws nothing.
        mixing: how neighbours in the batch are mixed, which needs an even `global_batch_size`.
        shuffle_window: PNG or JPEG examples that are permuted together when they are streamed.
        cache: `memory`, `streaming`, or `auto` (see `tiers.choose_tier`).
        cache_memory_fraction: the share of free memory that `auto` may take.
        data_service: `grpc://HOST:PORT` of a tf.data service dispatcher whose workers read.
        held_splits: other splits that will lie decoded in memory; they count for `auto`.

    Raises:
        UserError: a value is out of range, or two of them contradict each other.
    """

    split: str = "train"
    seed: int = 0
    global_batch_size: int = 64
    sampling: str = "natural"
    strengths: Strengths = augmentation.PRESETS["none"]
    mixing: Mixing = NO_MIXING
    shuffle_window: int = 4096
    cache: str = "auto"
    cache_memory_fraction: float = 0.5
    data_service: str | None = None
    held_splits: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("global_batch_size", "shuffle_window"):
            check_count(name, getattr(self, name))
        if not _is_integer(self.seed):
            raise UserError(f"seed must be an integer, got {self.seed!r}")
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise UserError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
        if not isinstance(self.strengths, Strengths):
            raise UserError(f"strengths must be augmentation.Strengths, got {self.strengths!r}")
        if not isinstance(self.mixing, Mixing):
            raise UserError(f"mixing must be mixing.Mixing, got {self.mixing!r}")
        if self.mixing and self.global_batch_size % 2:
            raise UserError(
                f"global_batch_size must be even, as images are mixed in pairs, got "
                f"{self.global_batch_size}"
            )
        fraction = self.cache_memory_fraction
        if not isinstance(fraction, (int, float)) or not 0 < fraction <= 1:
            raise UserError(f"cache_memory_fraction must be above 0, at most 1, got {fraction!r}")
        self._check_service()

    def _check_service(self) -> None:
        if self.data_service is None:
            return
        try:
            check_service_address(str(self.data_service))
        except ValueError as error:
            raise UserError(f"data_service: got {self.data_service!r}, {error}") from error
        if self.cache == "memory":
            raise UserError(
                f"cache='memory' keeps the images here, data_service={self.data_service!r} brings "
                "them from elsewhere; give one of them"
            )

    def draw(
        self, positions: tf.Tensor, *, epoch: tf.Tensor | int, image_size: tuple[int, int]
    ) -> dict[str, tf.Tensor]:
        """What happens to the images at `positions` of an epoch.

        Args:
            positions: int64[B], places in the epoch's order.
            epoch: scalar int.
            image_size: (height, width) in pixels.

        Returns:
            What `augmentation.draw` and `mixing.draw` give for the plan.
        """
        return {
            **augmentation.draw(
                positions,
                seed=self.seed,
                epoch=epoch,
                image_size=image_size,
                strengths=self.strengths,
            ),
            **mixing.draw(
                positions, seed=self.seed, epoch=epoch, image_size=image_size, mixing=self.mixing
            ),
        }

    @classmethod
    def from_config(cls, config: TrainConfig, *, held_splits: tuple[str, ...] = ()) -> "InputPlan":
        """The plan of a training as its configuration describes it."""
        settings = {field.name for field in dataclasses.fields(InputSettings)}
        names = settings & {field.name for field in dataclasses.fields(cls)}
        values: dict[str, Any] = {name: getattr(config, name) for name in names}
        return cls(
            **values,
            seed=config.seed,
            strengths=augmentation.strengths_from(config),
            mixing=Mixing(mixup=config.mixup, cutmix=config.cutmix),
            held_splits=held_splits,
        )


def check_count(name: str, value: Any, *, minimum: int = 1) -> None:
    """Raises `UserError` unless `value`, which users know as `name`, is an integer, large enough."""
    if not _is_integer(value) or value < minimum:
        expected = "a positive integer" if minimum == 1 else f"an integer of at least {minimum}"
        raise UserError(f"{name} must be {expected}, got {value!r}")


def _is_integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
