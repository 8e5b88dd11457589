"""The head of a network, solved for on features instead of stepped: `--head-solver lbfgs`, `--refit-head`.

The body computes what the last dense layer takes, once for every training image (and its mirror image
where training mirrors images), without augmentation or dropout. `head_solver` then finds the layer's
weights. Everything is a function of the images and the body's weights, so an epoch that was interrupted
is solved again with the same result.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from engine.base import progress
from engine.base.config import UserError
from engine.networks import live_normalization, parts
from engine.networks.ends import STANDARDIZE
from engine.pipeline.reading import StoredSplit
from engine.training import head_solver
from engine.training.head_solver import Solution

Array = np.ndarray

LBFGS = "lbfgs"
_BATCH = 256
# Of features in float64, of which the solution holds some copies: 46,000 images of the default network with
# their mirror images. Records are in random order, so the first images represent all.
_MOST_BYTES = 1 << 30
_NEEDED = (
    "solving for the head (--head-solver lbfgs, --refit-head) needs a network that ends in a dense layer "
    "with a bias"
)
_INSTEAD = "use --head-solver adam and --no-refit-head"

Fit = Callable[[Callable[[], bool]], "HeadFit | None"]


@dataclasses.dataclass(frozen=True)
class HeadFit:
    """What the history says of an epoch that was solved.

    Attributes:
        loss, accuracy: see `head_solver.Solution`.
        images_per_second: how fast features were computed.
        seconds: of features and solution together.
    """

    loss: float
    accuracy: float
    images_per_second: float
    seconds: float


class SolvedHead:
    """Solves for the last dense layer of a network.

    Args:
        network: pixels to logits (`training_form`).
        split: the training images.
        mirrored: whether mirror images are learned as well.
        class_weights: float32[K]; what an example of each class counts.
        agreed: the chief's values on every worker.
        say: takes a line for the user.

    Raises:
        UserError: the network does not end in a dense layer.
    """

    def __init__(
        self,
        network: keras.Model,
        split: StoredSplit,
        *,
        mirrored: bool,
        class_weights: np.ndarray,
        agreed: Callable[[Any], list[float]],
        say: Callable[[str], None],
    ) -> None:
        self._network, self._split = network, split
        self._mirrored, self._class_weights = mirrored, class_weights
        self._agreed, self._say = agreed, say
        self._dense = _last_dense(network)
        self._normalization = _normalization_before(self._dense)
        self._taken = tf.function(self._features_and_logits, reduce_retracing=True, autograph=False)

    def __call__(self, should_stop: Callable[[], bool]) -> HeadFit | None:
        """Sets the head's weights.

        Args:
            should_stop: asked after every batch; when true, nothing is changed and None returned.
        """
        started = time.perf_counter()
        found = self._features(should_stop)
        if found is None:
            return None
        features, labels, groups = found
        computed = time.perf_counter()
        if self._normalization is not None:
            features = self._normalized(features)
        self._say("solving for the head ...")
        solution = head_solver.solve(
            features,
            labels,
            groups,
            weights=self._class_weights,
            units=self._dense.units,
        )
        self._assign(self._dense.kernel, solution.kernel)
        self._assign(self._dense.bias, solution.bias)
        self._say(_described(solution, features))
        return HeadFit(
            loss=solution.loss,
            accuracy=solution.accuracy,
            images_per_second=len(labels) / (computed - started),
            seconds=time.perf_counter() - started,
        )

    def check(self) -> None:
        """Raises `UserError` unless the dense layer gives the network's logits."""
        self._of(self._split.first_images(1))

    def state(self) -> list[Array]:
        """What is set when the head is solved for, as it is now."""
        return [variable.numpy() for variable in self._variables()]

    def restore(self, state: list[Array]) -> None:
        """Puts back what `state` gave."""
        for variable, values in zip(self._variables(), state, strict=True):
            variable.assign(values)
        live_normalization.refresh(self._network)

    def _variables(self) -> list[Any]:
        own = [self._dense.kernel, self._dense.bias]
        if self._normalization is None:
            return own
        return [*own, *_statistics_of(self._normalization)[:2]]

    def _features(
        self, should_stop: Callable[[], bool]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Features float32[N, F], labels int64[N] and patients str[N]; mirror images follow the others.

        Raises:
            UserError: a shard is damaged, or the head is not what gives the logits.
        """
        features: list[list[np.ndarray]] = [[], []]
        labels: list[np.ndarray] = []
        patients: list[bytes] = []
        passes = 2 if self._mirrored else 1
        total = self._split.num_examples
        most = max(_BATCH, _MOST_BYTES // (8 * self._dense.kernel.shape[0] * passes))
        read = self._split.dataset(_BATCH, ("image", "label", "patient"))
        bar = progress.ProgressBar("features for the head", total=min(total, most), lines=False)
        with self._split.damage_named(), bar:
            for batch in read.as_numpy_iterator():
                images = batch["image"]
                features[0].append(self._of(images))
                if self._mirrored:
                    features[1].append(self._of(np.ascontiguousarray(images[:, :, ::-1])))
                labels.append(batch["label"])
                patients += list(batch["patient"])
                bar.advance(len(images))
                if should_stop():
                    return None
                if len(patients) >= most:
                    break
        if len(patients) < total:
            self._say(f"the head is solved for on {len(patients):,} of {total:,} images")
        return (
            np.concatenate([*features[0], *features[1]]),
            np.tile(np.concatenate(labels), passes),
            np.tile(_groups(patients), passes),
        )

    def _of(self, images: np.ndarray) -> np.ndarray:
        features, given, logits = (part.numpy() for part in self._taken(tf.constant(images)))
        if given.shape != logits.shape or not np.allclose(given, logits, rtol=1e-3, atol=1e-5):
            raise UserError(
                f"{_NEEDED}, but what {self._dense.name!r} gives is changed behind it; {_INSTEAD}"
            )
        return np.asarray(features)

    def _features_and_logits(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """uint8[B, H, W, C] -> what the head takes, what its dense layer gives, what the network gives."""
        with contextlib.ExitStack() as stack:
            calls = stack.enter_context(_noted(self._dense))
            first = calls
            if self._normalization is not None:
                first = stack.enter_context(_noted(self._normalization))
            logits = self._network(tf.cast(images, tf.float32), training=False)
        if len(calls) != 1 or len(calls[0][0].shape) != 2:
            raise UserError(f"{_NEEDED} that is called once, on features [B, F]; {_INSTEAD}")
        return (
            tf.cast(first[-1][0], tf.float32),
            tf.cast(calls[-1][1], tf.float32),
            tf.cast(logits, tf.float32),
        )

    def _normalized(self, features: np.ndarray) -> np.ndarray:
        """Sets the mean and variance of the layer before the head, and gives what comes out of it."""
        mean_variable, variance_variable, epsilon = _statistics_of(self._normalization)
        mean, scale = head_solver.standardization(features)
        self._assign(mean_variable, mean)
        self._assign(variance_variable, np.maximum(scale**2 - epsilon, 0))
        live_normalization.refresh(self._network)
        divisor = np.sqrt(variance_variable.numpy().astype(np.float64) + epsilon)
        normalized: np.ndarray = (features - mean_variable.numpy()) / divisor
        return normalized

    def _assign(self, variable: Any, values: np.ndarray) -> None:
        """Gives a variable the chief's values, on every worker."""
        agreed = np.asarray(self._agreed(values.ravel()), np.float64)
        variable.assign(agreed.reshape(values.shape).astype(np.float32))


def _last_dense(network: keras.Model) -> Any:
    """The dense layer that the head begins with."""
    head = next(place.layer for place in parts.places(network) if place.in_head)
    if not isinstance(head, keras.layers.Dense):
        raise UserError(f"{_NEEDED}; this one's last weights are of {head.name!r}; {_INSTEAD}")
    if not head.use_bias or not head.kernel.trainable:
        what = "cannot be trained" if head.use_bias else "has no bias"
        raise UserError(f"{_NEEDED}, but {head.name!r} {what}; {_INSTEAD}")
    return head


def _normalization_before(dense: Any) -> Any:
    """The layer that standardizes what the dense layer takes, if any; dropout may lie between them.

    A Normalization, or the one of `networks.pooling`.
    """
    layer = _layer_before(dense)
    while isinstance(layer, keras.layers.Dropout):
        layer = _layer_before(layer)
    if isinstance(layer, keras.layers.BatchNormalization):
        return layer if layer.name == STANDARDIZE and not layer.trainable else None
    if not live_normalization.is_adaptable(layer) or layer.invert:
        return None
    return layer if layer.adapt_mean.shape == (dense.kernel.shape[0],) else None


def _statistics_of(layer: Any) -> tuple[Any, Any, float]:
    """The variables of a standardizing layer's mean and variance, and what it adds to the variance."""
    if isinstance(layer, keras.layers.BatchNormalization):
        return layer.moving_mean, layer.moving_variance, layer.epsilon
    return layer.adapt_mean, layer.adapt_variance, 0.0


def _layer_before(layer: Any) -> Any:
    """What gives a layer's only input in its graph; None where it lies in none."""
    nodes = getattr(layer, "_inbound_nodes", None)
    if not nodes or len(nodes[-1].input_tensors) != 1:
        return None
    return nodes[-1].input_tensors[0]._keras_history.operation


@contextlib.contextmanager
def _noted(layer: Any) -> Iterator[list[tuple[Any, Any]]]:
    """Within the block the list takes what the layer is called with and what it gives."""
    own, call = vars(layer).get("call"), layer.call
    calls: list[tuple[Any, Any]] = []

    def noting(inputs: Any, *arguments: Any, **options: Any) -> Any:
        output = call(inputs, *arguments, **options)
        calls.append((inputs, output))
        return output

    layer.call = noting
    try:
        yield calls
    finally:
        if own is None:
            del vars(layer)["call"]
        else:
            layer.call = own


def _groups(patients: list[bytes]) -> np.ndarray:
    """Patients as int64[N]; an image of no known patient is a group of its own."""
    keys = [patient or f"/{index}".encode() for index, patient in enumerate(patients)]
    return np.unique(keys, return_inverse=True)[1].reshape(-1)


def _described(solution: Solution, features: np.ndarray) -> str:
    images, width = features.shape
    return (
        f"solved for the head on {width:,} features of {images:,} images: accuracy "
        f"{solution.accuracy:.3f}, with an L2 penalty of {solution.strength:.2g}, the best one in "
        "cross-validation over patients"
    )
