"""The weights of a network's last dense layer, solved for: logistic regression on its inputs.

    minimize  mean over images of weight[label] * cross-entropy  +  strength / 2 * |kernel|^2

on standardized features, for one unit (sigmoid) or K units (softmax). It is convex, and L-BFGS finds its
minimum: on features of a pretrained network that is better than what some epochs of Adam reach.

The strength is chosen by cross-validation over patients, from strong to weak. All folds are solved at
once, each with weights of 0 for the images that it holds out, so features are read once for all of them.

The penalty does not change under rotations. So the problem is solved along the principal directions of the
features, each scaled by its curvature at the start, which takes L-BFGS a tenth of the iterations; and with more
features than images there are only as many directions as images.
"""

import dataclasses

import numpy as np
from scipy import optimize, special

Array = np.ndarray

STRENGTHS = tuple(10.0 ** (-power / 2) for power in range(13))  # 1 to 1e-6
NUM_FOLDS = 5
_DEFAULT_STRENGTH = 0.01  # where there are no two groups to compare strengths with
_LEAST_GAIN = 1e-3  # share of the loss that makes a weaker strength the better one
_PATIENCE = 2  # weaker strengths to try behind the best one
_BIAS_STRENGTH = 1e-6  # keeps the bias finite where a class has no image
_CONSTANT = 1e-6  # of a feature's size: a smaller deviation is rounding
_SMALLEST_VARIANCE = 1e-12  # of a direction, as a share of the largest one
_MOST_ITERATIONS = 1000
_TOLERANCE = 1e-7  # of the scaled gradient
_FOLD_TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Solution:
    """A solved head: logits = features @ kernel + bias.

    Attributes:
        kernel: float64[F, units], for features as they are, not standardized.
        bias: float64[units].
        strength: what was chosen.
        loss: weighted cross-entropy, mean over images, without the penalty.
        accuracy: share of images whose class is the likeliest.
    """

    kernel: Array
    bias: Array
    strength: float
    loss: float
    accuracy: float


def solve(
    features: Array,
    labels: Array,
    groups: Array,
    *,
    weights: Array,
    units: int,
    strengths: tuple[float, ...] = STRENGTHS,
    num_folds: int = NUM_FOLDS,
) -> Solution:
    """The best kernel and bias; the same ones whenever it is called with the same arrays.

    Args:
        features: float[N, F].
        labels: int64[N].
        groups: [N], such as patients; what is of one group is never on both sides of a fold.
        weights: float[K], what an image of each class counts.
        units: 1 for a sigmoid of the second of two classes, else K.
        strengths: of the penalty, from strong to weak.
    """
    mean, scale = standardization(features)
    problem = _Problem.of((features - mean) / scale, labels, weights, units)
    strength = _choose_strength(problem, _folds(labels, groups, num_folds), strengths)
    everything = np.ones((len(labels), 1))
    found = problem.minimum(everything, strength, tolerance=_TOLERANCE)
    kernel = problem.directions @ found[:-1, 0] / scale[:, None]
    bias = found[-1, 0] - mean @ kernel
    logits = features @ kernel + bias
    return Solution(
        kernel=kernel,
        bias=bias,
        strength=strength,
        loss=float(np.mean(weights[labels] * cross_entropies(logits, labels))),
        accuracy=float(np.mean(_likeliest(logits) == labels)),
    )


def standardization(features: Array) -> tuple[Array, Array]:
    """The mean of each feature and its deviation, float64[F]; 1 for features that do not vary."""
    mean = features.mean(axis=0, dtype=np.float64)
    scale = features.std(axis=0, dtype=np.float64)
    size = np.abs(features).max(axis=0, initial=0)
    return mean, np.where(scale > _CONSTANT * size, scale, 1.0)


