"""Optimizers and learning-rate schedules, built from plain settings."""

from typing import Any

import keras
import numpy as np
from keras import ops

FINAL_FRACTION = 0.01  # of the peak learning rate, where a cosine ends


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to `peak`, then half a cosine down to `FINAL_FRACTION` of it.

    Args:
        peak: the largest learning rate.
        warmup_steps, total_steps: in optimizer steps.
    """

    def __init__(self, peak: float, *, warmup_steps: int, total_steps: int) -> None:
        super().__init__()
        self.peak, self.warmup_steps, self.total_steps = peak, warmup_steps, total_steps

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        warmup = (step + 1) / max(1, self.warmup_steps)
        progress = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        cosine = 0.5 * (1 + ops.cos(np.pi * ops.clip(progress, 0, 1)))
        decayed = FINAL_FRACTION + (1 - FINAL_FRACTION) * cosine
        return self.peak * ops.minimum(warmup, decayed)

    def get_config(self) -> dict[str, Any]:
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
        }


def make_optimizer(
    name: str,
    *,
    learning_rate: float,
    schedule: str,
    steps_per_epoch: int,
    epochs: int,
    warmup_epochs: float,
    weight_decay: float,
    ema: float,
    loss_scaling: bool = False,
) -> keras.optimizers.Optimizer:
    """An optimizer; with a constant schedule its learning rate is a variable that can be assigned.

    Args:
        name: `adam` or `adamw`; only the latter decays weights (biases and gains are spared).
        ema: momentum of the averaged weights, 0 for none.
        loss_scaling: keeps float16 gradients from vanishing.
    """
    total_steps = steps_per_epoch * epochs
    rate: Any = learning_rate
    if schedule == "cosine":
        warmup_steps = round(min(warmup_epochs * steps_per_epoch, total_steps / 4))
        rate = WarmupCosine(learning_rate, warmup_steps=warmup_steps, total_steps=total_steps)
    averaging = {"use_ema": bool(ema), "ema_momentum": ema or 0.99}
    if name == "adamw":
        optimizer = keras.optimizers.AdamW(rate, weight_decay=weight_decay, **averaging)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gain", "gamma", "beta"])
    else:
        optimizer = keras.optimizers.Adam(rate, **averaging)
    return keras.optimizers.LossScaleOptimizer(optimizer) if loss_scaling else optimizer


def current_learning_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """The learning rate of the next step."""
    return float(ops.convert_to_numpy(inner(optimizer).learning_rate))


def inner(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer inside a loss-scaling one, or itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)
