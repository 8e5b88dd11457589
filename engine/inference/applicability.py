"""How far an image lies from the training images: a distance that is 1 at the limit for flagging.

An image is described by groups of features: its grey levels, its sharpness, its layout
(`image_statistics`), and what the network sees at each resolution (`network_features`). Each group is
whitened (PCA, small variances raised to a tenth of the mean one), and the distance of an image is the root mean
square distance to its 5 nearest training images there. Nearest neighbours rather than one ellipsoid
(Mahalanobis): grey levels and sharpness of real images form several clusters.

    distance = max over groups (distance in the group / its limit) / limit of this maximum

A limit is the 99 % quantile over validation images, from an exponential tail fitted to the logarithms of the
largest tenth: it varies less than the empirical quantile, which so few images decide. So about 1 % of the
images that are like the validation images have a distance above 1.

`RUN/applicability.npz` holds the whitened training images. It belongs to one model, as the threshold does.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.base import array_files, progress
from engine.base.config import UserError
from engine.runs.run_directory import RunDirectory

FORMAT_VERSION = 2
FLAGGED_SHARE = 0.01  # of images like those of validation
NEIGHBOURS = 5
_SHRINKAGE = 0.1
_MOST_COMPONENTS = 64
_TAIL_SHARE = 0.1  # of the images that a tail is fitted to
_FEWEST_IN_TAIL = 10
_FARTHEST = 1e6  # what a distance that is not finite counts as
_LEAST = 1e-4  # distance: that of an image to itself, whose logarithm must be finite
_TINY = 1e-9
_PART = 256  # images compared with the training images at a time

Features = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Group:
    """One group of features: how it is whitened, the training images there, and its limit.

    Attributes:
        mean: float32[F].
        whitening: float32[F, P].
        reference: float32[N, P], the training images.
        limit: the 99 % quantile of the distance over validation images.
    """

    mean: np.ndarray
    whitening: np.ndarray
    reference: np.ndarray
    limit: float = 1.0

    @classmethod
    def fit(cls, training: np.ndarray, held_out: np.ndarray) -> "Group":
        """Learns from features, float[N, F] of training images and float[M, F] of validation images."""
        training = np.nan_to_num(np.asarray(training, np.float64))
        mean, scale = training.mean(axis=0), training.std(axis=0)
        scale = np.where(scale > _TINY * (1 + np.abs(mean)), scale, 1.0)
        scaled = (training - mean) / scale
        variances, directions = np.linalg.eigh(scaled.T @ scaled / len(scaled))
        kept = np.argsort(variances)[::-1][:_MOST_COMPONENTS]
        shrunk = (1 - _SHRINKAGE) * np.maximum(variances[kept], 0) + _SHRINKAGE
        whitening = directions[:, kept] / np.sqrt(shrunk) / scale[:, None]
        group = cls(
            mean.astype(np.float32),
            whitening.astype(np.float32),
            ((training - mean) @ whitening).astype(np.float32),
        )
        limit = tail_quantile(group.distances(held_out))
        # Of features that never vary, such as those of a dead layer, every distance is the least one.
        return dataclasses.replace(group, limit=limit if limit > 2 * _LEAST else 1.0)

    def distances(self, features: np.ndarray) -> np.ndarray:
        """float64[N]: the root mean square distance to the nearest training images, per component."""
        whitened = (np.asarray(features, np.float32) - self.mean) @ self.whitening
        parts = range(0, max(1, len(whitened)), _PART)
        return np.concatenate([self._distances(whitened[start : start + _PART]) for start in parts])

    def _distances(self, whitened: np.ndarray) -> np.ndarray:
        products = whitened @ self.reference.T
        squared = (
            np.einsum("np,np->n", whitened, whitened)[:, None]
            + np.einsum("np,np->n", self.reference, self.reference)
            - 2 * products
        )
        count = min(NEIGHBOURS, squared.shape[1])
        nearest = np.partition(squared, count - 1, axis=1)[:, :count]
        mean = nearest.mean(axis=1, dtype=np.float64) / self.whitening.shape[1]
        found = np.sqrt(np.maximum(mean, _LEAST**2))
        return np.where(np.isfinite(found), np.minimum(found, _FARTHEST), _FARTHEST)


@dataclasses.dataclass(frozen=True)
class Applicability:
    """What tells images that are unlike the training images.

    Attributes:
        groups: by the name of the features.
        limit: of the largest ratio of a group's distance to the group's limit.
    """

    groups: Mapping[str, Group]
    limit: float

    @classmethod
    def fit(cls, training: Features, held_out: Features) -> "Applicability":
        """Learns from the features of training images, and takes its limits from those of validation.

        Args:
            training, held_out: by name, float[N, F] and float[M, F]; a group that repeats another is
                left out.
        """
        names = _distinct(training)
        groups = {name: Group.fit(training[name], held_out[name]) for name in names}
        unlimited = cls(groups, 1.0)
        return cls(groups, tail_quantile(unlimited.distances(held_out)))

    def distances(self, features: Features) -> np.ndarray:
        """float64[N]: how far images lie from the training images; above 1 they are unlike them."""
        ratios = [
            group.distances(features[name]) / group.limit for name, group in self.groups.items()
        ]
        found: np.ndarray = np.max(ratios, axis=0) / self.limit
        return np.minimum(found, _FARTHEST)


def tail_quantile(distances: np.ndarray, share: float = FLAGGED_SHARE) -> float:
    """The distance that this share of like images exceeds, by an exponential tail of the logarithms.

    Args:
        distances: float[N], positive, of at least one image.
    """
    logs = np.sort(np.log(distances))[::-1]
    tail = max(_TAIL_SHARE, min(0.5, _FEWEST_IN_TAIL / len(logs)))
    start = np.quantile(logs, 1 - tail)
    excesses = logs[logs > start] - start
    mean = excesses.mean() if len(excesses) else 0.0
    return float(np.exp(start + mean * np.log(tail / share)))


def write(run: RunDirectory, found: Applicability) -> None:
    """Stores it in a run, for the run's model as it is now."""
    arrays = {
        f"{name}/{field}": getattr(group, field)
        for name, group in found.groups.items()
        for field in ("mean", "whitening", "reference")
    }
    header = {
        "model": run.model_digest(),
        "limit": found.limit,
        "limits": {name: group.limit for name, group in found.groups.items()},
    }
    array_files.write(run.applicability, arrays=arrays, header=header, version=FORMAT_VERSION)


