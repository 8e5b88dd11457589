"""Whether maps depend on what the network has learned: they must change when its weights are shuffled.

Adebayo et al., Sanity checks for saliency maps, 2018 (https://arxiv.org/abs/1810.03292): a method whose maps stay
the same for a network that has learned nothing draws the image, not the network. The layers are made random one after
the other, from the classifier down to the first ("cascading"); the rank correlation (Spearman) of the maps before and
after is reported at each step, for the class that the trained network was asked about.

A layer is made random by shuffling the values of each of its weights among their places: so the values keep their
distribution and activations their range, and nothing learned is left. Moving means and variances, which are
statistics of data, stay. The weights in memory are put back; the run on disk is never written to.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from engine.base.config import UserError
from engine.inference.evidence import Explainer
from engine.networks import layer_paths

LIMIT = 0.5  # of the mean rank correlation with all weights shuffled
DRAWS = 3  # of shuffled networks
_MOST_LEVELS = 6
_STATISTICS = ("moving_mean", "moving_variance")


@dataclasses.dataclass(frozen=True)
class Level:
    """The maps with the last layers made random.

    Attributes:
        layer: the earliest of these layers, by its path.
        num_layers: how many there are.
        correlations: float64[N, draws], the rank correlation with the trained network's map; 0 where the map
            with shuffled weights is blank or flat.
    """

    layer: str
    num_layers: int
    correlations: np.ndarray

    @property
    def mean(self) -> float:
        """Over images and draws."""
        return float(self.correlations.mean())


@dataclasses.dataclass(frozen=True)
class SanityCheck:
    """What became of maps as the weights were shuffled.

    Attributes:
        levels: from the classifier alone to all layers.
        between_images: the mean rank correlation of the trained network's maps of two different images: what the
            layout that all images share amounts to; NaN of one image.
        num_images: those with a map; blank: those whose map is blank or flat, which nothing can be said of.
    """

    levels: tuple[Level, ...]
    between_images: float
    num_images: int
    blank: int

    @property
    def passes(self) -> bool:
        """Whether the maps of a network without anything learned are others."""
        return self.levels[-1].mean < LIMIT


def check(
    explainer: Explainer,
    models: Sequence[Any],
    images: np.ndarray,
    classes: np.ndarray,
    *,
    seed: int = 0,
    batch_size: int = 32,
) -> SanityCheck | None:
    """Compares the maps of a network with those of the same network with shuffled weights.

    Args:
        explainer: of these models.
        models: the Keras models behind it; layers of all of them are made random together.
        images: uint8[N, H, W, C].
        classes: int[N], the class to explain in each.
        seed: of the shuffling.
        batch_size: images per call of the explainer.

    Returns:
        None where no image has a map with any differences in it.

    Raises:
        UserError: a model has no weights that could be shuffled.
    """
    groups = [_weights_by_layer(model) for model in models]
    if not all(groups):
        raise UserError("--sanity-check: the network has no weights whose values could be shuffled")
    trained = _maps(explainer, images, classes, batch_size)
    telling = [index for index, found in enumerate(trained) if np.ptp(found) > 0]
    if not telling:
        return None
    ranks = _ranks(trained[telling])
    levels = []
    for num_layers in _steps(max(map(len, groups))):
        # Of networks of different depth, the same share.
        share = num_layers / max(map(len, groups))
        chosen = [group[: max(1, round(share * len(group)))] for group in groups]
        correlations = []
        for draw in range(DRAWS):
            with _shuffled(chosen, np.random.default_rng((seed, draw))):
                found = _maps(explainer, images[telling], classes[telling], batch_size)
            correlations.append(_correlations(ranks, _ranks(found)))
        levels.append(Level(chosen[0][-1][0], len(chosen[0]), np.stack(correlations, axis=1)))
    return SanityCheck(
        tuple(levels),
        between_images=_between(ranks),
        num_images=len(telling),
        blank=len(images) - len(telling),
    )


def _maps(
    explainer: Explainer, images: np.ndarray, classes: np.ndarray, batch_size: int
) -> np.ndarray:
    """float32[N, h, w]; what is not finite, as of a network gone wild, counts as blank."""
    parts = [
        explainer.evidence(images[start : start + batch_size], classes[start : start + batch_size])
        for start in range(0, len(images), batch_size)
    ]
    return np.nan_to_num(np.concatenate(parts), nan=0.0, posinf=0.0, neginf=0.0)


def _weights_by_layer(model: Any) -> list[tuple[str, list[Any]]]:
    """(path of a layer, its weights), from the last to the first; layers without weights to shuffle left out."""
    layers: dict[str, list[Any]] = {}
    for path, variable in layer_paths.named_variables(model).items():
        layer, _, name = path.rpartition("/")
        size = int(np.prod(variable.shape))
        if name not in _STATISTICS and "float" in str(variable.dtype) and size > 1:
            layers.setdefault(layer or name, []).append(variable)
    return list(reversed(layers.items()))


def _steps(num_layers: int) -> list[int]:
    """From 1 to all layers, at most `_MOST_LEVELS` numbers evenly apart."""
    steps = np.linspace(1, num_layers, min(num_layers, _MOST_LEVELS)).round().astype(int)
    return sorted(set(steps.tolist()))


@contextlib.contextmanager
def _shuffled(
    groups: Sequence[Sequence[tuple[str, list[Any]]]], rng: np.random.Generator
) -> Iterator[None]:
    """Within the block, the values of each of these weights are shuffled among their places."""
    variables = [variable for layers in groups for _, own in layers for variable in own]
    values = [variable.numpy() for variable in variables]
    try:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(rng.permutation(value.ravel()).reshape(value.shape))
        yield
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def _ranks(maps: np.ndarray) -> np.ndarray:
    """Centred ranks of length 1, float64[N, places]; ties share their mean rank; zeros of flat maps."""
    from scipy import stats

    ranks = stats.rankdata(maps.reshape(len(maps), -1), axis=1)
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    normed: np.ndarray = centred / np.where(length > 0, length, 1)
    return normed


def _correlations(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return np.asarray((before * after).sum(axis=1))


def _between(ranks: np.ndarray) -> float:
    """The mean correlation of two different images' ranks."""
    count = len(ranks)
    if count < 2:
        return float("nan")
    total = float((ranks.sum(axis=0) ** 2).sum()) - float((ranks**2).sum())
    return total / (count * (count - 1))
