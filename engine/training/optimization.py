"""Optimizers and learning-rate schedules, built from plain settings."""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from engine.training.weight_averaging import momentum_at, tail_momentum_at
from engine.training.weight_rates import ALL_ALIKE, WeightRates

FINAL_FRACTION = 0.01  # of the peak learning rate, where a cosine ends


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to `peak`, then half a cosine down to `FINAL_FRACTION` of it.

    Args:
        peak: the largest learning rate.
        warmup_steps, total_steps: in optimizer steps.

    Attributes:
        scale: a variable that all of it is multiplied by, 1 unless `scale_learning_rate` was called.
    """

    def __init__(self, peak: float, *, warmup_steps: int, total_steps: int) -> None:
        super().__init__()
        self.peak, self.warmup_steps, self.total_steps = peak, warmup_steps, total_steps
        self.scale = keras.Variable(1.0, trainable=False, dtype="float32", name="rate_scale")

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        warmup = (step + 1) / max(1, self.warmup_steps)
        progress = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        cosine = 0.5 * (1 + ops.cos(np.pi * ops.clip(progress, 0, 1)))
        decayed = FINAL_FRACTION + (1 - FINAL_FRACTION) * cosine
        return self.peak * self.scale * ops.minimum(warmup, decayed)

    def get_config(self) -> dict[str, Any]:
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
        }


@keras.saving.register_keras_serializable(package="engine")
class FusedAdam(keras.optimizers.Adam):
    """Adam whose update of a weight is one kernel, which reads and writes each number once.

    Keras spells the same formula as a dozen operations, each a pass over all the weights: for the 24
    million of the `tutorial` network that was a third of a training step on a CPU.

    Args:
        rates: how fast each weight learns.
        average_from: the step that the average over all later ones begins with; None for averages over
            the window of the momentum alone.
    """

    def __init__(
        self,
        *arguments: Any,
        rates: WeightRates = ALL_ALIKE,
        average_from: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._rates, self._average_from = rates, average_from
        self._waited: Any = None  # steps that some weights have waited, where any waits
        self._some_wait = False  # in the step that is being traced

    def build(self, variables: Any) -> None:
        """Creates the optimizer's variables for these weights."""
        if any(self._rates.waiting):
            self._waited = self.add_variable(
                (), dtype="int", aggregation="only_first_replica", name="waited"
            )
        super().build(variables)

    def _backend_apply_gradients(self, grads: Any, trainable_variables: Any) -> None:
        if self._waited is not None:
            waiting = self._rates.waiting
            given = {self._get_variable_index(variable) for variable in trainable_variables}
            self._some_wait = not any(waiting[index] for index in given)
        super()._backend_apply_gradients(grads, trainable_variables)
        if self._some_wait:
            self._waited.assign_add(1)

    def _apply_weight_decay(self, variables: Any) -> None:
        if not self._rates.factors:  # else `update_step` decays each by its own rate
            super()._apply_weight_decay(variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Applies `gradient` to `variable` (a TensorFlow variable, or a replica's part of one)."""
        index = self._get_variable_index(variable)
        step = self.iterations.value + 1
        if self._rates.factors:
            if self._rates.waiting[index]:
                # Counted from the weight's own first step: Adam's first moments are its alone.
                step -= self._waited.value
            learning_rate = tf.cast(learning_rate, tf.float32) * self._rate_factor(index, step)
            if self.weight_decay is not None and self._use_weight_decay(variable):
                variable.assign_sub(variable * self.weight_decay * learning_rate)
        step = tf.cast(step, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.cast(self.beta_1, variable.dtype) ** step,
            beta2_power=tf.cast(self.beta_2, variable.dtype) ** step,
            lr=tf.cast(learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, variable.dtype),
        )

    def pass_over(self, steps: int) -> None:
        """Goes on as if so many steps had been taken, which the weights in place came of."""
        self.iterations.assign_add(steps)
        if self._waited is not None:
            self._waited.assign_add(steps)
        if self.use_ema:
            for variable, average in zip(
                self._trainable_variables, self._model_variables_moving_average, strict=True
            ):
                average.assign(variable)

    def _rate_factor(self, index: int, step: Any) -> Any:
        """The share of the learning rate that a weight learns with in its own step, counted from 1."""
        rates = self._rates
        if not rates.waiting[index] or not rates.warmup_steps:
            return rates.factors[index]
        warmup = tf.minimum(1.0, tf.cast(step, tf.float32) / rates.warmup_steps)
        return rates.factors[index] * warmup

    def _update_model_variables_moving_average(self, trainable_variables: Any) -> None:
        """Averages the weights with a momentum that grows from 0; Keras' is fixed from the second step."""
        momentum = momentum_at(self.iterations, self.ema_momentum)
        if self._average_from is not None:
            tail = tail_momentum_at(self.iterations, self._average_from)
            momentum = tf.maximum(momentum, tail)
        # `trainable_variables` are those with gradients; averages replace the others as well.
        for index, (variable, average) in enumerate(
            zip(self._trainable_variables, self._model_variables_moving_average, strict=True)
        ):
            if self._some_wait and self._rates.waiting[index]:
                average.assign(variable)  # without the rounding of an average
            else:
                average.assign(momentum * average + (1 - momentum) * variable)


def make_optimizer(
    name: str,
    *,
    learning_rate: float,
    schedule: str,
    steps_per_epoch: int,
    epochs: int,
    warmup_epochs: float,
    weight_decay: float,
    ema_momentum: float,
    loss_scaling: bool = False,
    rates: WeightRates = ALL_ALIKE,
    average_from: float | None = None,
) -> keras.optimizers.Optimizer:
    """An optimizer; with a constant schedule its learning rate is a variable that can be assigned.

    Args:
        name: `adam` or `adamw`; only the latter decays weights (biases and gains are spared).
        ema_momentum: largest momentum of the averaged weights (see `weight_averaging`), 0 for none.
        loss_scaling: keeps float16 gradients from vanishing.
        rates: how fast each weight learns. Those that wait at first have a warm-up
            of their own, as long as the schedule's.
        average_from: the share of the training behind which all steps are averaged; None for none.
    """
    total_steps = steps_per_epoch * epochs
    rate: Any = learning_rate
    if schedule == "cosine":
        warmup_steps = round(min(warmup_epochs * steps_per_epoch, total_steps / 4))
        rate = WarmupCosine(learning_rate, warmup_steps=warmup_steps, total_steps=total_steps)
        rates = dataclasses.replace(rates, warmup_steps=warmup_steps)
    optimizer = FusedAdam(
        rate,
        rates=rates,
        weight_decay=weight_decay if name == "adamw" else None,
        average_from=None if average_from is None else round(average_from * total_steps),
        use_ema=bool(ema_momentum) or average_from is not None,
        ema_momentum=ema_momentum,
        name=name,
    )
    if name == "adamw":
        optimizer.exclude_from_weight_decay(var_names=["bias", "gain", "gamma", "beta"])
    return keras.optimizers.LossScaleOptimizer(optimizer) if loss_scaling else optimizer


def current_learning_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """The learning rate of the next step."""
    return float(ops.convert_to_numpy(inner(optimizer).learning_rate))


def learning_rate_before(optimizer: keras.optimizers.Optimizer, steps: int) -> float:
    """The learning rate that the last but `steps - 1` step was taken with; 1 for the last itself."""
    schedule = _schedule(optimizer)
    if schedule is None:
        return current_learning_rate(optimizer)
    step = max(0, int(inner(optimizer).iterations.numpy()) - steps)
    return float(ops.convert_to_numpy(schedule(step)))


def scale_learning_rate(optimizer: keras.optimizers.Optimizer, factor: float) -> None:
    """Multiplies the learning rate, from the next step on, by `factor`."""
    schedule = _schedule(optimizer)
    rate = inner(optimizer).learning_rate if schedule is None else schedule.scale
    rate.assign(rate * factor)


def reduce_learning_rate(
    optimizer: keras.optimizers.Optimizer, factor: float, *, least: float = 0.0
) -> bool:
    """Multiplies a constant learning rate by `factor`, but not below `least`; whether that lowers it.

    A rate that is no larger than `least`, such as one that a divergence lowered, stays as it is.
    """
    rate = inner(optimizer).learning_rate
    before = np.float32(current_learning_rate(optimizer))
    lowered = max(before * np.float32(factor), np.float32(least))
    if lowered >= before:
        return False
    rate.assign(lowered)
    return True


def pass_over(optimizer: keras.optimizers.Optimizer, steps: int) -> None:
    """Counts steps that were not taken, because the weights were found in another way."""
    inner(optimizer).pass_over(steps)


def rate_scale(optimizer: keras.optimizers.Optimizer) -> float:
    """What the schedule is multiplied by; 1 for a constant rate, which is a variable itself."""
    schedule = _schedule(optimizer)
    return 1.0 if schedule is None else float(ops.convert_to_numpy(schedule.scale))


def set_rate_scale(optimizer: keras.optimizers.Optimizer, scale: float) -> None:
    """Puts back what `rate_scale` gave."""
    schedule = _schedule(optimizer)
    if schedule is not None:
        schedule.scale.assign(scale)


def _schedule(optimizer: keras.optimizers.Optimizer) -> WarmupCosine | None:
    rate = inner(optimizer)._learning_rate
    return rate if isinstance(rate, WarmupCosine) else None


def inner(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer inside a loss-scaling one, or itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)