@dataclasses.dataclass(frozen=True)
class _Problem:
    """The regression along principal directions.

    Attributes:
        inputs: float64[N, D + 1], images along directions, and ones.
        directions: float64[F, D], of the standardized features.
        labels: int64[N].
        weights: float64[N].
        units: of the head.
    """

    inputs: Array
    directions: Array
    labels: Array
    weights: Array
    units: int

    @classmethod
    def of(cls, standardized: Array, labels: Array, weights: Array, units: int) -> "_Problem":
        along, directions = _principal(standardized)
        inputs = np.concatenate([along, np.ones((len(along), 1))], axis=1)
        return cls(inputs, directions, labels, weights[labels].astype(np.float64), units)

    def minimum(
        self, used: Array, strength: float, *, start: Array | None = None, tolerance: float
    ) -> Array:
        """What minimizes the objective over each of M sets of images, float64[D + 1, M, units].

        Args:
            used: float64[N, M], 1 for the images of each set, else 0.
            start: what to begin with; None for 0.
        """
        num_inputs, num_sets = self.inputs.shape[1], used.shape[1]
        penalties = np.full((num_inputs, 1, 1), strength)
        penalties[-1] = _BIAS_STRENGTH
        shares = self.weights[:, None] * used / used.sum(axis=0)
        share = 1 / max(2, self.units)
        variances = np.mean(self.inputs**2, axis=0)[:, None, None]
        scales = 1 / np.sqrt(share * (1 - share) * variances + penalties)

        def objective(flat: Array) -> tuple[float, Array]:
            found = scales * flat.reshape(num_inputs, num_sets, self.units)
            logits = self._logits(found)
            loss: float = np.sum(shares * cross_entropies(logits, self.labels))
            slopes = (shares[:, :, None] * self._residuals(logits)).reshape(len(shares), -1)
            gradient = (self.inputs.T @ slopes).reshape(found.shape) + penalties * found
            penalty = 0.5 * np.sum(penalties * found**2)
            return float(loss + penalty), (scales * gradient).ravel()

        shape = (num_inputs, num_sets, self.units)
        result = optimize.minimize(
            objective,
            np.zeros(shape).ravel() if start is None else (start / scales).ravel(),
            jac=True,
            method="L-BFGS-B",
            options={
                "maxiter": _MOST_ITERATIONS,
                "maxfun": 2 * _MOST_ITERATIONS,
                "gtol": tolerance,
                "ftol": 0.0,
                "maxcor": 20,
            },
        )
        found: Array = scales * result.x.reshape(shape)
        return found

    def losses(self, found: Array) -> Array:
        """The weighted cross-entropy of every image by each of M solutions, float64[N, M]."""
        unweighted = cross_entropies(self._logits(found), self.labels)
        return self.weights[:, None] * unweighted

    def _logits(self, found: Array) -> Array:
        """float64[N, M, units]."""
        flat = self.inputs @ found.reshape(len(found), -1)
        return flat.reshape(len(flat), *found.shape[1:])

    def _residuals(self, logits: Array) -> Array:
        """Derivatives of the cross-entropy by the logits: probabilities less what they should be."""
        if self.units == 1:
            residuals: Array = special.expit(logits) - self.labels[:, None, None]
            return residuals
        residuals = special.softmax(logits, axis=-1)
        residuals[np.arange(len(residuals)), :, self.labels] -= 1
        return residuals


def _principal(standardized: Array) -> tuple[Array, Array]:
    """Images along principal directions, float64[N, D], and the directions, float64[F, D]."""
    num_images, num_features = standardized.shape
    if num_features <= num_images:
        squares, directions = np.linalg.eigh(standardized.T @ standardized)
        kept = squares > _SMALLEST_VARIANCE * squares[-1]
        directions = np.ascontiguousarray(directions[:, kept])
        return standardized @ directions, directions
    squares, images = np.linalg.eigh(standardized @ standardized.T)
    kept = squares > _SMALLEST_VARIANCE * squares[-1]
    sizes = np.sqrt(squares[kept])
    return images[:, kept] * sizes, standardized.T @ (images[:, kept] / sizes)


def _choose_strength(problem: _Problem, folds: Array, strengths: tuple[float, ...]) -> float:
    """The strength of the lowest loss on images held out; the stronger one of two that are as good."""
    num_folds = int(folds.max(initial=0)) + 1
    if num_folds < 2:
        return _DEFAULT_STRENGTH
    held_out = folds[:, None] == np.arange(num_folds)
    best, lowest, worse = strengths[0], np.inf, 0
    found = None
    for strength in strengths:
        found = problem.minimum(1.0 - held_out, strength, start=found, tolerance=_FOLD_TOLERANCE)
        loss = float(problem.losses(found)[held_out].mean())
        if loss < lowest * (1 - _LEAST_GAIN):
            best, lowest, worse = strength, loss, 0
        else:
            worse += 1
        if worse == _PATIENCE:
            break
    return best


def _folds(labels: Array, groups: Array, num_folds: int) -> Array:
    """The fold that holds each image out, int64[N]: groups of each class are dealt out in turn."""
    _, first, group_of = np.unique(groups, return_index=True, return_inverse=True)
    by_class = np.argsort(labels[first], kind="stable")
    fold_of: Array = np.empty(len(first), np.int64)
    fold_of[by_class] = np.arange(len(first)) % num_folds
    return fold_of[group_of.reshape(-1)]


def cross_entropies(logits: Array, labels: Array) -> Array:
    """Of each example: float64[N, ..., units] -> float64[N, ...]."""
    if logits.shape[-1] == 1:
        one = logits[..., 0]
        signs = np.where(labels == 1, 1.0, -1.0).reshape(-1, *[1] * (one.ndim - 1))
        return np.logaddexp(0, -signs * one)
    own = logits[np.arange(len(labels)), ..., labels]
    losses: Array = special.logsumexp(logits, axis=-1) - own
    return losses


def _likeliest(logits: Array) -> Array:
    """float64[N, units] -> int64[N]."""
    if logits.shape[1] == 1:
        return (logits[:, 0] > 0).astype(np.int64)
    return logits.argmax(axis=1)
