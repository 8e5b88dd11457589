"""Standardized kernels as plain ones, and back.

`StandardizedConv2D` convolves with

    F = g * 1.7 * (K - mean(K)) / sqrt(n * var(K) + e)        n: fan-in, e = 1e-4, per output channel

Folding computes F. It loses the scale of K, on which F depends through e alone, so any scale can be chosen on
the way back: with K = a * F the same F comes out for

    g = sqrt(n * a^2 * var(F) + e) / (1.7 * a)

exactly, as F has the mean 0. The scale a is chosen so that K has the variance 2 / n of a fresh kernel (He et
al., 2015): gradients by K, which go with 1 / a, are then those that learning rates are made for.
"""

import numpy as np

RELU_GAIN = 1.7
EPSILON = 1e-4
_LARGEST_MEAN = 1e-3  # of a standardized kernel's channel, in its standard deviations

Array = np.ndarray


def folded(kernel: Array, gain: Array) -> Array:
    """What a standardized convolution convolves with.

    Args:
        kernel: float32[h, w, in, out].
        gain: float32[out].

    Returns:
        float32[h, w, in, out].
    """
    exact: Array = kernel.astype(np.float64)
    mean, variance = exact.mean(axis=(0, 1, 2)), exact.var(axis=(0, 1, 2))
    scale = gain.astype(np.float64) * RELU_GAIN / np.sqrt(variance * _fan_in(kernel) + EPSILON)
    return ((exact - mean) * scale).astype(np.float32)


def unfolded(plain: Array, fresh: Array) -> tuple[Array, Array] | None:
    """A kernel and a gain that fold to `plain`.

    Args:
        plain: float32[h, w, in, out].
        fresh: a kernel of the same shape, taken with the gain 0 for channels that are all zero.

    Returns:
        (kernel float32[h, w, in, out], gain float32[out]); None if a channel of `plain` has a mean other
        than 0, which no standardized kernel has.
    """
    exact: Array = plain.astype(np.float64)
    mean, deviation = exact.mean(axis=(0, 1, 2)), exact.std(axis=(0, 1, 2))
    if (np.abs(mean) > _LARGEST_MEAN * deviation).any():
        return None
    variance = 2 / _fan_in(plain)
    live = deviation > 0
    scale = np.sqrt(variance) / np.where(live, deviation, 1)
    gain = np.sqrt(_fan_in(plain) * variance + EPSILON) / (RELU_GAIN * scale)
    kernel = np.where(live, (exact - mean) * scale, fresh)
    return kernel.astype(np.float32), np.where(live, gain, 0).astype(np.float32)


def _fan_in(kernel: Array) -> int:
    height, width, channels, _ = kernel.shape
    return height * width * channels
