"""Evidence maps: how strongly each place of an image speaks for a class, whatever found it.

A map is float32[h, w], not negative, and lies evenly over the network's input image: its place (i, j) of h x w is
the same share of the image. Methods are in `grad_cam`, `occlusion` and `pooled_evidence`; `explanation` chooses.
"""

import abc
from collections.abc import Sequence

import numpy as np
from PIL import Image

_TINY = 1e-12


class Explainer(abc.ABC):
    """Finds evidence maps.

    Attributes:
        name: the method, for readers.
        unit: what the values of `evidence` are.
        layer: the path of the feature map that is looked at, if it is one.
    """

    name: str
    unit: str
    layer: str | None = None

    @abc.abstractmethod
    def evidence(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """What speaks for one class per image, in the method's unit.

        Args:
            images: uint8[B, H, W, C].
            classes: int[B], the class to explain in each.

        Returns:
            float32[B, h, w], not negative; all zero where nothing speaks for the class.
        """

    def __call__(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """`evidence` relative to the strongest place in each image, float32[B, h, w] in [0, 1]."""
        return relative(self.evidence(images, classes))


class MeanEvidence(Explainer):
    """The mean over several explainers of one method, each relative to its own strongest place.

    So none outweighs another whose values are smaller. The unit is kept: the mean is as strong as theirs are on
    average.
    """

    def __init__(self, members: Sequence[Explainer]) -> None:
        self.members = tuple(members)
        self.name, self.unit = members[0].name, members[0].unit
        layers = {member.layer for member in members}
        self.layer = members[0].layer if len(layers) == 1 else None

    def evidence(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """As `Explainer.evidence`; as fine as the finest of the members' maps."""
        found = [member.evidence(images, classes) for member in self.members]
        size = max((maps.shape[1:] for maps in found), key=lambda shape: shape[0] * shape[1])
        mean = np.mean([resized(relative(maps), size) for maps in found], axis=0)
        strength = np.mean([maps.max(axis=(1, 2)) for maps in found], axis=0)
        scaled: np.ndarray = relative(mean) * strength[:, None, None]
        return scaled.astype(np.float32)


def relative(maps: np.ndarray) -> np.ndarray:
    """Evidence float32[B, h, w], not negative, relative to the strongest place in each image."""
    strongest = maps.max(axis=(1, 2), keepdims=True)
    found: np.ndarray = maps / np.maximum(strongest, _TINY)
    return found


def resized(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """float32[B, h, w] -> float32[B, *size], bilinear; maps of that size as they are."""
    if maps.shape[1:] == size:
        return maps
    images = [Image.fromarray(np.asarray(one, np.float32)) for one in maps]
    return np.stack(
        [np.asarray(one.resize(size[::-1], Image.Resampling.BILINEAR)) for one in images]
    )
