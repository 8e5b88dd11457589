"""Layers and operations of the built-in networks that Keras does not have."""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from engine.networks import kernel_folding

_FLOOR = 5.0  # grey levels added to an image's deviation, so that flat images stay flat


def averaged_down(pixels: Any, height: int, width: int) -> Any:
    """Averages float32[B, H, W, C] down to float32[B, height, width, C], each at most the old one.

    Each new pixel is the mean of the area it covers, pixels cut by its border weighed by their part
    inside (OpenCV's INTER_AREA): antialiased by construction, and two small matrix products, which
    XLA compiles too.
    """
    rows = _area_weights(pixels.shape[1], height)
    columns = _area_weights(pixels.shape[2], width)
    return ops.einsum("hH,wW,bHWc->bhwc", rows, columns, pixels)


def _area_weights(old: int, new: int) -> np.ndarray:
    """float32[new, old]: which part of each old pixel goes into each new one; rows sum to 1."""
    scale = old / new
    first = np.arange(new)[:, None] * scale
    pixel = np.arange(old)[None, :]
    overlap = np.minimum(pixel + 1, first + scale) - np.maximum(pixel, first)
    return (np.clip(overlap, 0, None) / scale).astype(np.float32)


def standardized(pixels: Any, factor: int = 1) -> Any:
    """Averages float32 pixels down by a whole factor, then gives each image mean 0 and deviation 1.

    Averaging takes away the sharpness by which scanners differ; standardizing takes away exposure and
    contrast.

    Args:
        factor: how many pixels per side go into one.
    """
    if factor > 1:
        pixels = ops.average_pool(pixels, factor, factor, padding="valid")
    mean = ops.mean(pixels, axis=(1, 2, 3), keepdims=True)
    deviation = ops.std(pixels, axis=(1, 2, 3), keepdims=True)
    return (pixels - mean) / (deviation + _FLOOR)


@keras.saving.register_keras_serializable(package="engine")
class StandardizedConv2D(layers.Layer):
    """A convolution whose kernel has zero mean and unit variance per output channel, with a gain.

    Weight standardization (Qiao et al., 2019) as scaled for ReLU networks without activation
    normalization (Brock et al., 2021, https://arxiv.org/abs/2101.08692). It steadies training as
    batch normalization does, but costs a few operations on the kernel and none on the activations,
    and an image's result never depends on its batch. Padding is `same`.

    Args:
        filters: channels of the output.
        kernel_size: pixels per side.
        strides: pixels between outputs.
    """

    def __init__(self, filters: int, kernel_size: int, strides: int = 1, **options: Any) -> None:
        super().__init__(**options)
        self.filters, self.kernel_size, self.strides = filters, kernel_size, strides

    def build(self, input_shape: Any) -> None:
        shape = (self.kernel_size, self.kernel_size, input_shape[-1], self.filters)
        self.kernel = self.add_weight(shape=shape, initializer="he_normal", name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")
        self.gain = self.add_weight(shape=(self.filters,), initializer="ones", name="gain")

    def call(self, inputs: Any) -> Any:
        kernel = ops.cast(self.standardized_kernel(), inputs.dtype)
        outputs = ops.conv(inputs, kernel, strides=self.strides, padding="same")
        return outputs + ops.cast(self.bias, outputs.dtype)

    def standardized_kernel(self) -> Any:
        """What the inputs are convolved with, float32[h, w, in, out]."""
        # Within `call` Keras gives variables in the layer's precision; a copy of what is computed there
        # (`stock`) must begin with the same values.
        kernel = ops.cast(ops.cast(self.kernel, self.compute_dtype), "float32")
        gain = ops.cast(ops.cast(self.gain, self.compute_dtype), "float32")
        mean = ops.mean(kernel, axis=(0, 1, 2), keepdims=True)
        variance = ops.var(kernel, axis=(0, 1, 2), keepdims=True)
        fan_in = kernel.shape[0] * kernel.shape[1] * kernel.shape[2]
        scale = gain * kernel_folding.RELU_GAIN
        return (kernel - mean) * ops.rsqrt(variance * fan_in + kernel_folding.EPSILON) * scale

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        batch, height, width, _ = input_shape
        return (batch, -(-height // self.strides), -(-width // self.strides), self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
        }
