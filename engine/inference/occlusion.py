"""Evidence by covering a part of the image: how much of a class's log-odds goes away with each part.

Zeiler and Fergus, Visualizing and understanding convolutional networks, 2014
(https://arxiv.org/abs/1311.2901), slide a grey square over the image. It needs no feature map and no gradient,
so it explains any model, and an ensemble as one; it takes as many predictions as there are places.

What covers a part decides what is asked. Each choice also leaves edges that no training image had:

    mean     the image's mean grey level (of each channel)
    black    0, as the padding of `--keep-aspect-ratio`
    blur     the image, blurred over the patch's size: texture goes, brightness stays
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from engine.base.config import UserError
from engine.inference.evidence import Explainer

_PATCHES_PER_SIDE = 8
MEAN, BLACK, BLUR = "mean", "black", "blur"


class Occlusion(Explainer):
    """Maps of the log-odds that a class loses where a square patch covers the image.

    Args:
        log_odds: from uint8[N, H, W, C] to the log-odds of the positive class of two, float[N], or of each
            of more classes, float[N, K].
        image_size: (height, width) of the images, pixels.
        patch: pixels per side of what is covered; None for an eighth of the shorter side.
        stride: pixels between patches; None for half a patch. A map has a place for each.
        baseline: what covers a part: `mean`, `black` or `blur`.
        batch_size: images per call of `log_odds`.

    Raises:
        UserError: the patch is larger than the image, or the stride larger than the patch, which would leave
            parts that are never covered.
    """

    name = "occlusion"
    unit = "log-odds lost"

    def __init__(
        self,
        log_odds: Callable[[np.ndarray], np.ndarray],
        image_size: tuple[int, int],
        *,
        patch: int | None = None,
        stride: int | None = None,
        baseline: str = MEAN,
        batch_size: int = 64,
    ) -> None:
        shorter = min(image_size)
        if patch is not None and patch > shorter:
            raise UserError(
                f"--patch: got {patch}, more than the shorter side of the network's images ({shorter})"
            )
        self.patch = patch or max(1, round(shorter / _PATCHES_PER_SIDE))
        if stride is not None and stride > self.patch:
            raise UserError(
                f"--stride: got {stride}, more than the patch ({self.patch} pixels): what lies between "
                "patches would never be covered"
            )
        self.stride = stride or max(1, self.patch // 2)
        self._log_odds, self._baseline, self._batch_size = log_odds, baseline, batch_size
        self._rows = _intervals(image_size[0], self.patch, self.stride)
        self._columns = _intervals(image_size[1], self.patch, self.stride)

    def evidence(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """As `Explainer.evidence`, a place for each patch."""
        return np.maximum(self.losses(images, classes), 0)

    def losses(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """The log-odds of a class that go away with each patch, or come with it (negative), float32[B, h, w]."""
        whole = _of_class(self._log_odds(images), classes)
        maps = [
            full - self._covered_scores(image, label)
            for image, label, full in zip(images, classes, whole, strict=True)
        ]
        # Of log-odds that are infinite on both sides nothing is known.
        return np.nan_to_num(np.stack(maps), nan=0.0).astype(np.float32)

    def _covered_scores(self, image: np.ndarray, label: int) -> np.ndarray:
        """The class's log-odds with each patch covered, float64[h, w]."""
        cover = covering(image, self._baseline, self.patch)
        places = [(rows, columns) for rows in self._rows for columns in self._columns]
        scores: list[Any] = []
        for start in range(0, len(places), self._batch_size):
            block = places[start : start + self._batch_size]
            covered = np.repeat(image[None], len(block), axis=0)
            for one, (rows, columns) in zip(covered, block, strict=True):
                one[rows, columns] = cover[rows, columns]
            labels = np.full(len(block), label)
            scores.extend(_of_class(self._log_odds(covered), labels))
        return np.reshape(scores, (len(self._rows), len(self._columns)))


def covering(image: np.ndarray, baseline: str, patch: int) -> np.ndarray:
    """What stands in place of covered pixels, uint8[H, W, C]."""
    if baseline == BLACK:
        return np.zeros_like(image)
    if baseline == BLUR:
        blur = ImageFilter.GaussianBlur(max(1, patch / 2))
        channels = [Image.fromarray(image[..., c]).filter(blur) for c in range(image.shape[2])]
        return np.stack([np.asarray(channel) for channel in channels], axis=-1)
    mean = image.mean(axis=(0, 1), keepdims=True)
    return np.broadcast_to(np.round(mean).astype(np.uint8), image.shape)


def _intervals(length: int, patch: int, stride: int) -> list[slice]:
    """The parts of one side that patches cover; their middles lie evenly over it, a stride or less apart."""
    count = -(-length // stride)
    middles = (np.arange(count) + 0.5) * length / count
    starts = np.round(middles - patch / 2).astype(int)
    return [slice(max(0, start), min(length, start + patch)) for start in starts]


def _of_class(log_odds: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Those of one class per image, float64[N]."""
    if log_odds.ndim == 1:
        return np.where(np.asarray(classes) == 1, log_odds, -log_odds)
    return np.asarray(log_odds[np.arange(len(log_odds)), classes])
