"""Losses of each example, from logits: cross-entropy, focal, or a function of the user's own.

A loss takes labels int64[B] and logits float32[B, units], one unit for a sigmoid or K for a softmax, and
gives float32[B]. Weights of classes, and the division by the global batch size, come after it.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from engine.base.config import UserError
from engine.base.user_code import Reference, first_line, place_of

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

CROSS_ENTROPY, FOCAL = BUILT_IN = ("cross_entropy", "focal")
DEFAULT_FOCAL_GAMMA = 2.0  # the best one for RetinaNet
_SMALLEST = 1e-7  # of 1 - p, whose power has no finite gradient at 0


@dataclasses.dataclass(frozen=True)
class Objective:
    """What a training minimizes.

    Attributes:
        name: as it is recorded: `cross_entropy`, `focal`, or where a user's function comes from.
        training: the loss, with label smoothing if it is built in.
        validation: the same without label smoothing.
        function: the user's own; None of a built-in loss.
        code: where it was named, else the function, for `code_identity`.
    """

    name: str
    training: Loss
    validation: Loss
    function: Any = None
    code: Any = None

    @property
    def is_built_in(self) -> bool:
        """Whether label smoothing applies to it."""
        return self.function is None

    def check(self, units: int) -> None:
        """Calls a user's loss on two examples, together and apart.

        Raises:
            UserError: it fails, gives anything but one number per example, or the number of an example
                depends on the others.
        """
        if not self.is_built_in:
            _check(self.training, self.name, self.function, units=units)


def choose(
    name: str,
    given: Loss | None = None,
    *,
    label_smoothing: float = 0.0,
    focal_gamma: float | None = None,
) -> Objective:
    """The loss that a configuration names, or the one that is given in Python instead.

    Args:
        name: `cross_entropy`, `focal`, `package.module:function` or `FILE.py:function`; of what is
            given, how it is recorded.
        given: a function, or a Keras loss with `reduction="none"`.
        label_smoothing: the share of certainty given to the other classes; built-in losses only.
        focal_gamma: of the focal loss; None for 2.

    Raises:
        UserError: there is no such function, or it expects probabilities.
    """
    if given is None and name in BUILT_IN:
        gamma = DEFAULT_FOCAL_GAMMA if focal_gamma is None else focal_gamma
        smooth = _built_in(name, gamma=gamma, label_smoothing=label_smoothing)
        return Objective(name, smooth, _built_in(name, gamma=gamma, label_smoothing=0.0))
    function: Any = given
    code: Any = given
    if given is None:
        code = Reference.parse(name, flag="--loss")
        function = code.load()
    if _expects_probabilities(function):
        raise UserError(
            f"--loss {name}: expects probabilities (from_logits=False), but gets logits; give "
            "from_logits=True"
        )
    loss = _of_function(function)
    return Objective(name, loss, loss, function, code)


def _built_in(name: str, *, gamma: float, label_smoothing: float) -> Loss:
    if name == FOCAL:
        return functools.partial(focal_from_logits, gamma=gamma, label_smoothing=label_smoothing)
    return functools.partial(cross_entropy_from_logits, label_smoothing=label_smoothing)


def cross_entropy_from_logits(
    labels: tf.Tensor, logits: tf.Tensor, *, label_smoothing: float = 0.0
) -> tf.Tensor:
    """Cross-entropy of each example.

    Args:
        labels: int64[B].
        logits: float32[B, 1] for a sigmoid, float32[B, K] for a softmax.

    Returns:
        float32[B].
    """
    targets = _targets(labels, logits, label_smoothing)
    if logits.shape[-1] == 1:
        return tf.nn.sigmoid_cross_entropy_with_logits(targets, logits[:, 0])
    return tf.nn.softmax_cross_entropy_with_logits(targets, logits)


def focal_from_logits(
    labels: tf.Tensor, logits: tf.Tensor, *, gamma: float, label_smoothing: float = 0.0
) -> tf.Tensor:
    """Focal loss of each example: cross-entropy, of which well classified examples count little.

    The sum over classes of -t (1 - p)^gamma log p, for targets t and probabilities p (Lin et al., 2017,
    https://arxiv.org/abs/1708.02002, without its class weights, which `--class-weights` gives). With
    gamma 0 it is the cross-entropy.

    Args:
        labels: int64[B].
        logits: float32[B, 1] for a sigmoid, float32[B, K] for a softmax.

    Returns:
        float32[B].
    """
    targets = _targets(labels, logits, label_smoothing)
    if logits.shape[-1] == 1:
        logits = tf.concat([tf.zeros_like(logits), logits], axis=1)
        targets = tf.stack([1 - targets, targets], axis=1)
    logarithms = tf.nn.log_softmax(logits)
    uncertainty = tf.maximum(1 - tf.exp(logarithms), _SMALLEST)
    return -tf.reduce_sum(targets * uncertainty**gamma * logarithms, axis=-1)


def _targets(labels: tf.Tensor, logits: tf.Tensor, label_smoothing: float) -> tf.Tensor:
    """What the probabilities should be: float32[B] of class 1 for a sigmoid, else float32[B, K]."""
    num_classes = max(2, logits.shape[-1])
    off = label_smoothing / num_classes
    if logits.shape[-1] == 1:
        return tf.cast(labels, tf.float32) * (1 - label_smoothing) + off
    return tf.one_hot(labels, num_classes, on_value=1 - label_smoothing + off, off_value=off)


def _of_function(function: Any) -> Loss:
    """A user's function, or Keras loss with `reduction="none"`, as a loss."""

    def loss(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        found = function(labels, logits)
        return tf.cast(tf.convert_to_tensor(found), tf.float32)

    return loss


def _expects_probabilities(function: Any) -> bool:
    """Whether a Keras loss, or a function with its argument `from_logits`, has that off."""
    if hasattr(function, "from_logits"):
        return function.from_logits is False
    try:
        parameter = inspect.signature(function).parameters.get("from_logits")
    except (TypeError, ValueError):
        return False
    return parameter is not None and parameter.default is False


def _check(loss: Loss, name: str, function: Any, *, units: int) -> None:
    labels = tf.constant([0, 1], tf.int64)
    logits = tf.reshape(tf.linspace(-0.7, 1.9, 2 * units), [2, units])
    try:
        found = loss(labels, logits)
        # Three copies of one example: a loss may not take a batch of one, for example by a squeeze.
        apart = [loss(tf.repeat(labels[i], 3), tf.repeat(logits[i : i + 1], 3, 0)) for i in (0, 1)]
    except Exception as error:
        place = place_of(error, _source_of(function))
        raise UserError(
            f"--loss {name}: {f'{place}: ' if place else ''}{first_line(error)}, on labels int64[2] and "
            f"logits float32[2, {units}]"
        ) from error
    if found.shape != (2,):
        raise UserError(
            f"--loss {name}: gave shape {tuple(found.shape)} for 2 examples, expected one number per "
            f"example, (2,), from labels int64[2] and logits float32[2, {units}]"
            f"{_reduction_hint(found)}"
        )
    for example, alone in zip(found.numpy(), apart, strict=True):
        if not np.allclose(alone, example, rtol=1e-4, atol=1e-6, equal_nan=True):
            hint = "; labels [B] and logits [B, 1] broadcast to [B, B]: use logits[:, 0]"
            raise UserError(
                f"--loss {name}: the number of an example depends on the others in its batch, expected "
                f"each from its own label and logits alone{hint if units == 1 else ''}"
            )


def _source_of(function: Any) -> Path | None:
    code = getattr(function, "__code__", None)
    return None if code is None else Path(code.co_filename)


def _reduction_hint(found: tf.Tensor) -> str:
    return '; a Keras loss needs reduction="none"' if found.shape.rank == 0 else ""