def read(run: RunDirectory) -> Applicability | None:
    """What a run stored for its model; None where there is none, or one of an earlier model."""
    stored = array_files.read(run.applicability, version=FORMAT_VERSION)
    if stored is None or stored[1].get("model") != run.model_digest():
        return None
    arrays, header = stored
    return Applicability(
        {name: _group(arrays, name, limit) for name, limit in header["limits"].items()},
        float(header["limit"]),
    )


def require(run: RunDirectory) -> None:
    """Raises `UserError` unless a run, or each of several, tells how far images lie from its training
    images."""
    if lacking := _lacking(run):
        raise UserError(
            f"--abstain: {lacking[0].applicability}: {_reason(lacking[0])}, so no distance from the "
            "training images is given; engine.train --resume writes it"
        )


def say_absent(run: RunDirectory) -> None:
    """Says why a run does not tell how far images lie from its training images, if it does not."""
    for lacking in _lacking(run)[:1]:
        progress.say(
            f"no distance from training images: {lacking.applicability.name} {_reason(lacking)}"
        )
        progress.say(f"engine.train --resume writes it: {lacking.applicability}")


def _lacking(run: RunDirectory) -> list[RunDirectory]:
    """The runs, of those that are averaged or of one, that hold nothing for their models."""
    return [member for member in run.members or (run,) if read(member) is None]


def _reason(run: RunDirectory) -> str:
    return "belongs to another model" if run.applicability.is_file() else "is missing"


def _group(arrays: Mapping[str, np.ndarray], name: str, limit: Any) -> Group:
    fields = {field: arrays[f"{name}/{field}"] for field in ("mean", "whitening", "reference")}
    return Group(**fields, limit=float(limit))


def _distinct(features: Features) -> list[str]:
    """The names of the groups, without those that repeat an earlier one or hold nothing."""
    names: list[str] = []
    for name, found in features.items():
        if found.shape[1] and not any(_repeats(found, features[other]) for other in names):
            names.append(name)
    return names


def _repeats(found: np.ndarray, other: np.ndarray) -> bool:
    """Whether features are the same ones, rounded in another way (in bfloat16, by 0.4 %)."""
    if found.shape != other.shape:
        return False
    differences = np.abs(found - other).mean(axis=0)
    return bool((differences <= 0.05 * (found.std(axis=0) + _TINY)).all())
