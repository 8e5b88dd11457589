"""The share of each class in a set of images without labels, estimated from their probabilities.

Where only the shares of the classes differ from those that probabilities are given for, and the images of a
class look alike in both places (*label shift*), the shares of greatest likelihood are a fixed point:

    p'(k | x) = p(k | x) w_k / sum_j p(j | x) w_j,   w_k = share_k / prior_k,   share_k = mean of p'(k | x)

which EM finds (Saerens, Latinne and Decaestecker, Adjusting the outputs of a classifier to new a priori
probabilities: a simple procedure, 2002). Where images themselves look different, as another hospital's do,
or where probabilities do not come true, the estimate is wrong, and nothing in it shows that.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.base.config import UserError
from engine.base.setting_values import ESTIMATED
from engine.base.wording import counted
from engine.metrics import bootstrap, intervals, predictions
from engine.metrics.estimate import Estimate

Array = np.ndarray

FEWEST_IMAGES = 20
CAVEAT = (
    "the shares of the classes are estimated from these images' own probabilities (EM, Saerens 2002); that "
    "holds only if probabilities are calibrated and images of a class look as in training (label shift)"
)
_STEPS = 10_000
_ENOUGH = 1e-9  # the largest change of a share after which EM is done
_RESAMPLES = 200


@dataclasses.dataclass(frozen=True)
class EstimatedShares:
    """The estimate for each class, with 95 % percentiles over resamples of patients."""

    shares: Mapping[str, Estimate]

    @property
    def prevalence(self) -> tuple[float, ...]:
        """The shares, in the order of the classes."""
        return tuple(float(estimate.value or 0.0) for estimate in self.shares.values())

    def text(self) -> str:
        """`0.38 NORMAL, 0.62 PNEUMONIA (0.58 to 0.66)`; the interval of two classes is that of the second."""
        estimates = list(self.shares.items())
        parts = [f"{estimate.value:.3f} {name}" for name, estimate in estimates]
        last = estimates[-1][1]
        if len(parts) == 2 and last.has_interval:
            parts[-1] += f" ({last.low:.3f} to {last.high:.3f})"
        return ", ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Its part of `metrics.json`."""
        return {name: estimate.to_json() for name, estimate in self.shares.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "EstimatedShares":
        """The inverse of `to_json`.

        Raises:
            AttributeError, KeyError, TypeError, ValueError: the values are not those of shares.
        """
        return cls({str(name): Estimate.from_json(each) for name, each in values.items()})


def estimate(
    probabilities: Array,
    prior: Sequence[float],
    *,
    class_names: Sequence[str],
    patients: Sequence[str] | None = None,
    seed: int = 0,
) -> EstimatedShares:
    """Estimates the shares of the classes.

    Args:
        probabilities: float[N] of the positive class, or float[N, K]; calibrated, at the prior.
        prior: the share of each class that they are given for, K numbers.
        class_names: K names.
        patients: str[N]; None or '' makes an image a patient of its own.
        seed: of the resamples.

    Raises:
        UserError: there are fewer than 20 images.
    """
    count = len(probabilities)
    check_number(count)
    columns = _columns(probabilities)
    groups = predictions.patient_groups(patients, count)
    shares = maximize(columns, np.asarray(prior), np.ones((1, count)))[0]
    if groups.max() < 1:
        limits = np.full((2, len(shares)), np.nan)
    else:
        drawn = [
            maximize(columns, np.asarray(prior), block[:, groups])
            for block in bootstrap.draws(
                int(groups.max()) + 1, resamples=_RESAMPLES, seed=seed, row_elements=columns.size
            )
        ]
        limits = intervals.percentiles_of_columns(np.concatenate(drawn))
    # A share of 0 would make probabilities impossible: that of half an image is the least.
    kept = np.maximum(shares, 0.5 / count)
    kept = kept / kept.sum()
    found = {}
    for name, share, low, high in zip(class_names, kept.tolist(), *limits.tolist(), strict=True):
        found[name] = (
            Estimate(share, reason="an interval needs two patients or more")
            if np.isnan(low)
            else Estimate(share, min(low, share), max(high, share))
        )
    return EstimatedShares(found)


def check_number(count: int) -> None:
    """Raises `UserError` unless so many images are enough."""
    if count < FEWEST_IMAGES:
        raise UserError(
            f"--prevalence {ESTIMATED}: got {counted(count, 'image')}, expected {FEWEST_IMAGES} or more to "
            "estimate shares from; give them as numbers, such as --prevalence 0.1"
        )


def maximize(probabilities: Array, prior: Array, weights: Array) -> Array:
    """float[R, K]: the shares of greatest likelihood, by EM, of images weighted by float[R, N].

    Args:
        probabilities: float[N, K], at the prior float[K].
    """
    likelihoods = probabilities / prior
    weights = weights / weights.sum(axis=1, keepdims=True)
    shares = np.repeat(prior[None], len(weights), axis=0)
    moving = np.arange(len(weights))
    for _ in range(_STEPS):
        mixed = shares[moving] @ likelihoods.T
        after = shares[moving] * ((weights[moving] / np.maximum(mixed, 1e-300)) @ likelihoods)
        after /= after.sum(axis=1, keepdims=True)
        change = np.abs(after - shares[moving]).max(axis=1)
        shares[moving] = after
        moving = moving[change > _ENOUGH]
        if not len(moving):
            break
    return shares


def _columns(probabilities: Array) -> Array:
    """float64[N, K], one column per class of two too."""
    given = np.asarray(probabilities, np.float64)
    return np.stack([1 - given, given], axis=1) if given.ndim == 1 else given
