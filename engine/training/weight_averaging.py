"""The weights that a training validates and saves: averaged ones, with statistics that belong to them.

Averages over the steps (Polyak and Juditsky, 1992) generalize better than the last step's weights. Two
things keep them from being worse:

momentum    grows with the steps taken. A fixed one of 0.995 remembers 200 steps: on 200 images that is
            the whole training, random start included (AUROC 0.831, without averaging 0.954). An average
            over all steps of the last part of a training (Izmailov et al., 2018,
            https://arxiv.org/abs/1803.05407) has a momentum that goes on growing.
statistics  of batch normalization are those of the raw weights' activations. With averaged weights they
            gave an accuracy of chance; so they are estimated again, over training images, by the weights
            that are validated (Wu and Johnson, 2021, https://arxiv.org/abs/2105.07576). That also makes
            up for moving averages that a few steps have not yet moved from their start. A layer that
            is called with training=False keeps its own statistics.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from engine.base import counter_random
from engine.networks import frozen_statistics
from engine.networks.keyed_dropout import keyed

_BATCH = 256  # images that normalization is computed over
_WINDOW = 9
_PROBED = 2  # images that tell how often each batch normalization is updated
_FAR = 2.0**40  # from any mean of activations


def momentum_at(step: Any, momentum: float) -> Any:
    """What the averages keep of themselves at a step: min(momentum, step / (9 + step)).

    Until the largest is reached, averages are over about the last tenth of the steps so far.

    Args:
        step: counted from 0, where nothing is kept of the averages' start.
        momentum: the largest.

    Returns:
        float32 scalar.
    """
    step = ops.cast(step, "float32")
    return ops.minimum(momentum, step / (_WINDOW + step))


def tail_momentum_at(step: Any, start: int) -> Any:
    """What makes an average over all steps from `start` on, each of the same weight: n / (n + 1).

    Args:
        step: counted from 0; up to `start` the factor is 0 (with an EMA the larger of both is used).

    Returns:
        float32 scalar.
    """
    count = ops.maximum(ops.cast(step, "float32") - start, 0.0)
    return count / (count + 1)


class FinalWeights:
    """Puts a network into the state that is validated and saved, for the length of a block.

    Args:
        network: float32[B, H, W, C] -> logits; any Keras model, with any batch normalization in it.
        optimizer: built for the weights that are trained; may keep averages of them.
        load_images: training images, uint8[N, H, W, C], the same ones every time; called only where
            there are statistics to estimate.
        weights: those of the network that are trained; None for all.
    """

    def __init__(
        self,
        network: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        *,
        load_images: Callable[[], np.ndarray],
        weights: list[Any] | None = None,
    ) -> None:
        self._weights = network.trainable_variables if weights is None else weights
        self._network, self._optimizer, self._load_images = network, optimizer, load_images
        self._normalizations = [
            layer
            for layer in network._flatten_layers()
            # A frozen one goes by its statistics in training too, and does not move them; nor does one
            # with a momentum of 1.
            if isinstance(layer, keras.layers.BatchNormalization)
            and layer.trainable
            and layer.momentum < 1
            and not frozen_statistics.is_frozen(layer)
        ]
        self._shares: list[float] | None = None
        self._statistics_of = tf.function(
            self._batch_statistics, reduce_retracing=True, autograph=False
        )

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the network has its final weights; behind it, those that it trains on."""
        variables = self._network.variables
        trained = [variable.numpy() for variable in variables]
        try:
            self._optimizer.finalize_variable_values(self._weights)
            if self._normalizations:
                self._estimate_statistics()
            yield
        finally:
            for variable, array in zip(variables, trained, strict=True):
                variable.assign(array)

    def _estimate_statistics(self) -> None:
        """Gives every batch normalization the mean and variance over all images together."""
        images = self._load_images()
        if self._shares is None:
            self._find_shares(tf.constant(images[:_PROBED]))
        if not self._shares:
            return
        parts = np.array_split(images, math.ceil(len(images) / _BATCH))
        shares = [len(part) / len(images) for part in parts]
        batches = [self._statistics_of(tf.constant(part)) for part in parts]
        for layer, found in zip(self._normalizations, zip(*batches, strict=True), strict=True):
            means, variances = np.stack(found, axis=1).astype(np.float64)
            mean = np.average(means, axis=0, weights=shares)
            spread = variances + (means - mean) ** 2
            layer.moving_mean.assign(mean)
            layer.moving_variance.assign(np.average(spread, axis=0, weights=shares))

    def _find_shares(self, images: tf.Tensor) -> None:
        """What one pass makes up of each layer's moving averages: 1 - momentum**k for k updates.

        Layers that are not updated, for they are called with training=False, are left out from here
        on, and so are those whose share cannot be told, such as ones that are called in both ways.
        """
        starts = [layer.moving_mean.numpy() + 1 for layer in self._normalizations]
        ends = self._means_after_a_pass(images, self._normalizations, starts)
        updated = [
            layer
            for layer, start, end in zip(self._normalizations, starts, ends, strict=True)
            if (start != end).any()
        ]
        # What the images add is nothing beside such a start: its rest tells the number of updates.
        starts = [np.full(layer.moving_mean.shape, _FAR) for layer in updated]
        ends = self._means_after_a_pass(images, updated, starts)
        if not all(np.isfinite(end).all() for end in ends):
            return  # The weights are not finite; those of a later validation may be.
        updates = [
            _number_of_updates(end / _FAR, layer.momentum)
            for layer, end in zip(updated, ends, strict=True)
        ]
        counted = [
            (layer, 1 - layer.momentum**number)
            for layer, number in zip(updated, updates, strict=True)
            if number
        ]
        self._normalizations = [layer for layer, _ in counted]
        self._shares = [share for _, share in counted]

    def _means_after_a_pass(
        self, images: tf.Tensor, layers: list[Any], starts: list[np.ndarray]
    ) -> list[np.ndarray]:
        """The layers' moving means after a pass that began at `starts`; puts back what it moved."""
        variables = self._network.non_trainable_variables
        before = [variable.numpy() for variable in variables]
        for layer, start in zip(layers, starts, strict=True):
            layer.moving_mean.assign(start)
        self._pass(images)
        ends = [layer.moving_mean.numpy() for layer in layers]
        for variable, array in zip(variables, before, strict=True):
            variable.assign(array)
        return ends

    def _batch_statistics(self, images: tf.Tensor) -> list[tf.Tensor]:
        """uint8[B, H, W, C] -> of every batch normalization, float32[2, C]: mean and variance."""
        assert self._shares is not None
        moving = [(layer.moving_mean, layer.moving_variance) for layer in self._normalizations]
        for pair in moving:
            for variable in pair:
                variable.assign(tf.zeros_like(variable))
        self._pass(images)
        return [
            tf.stack([tf.convert_to_tensor(variable) for variable in pair]) / share
            for pair, share in zip(moving, self._shares, strict=True)
        ]

    def _pass(self, images: tf.Tensor) -> None:
        """A pass of training, uint8[B, H, W, C]; moves statistics."""
        # Without keys dropout would draw from, and move on, a state of its own.
        keys = counter_random.row_keys(
            tf.range(tf.shape(images)[0]), seed=0, epoch=0, purpose="statistics"
        )
        with keyed(keys):
            self._network(tf.cast(images, tf.float32), training=True)


def _number_of_updates(kept: np.ndarray, momentum: float) -> int:
    """How many updates leave the share `kept` of a start; 0 where no whole number does."""
    if momentum <= 0:
        return 1
    with np.errstate(divide="ignore", invalid="ignore"):
        numbers = np.log(kept.astype(np.float64)) / math.log(momentum)
    number = float(np.median(numbers))
    whole = np.isfinite(number) and number > 0.5 and np.abs(numbers - number).max() < 0.25
    return round(number) if whole else 0
