"""The compiled step: augment, predict, differentiate, clip, apply; on any number of replicas.

The loop is our own rather than `Model.fit`: gradients are reduced before they are clipped (Keras clips
each replica's apart, silently), and the loss is divided by the global batch, so the numbers are the
same however the batch is divided.
"""

import functools
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from engine.networks.keyed_dropout import keyed
from engine.pipeline import augmentation, mixing
from engine.training import all_reduce
from engine.training.distillation import Distillation
from engine.training.losses import Loss

_EVALUATION_BATCH = 256


class TrainingStep:
    """Runs training steps of one model under one strategy.

    Args:
        network: pixels to logits (`training_form`); float32[B, H, W, C] -> float32[B, units].
            What its layers add to the loss (regularizers, `add_loss`) is minimized along with it.
        optimizer: built for the weights, within the strategy's scope.
        weights: those of the network that are trained; None for all.
        head: those that are trained in steps of the head alone; None for `weights`.
        class_weights: float32[K]; what an example of each class counts.
        loss: of each example; see `losses`.
        global_clipnorm: the largest global norm of the gradients; 0 leaves them.
        distillation: how a teacher counts, whose log-probabilities batches then hold.
    """

    def __init__(
        self,
        network: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        *,
        strategy: tf.distribute.Strategy,
        global_batch_size: int,
        class_weights: np.ndarray,
        loss: Loss,
        global_clipnorm: float,
        jit_compile: bool,
        weights: list[Any] | None = None,
        head: list[Any] | None = None,
        distillation: Distillation | None = None,
    ) -> None:
        self._network = network
        self._optimizer = optimizer
        self._strategy = strategy
        self._global_batch_size = global_batch_size
        self._class_weights = tf.constant(class_weights, tf.float32)
        self._loss = loss
        self._distillation = distillation
        self._global_clipnorm = global_clipnorm
        self._jit_compile = jit_compile
        weights = network.trainable_variables if weights is None else weights
        self._execute = self._compiled(weights)
        self._execute_head = self._compiled(weights if head is None else head)
        self._predict = tf.function(self._logits, reduce_retracing=True, autograph=False)

    def _compiled(self, weights: list[Any]) -> Any:
        """The function that runs steps which train these weights; it is traced when it is first called."""
        learn = functools.partial(self._learn, weights)
        if self._jit_compile:
            # The warp is compiled by itself, so what is compiled here begins behind it.
            learn = tf.function(learn, jit_compile=True, autograph=False)
        # Autograph would spend a second of every start on rewriting what needs no rewriting.
        steps = functools.partial(self._steps, learn)
        return tf.function(steps, reduce_retracing=True, autograph=False)

    def run(
        self, batches: Iterator[Any], steps: int, *, stop: bool = False, head_only: bool = False
    ) -> tuple[np.ndarray, int, bool]:
        """Trains on the next `steps` batches, in one call of the compiled function.

        The function is the same for any number of steps, and so are the weights that come out.

        Args:
            stop: whether this worker was asked to stop; every worker learns of it.
            head_only: whether the head alone is trained; no gradient of the body is computed then.

        Returns:
            The sum over examples of the (weighted) loss in each step, without what layers add to it,
            float32[steps], how many were classified correctly, and whether any worker was asked to
            stop; the same on every worker.
        """
        execute = self._execute_head if head_only else self._execute
        sums = execute(batches, tf.constant(steps), tf.constant(float(stop))).numpy()
        return sums[:, 0], int(sums[:, 1].sum()), bool(sums[:, 2].any())

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Logits without augmentation or dropout; uint8[N, H, W, C] -> float32[N, units]."""
        parts = [
            self._predict(tf.constant(images[start : start + _EVALUATION_BATCH])).numpy()
            for start in range(0, len(images), _EVALUATION_BATCH)
        ]
        return np.concatenate(parts)

    def _steps(
        self, learn: Callable[..., tf.Tensor], batches: Any, steps: tf.Tensor, stop: tf.Tensor
    ) -> tf.Tensor:
        """float32[steps, 3]: what `_replica_step` gives, summed over replicas."""
        rows = tf.TensorArray(tf.float32, size=steps, element_shape=[3])

        def one_more(step: tf.Tensor, rows: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            sums = self._strategy.run(self._replica_step, args=(learn, batches.get_next(), stop))
            summed = self._strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)
            return step + 1, rows.write(step, summed)

        with all_reduce.without_search():
            _, rows = tf.while_loop(lambda step, _: step < steps, one_more, (0, rows))
        return rows.stack()

    def _logits(self, images: tf.Tensor) -> tf.Tensor:
        return self._network(tf.cast(images, tf.float32), training=False)

    def _replica_step(
        self, learn: Callable[..., tf.Tensor], batch: dict[str, tf.Tensor], stop: tf.Tensor
    ) -> tf.Tensor:
        """One replica's share of a step; returns float32[3]: its loss, its correct answers, `stop`."""
        pixels, shares = augmentation.apply(batch), None
        if "mix" in batch:
            pixels = mixing.apply(pixels, batch["mix"])
            shares = mixing.label_share(batch["mix"])
        sums = learn(pixels, batch["label"], batch.get("key"), shares, batch.get("teacher"))
        return tf.concat([sums, [stop]], axis=0)

    def _learn(
        self,
        weights: list[Any],
        pixels: tf.Tensor,
        labels: tf.Tensor,
        keys: tf.Tensor | None,
        shares: tf.Tensor | None,
        teacher: tf.Tensor | None,
    ) -> tf.Tensor:
        # What depends on no watched weight is not recorded, and has no backward pass.
        with tf.GradientTape(watch_accessed_variables=False) as tape, keyed(keys):
            tape.watch([weight.value for weight in weights])
            logits = self._network(pixels, training=True)
            loss = tf.reduce_sum(self._mixed_losses(labels, logits, shares, teacher))
            objective = loss / self._global_batch_size
            # The sum over replicas is minimized. Where there is nothing to add, no operation is.
            if added := self._network.losses:
                total = tf.add_n([tf.cast(one, tf.float32) for one in added])
                objective += total / self._strategy.num_replicas_in_sync
            scaled = self._optimizer.scale_loss(objective)
        gradients, weights = _that_exist(tape.gradient(scaled, weights), weights)
        self._optimizer.apply_gradients(zip(self._clipped(gradients), weights, strict=True))
        if shares is not None:
            labels = tf.where(shares >= 0.5, labels, mixing.neighbours(labels))
        correct = tf.reduce_sum(tf.cast(predicted_labels(logits) == labels, tf.float32))
        return tf.stack([loss, correct])

    def _mixed_losses(
        self,
        labels: tf.Tensor,
        logits: tf.Tensor,
        shares: tf.Tensor | None,
        teacher: tf.Tensor | None,
    ) -> tf.Tensor:
        """float32[B]; where images are mixed, of their own and of their neighbours' labels by shares."""
        own = self._weighted_losses(labels, logits, teacher)
        if shares is None:
            return own
        theirs = None if teacher is None else mixing.neighbours(teacher)
        others = self._weighted_losses(mixing.neighbours(labels), logits, theirs)
        return shares * own + (1 - shares) * others

    def _weighted_losses(
        self, labels: tf.Tensor, logits: tf.Tensor, teacher: tf.Tensor | None
    ) -> tf.Tensor:
        losses = self._loss(labels, logits)
        if self._distillation is not None and teacher is not None:
            losses = self._distillation.mixed(losses, teacher, logits)
        return tf.gather(self._class_weights, labels) * losses

    def _clipped(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        """The replica's gradients, scaled such that their sum over replicas obeys `global_clipnorm`.

        With loss scaling they become NaN on all replicas where they overflowed on any: each decides by
        its own whether to apply them (Keras asks the first alone), and all must decide alike.
        """
        loss_scale = getattr(self._optimizer, "dynamic_scale", None)
        if not self._global_clipnorm and loss_scale is None:
            return gradients
        context = tf.distribute.get_replica_context()
        summed = gradients
        if self._strategy.num_replicas_in_sync > 1:
            summed = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        norm = tf.linalg.global_norm(summed)
        if loss_scale is not None:
            norm /= tf.convert_to_tensor(loss_scale)
        factor = (
            tf.minimum(self._global_clipnorm / (norm + 1e-12), 1.0)
            if self._global_clipnorm
            else 1.0
        )
        if loss_scale is not None:
            factor = tf.where(tf.math.is_finite(norm), factor, math.nan)
        return [gradient * tf.cast(factor, gradient.dtype) for gradient in gradients]


def _that_exist(gradients: list[Any], weights: list[Any]) -> tuple[list[Any], list[Any]]:
    """Gradients and their weights, without weights that the objective does not depend on.

    Raises:
        ValueError: it depends on none.
    """
    pairs = [pair for pair in zip(gradients, weights, strict=True) if pair[0] is not None]
    if not pairs:
        raise ValueError("the loss depends on no trainable weight of the network")
    if len(pairs) < len(weights):
        missing = [
            weight.path
            for gradient, weight in zip(gradients, weights, strict=True)
            if gradient is None
        ]
        warnings.warn(
            f"{', '.join(missing)}: the loss does not depend on these weights, which stay as they are",
            stacklevel=2,
        )
    return [gradient for gradient, _ in pairs], [weight for _, weight in pairs]


def predicted_labels(logits: tf.Tensor) -> tf.Tensor:
    """The likelier class, int64[B], of logits float32[B, 1] or float32[B, K]."""
    if logits.shape[-1] == 1:
        return tf.cast(logits[:, 0] > 0, tf.int64)
    return tf.argmax(logits, axis=-1)
