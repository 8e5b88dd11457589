"""The kernels of the convolutions inside a Keras model, as the network applies them.

Found by running the model, whatever it is made of, in the order in which they are computed. A standardized kernel is
given folded, as it convolves; a depthwise one as a filter for each of its channels; a transposed one as its
gradient's. Networks for grey images whose first kernel was folded from a colour one (`networks.pretrained`) may take a
constant second channel: see `Kernels.of_grey`.
"""

import dataclasses
from typing import Any

import numpy as np

from engine.base.config import UserError
from engine.inference import feature_maps


@dataclasses.dataclass(frozen=True)
class Kernels:
    """The kernels of one convolution.

    Attributes:
        layer: its path.
        values: float32[h, w, in, out].
    """

    layer: str
    values: np.ndarray

    def of_grey(self) -> "Kernels":
        """As `values`, without a second channel, which is constant in a network for grey images.

        What such a channel adds does not depend on the image, but for its edges.
        """
        if self.values.shape[2] != 2:
            return self
        return dataclasses.replace(self, values=self.values[:, :, :1])


def find(model: Any) -> dict[str, Any]:
    """Path -> layer of every convolution over height and width.

    Args:
        model: a Keras model with a known input shape and dtype.
    """
    found: dict[str, Any] = {}

    def note(path: str, layer: Any, output: Any) -> None:
        if len(getattr(output, "shape", ())) == 4 and _is_convolution(layer):
            found.setdefault(path, layer)

    feature_maps.trace(model, note)
    return found


def read(model: Any, layer: str | None = None) -> Kernels:
    """The kernels of a convolution by its path, or the end of one; of the first one without.

    Raises:
        UserError: the model has no convolution, or none or several of that name.
    """
    found = find(model)
    if not found:
        raise UserError(
            "--filters: the network has no convolution over height and width, whose kernels could be drawn"
        )
    path = (
        next(iter(found))
        if layer is None
        else feature_maps.choose(list(found), layer, what="convolution")
    )
    return Kernels(path, _kernel(found[path]))


def _is_convolution(layer: Any) -> bool:
    names = ("kernel", "depthwise_kernel")
    return any(len(getattr(getattr(layer, name, None), "shape", ())) == 4 for name in names)


def _kernel(layer: Any) -> np.ndarray:
    """float32[h, w, in, out] of a convolution."""
    import keras

    from engine.networks.layers import StandardizedConv2D

    if isinstance(layer, StandardizedConv2D):
        return np.asarray(layer.standardized_kernel())
    if getattr(layer, "depthwise_kernel", None) is not None:
        return _depthwise(layer.depthwise_kernel)
    values = np.asarray(layer.kernel, np.float32)
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return _depthwise(values)
    return np.swapaxes(values, 2, 3) if isinstance(layer, keras.layers.Conv2DTranspose) else values


def _depthwise(kernel: Any) -> np.ndarray:
    """float32[h, w, in, multiplier] -> float32[h, w, 1, in * multiplier]."""
    values = np.asarray(kernel, np.float32)
    return values.reshape(*values.shape[:2], 1, -1)
