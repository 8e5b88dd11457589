"""The pictures that `engine.explain` leaves in a directory: evidence, kernels, feature maps."""

import os
from collections.abc import Sequence
from pathlib import Path

from engine.explaining import evidence_figure, feature_map_figure, kernel_figure
from engine.explaining.explained_files import ExplainedRun, Explanation
from engine.images.boxes import Box
from engine.inference import feature_maps, kernels
from engine.runs import figure_style


class Pictures:
    """Draws into one directory, each picture under a name of its own.

    Args:
        explained: the run that is explained.
        output: the directory, made if need be.
        layer: whose kernels and feature maps are drawn; None for the first kernels, and the last feature map of
            each resolution.
        scale: what the strongest colour stands for; None for the strongest place of each image.
        formats: see `figure_style.save_all`; the paths returned are those of the PNG.
        max_pixels: the largest image to decode; None for the decoder's own bound.
        keeps_others: whether files of the same names that are no figures stay, and pictures get other
            names; false in a directory of the run itself.
    """

    def __init__(
        self,
        explained: ExplainedRun,
        output: Path,
        *,
        layer: str | None = None,
        scale: float | None = None,
        formats: Sequence[str] = ("png",),
        max_pixels: int | None = None,
        keeps_others: bool = True,
    ) -> None:
        self._keeps_others = keeps_others
        self._explained, self._output = explained, output
        self._layer, self._scale = layer, scale
        self._formats, self._max_pixels = formats, max_pixels
        self._taken: set[str] = set()
        self._layers: list[str] | None = None

    def kernels(self) -> Path:
        """Draws the kernels of a convolution.

        Raises:
            UserError: the network has none, or none of that name.
        """
        found = kernels.read(self._explained.model, self._layer)
        if self._explained.image_format.channels == 1:
            found = found.of_grey()
        path = self._path(f"filters-{_as_name(found.layer)}")
        kernel_figure.draw(found, path, formats=self._formats)
        return path

    def evidence(self, explanation: Explanation, boxes: Sequence[Box] = ()) -> Path:
        """Draws an image beside the evidence in it."""
        image = explanation.image(max_pixels=self._max_pixels)
        path = self._path(explanation.path.stem)
        evidence_figure.draw(
            path,
            image,
            explanation.on_image(image.shape[:2]),
            caption=explanation.caption,
            subject=explanation.target,
            unit=self._explained.explainer.unit,
            limit=self._scale or float(explanation.evidence.max()),
            is_own=self._scale is None,
            boxes=boxes,
            formats=self._formats,
        )
        return path

    def feature_maps(self, explanation: Explanation) -> list[Path]:
        """Draws what layers make of an image, a picture for each layer."""
        model = self._explained.model
        if self._layers is None:
            last = feature_maps.last_of_each_size(model)
            named = self._layer and feature_maps.choose(feature_maps.find(model), self._layer)
            self._layers = [named] if named else last
            feature_maps.choose(self._layers, None)  # raises where there are none
        size = explanation.image(max_pixels=self._max_pixels).shape[:2]
        found = feature_maps.values(model, self._layers, explanation.pixels[None])
        paths = []
        for layer, values in found.items():
            paths.append(self._path(f"{explanation.path.stem}-{_as_name(layer)}"))
            feature_map_figure.draw(
                values[0],
                paths[-1],
                layer=layer,
                image_format=explanation.image_format,
                size=size,
                subject=explanation.path.name,
                formats=self._formats,
            )
        return paths

    def _path(self, stem: str) -> Path:
        while True:
            path = self._output / free_name(stem, self._taken)
            written = [path.with_suffix(f".{kind}") for kind in self._formats]
            if not self._keeps_others or all(map(_may_be_replaced, written)):
                return path


def free_name(stem: str, taken: set[str]) -> str:
    """`stem.png`, or `stem-2.png` where that is taken; marks it taken."""
    name, number = f"{stem}.png", 1
    while name in taken:
        number += 1
        name = f"{stem}-{number}.png"
    taken.add(name)
    return name


def _may_be_replaced(path: Path) -> bool:
    return not os.path.lexists(path) or figure_style.is_figure(path)


def _as_name(layer: str) -> str:
    """A layer's path as part of a file's name."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "." for letter in layer)
