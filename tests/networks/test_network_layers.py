import numpy as np
import pytest

from engine.networks import kernel_folding, layers

SIZE = (48, 40)


def pixels(count=3, seed=0):
    drawn = np.random.default_rng(seed).integers(0, 256, (count, *SIZE, 1), dtype=np.uint8)
    return drawn.astype(np.float32)


def test_standardizing_takes_exposure_and_contrast_away():
    plain = np.asarray(layers.standardized(pixels(), 2))
    changed = np.asarray(layers.standardized(pixels() * 0.5 + 40, 2))
    assert plain.shape == (3, SIZE[0] // 2, SIZE[1] // 2, 1)
    np.testing.assert_allclose(plain, changed, atol=0.3)
    assert np.isfinite(np.asarray(layers.standardized(np.zeros_like(pixels())))).all()


def test_a_standardized_kernel_has_zero_mean_and_one_variance_over_fan_in():
    layer = layers.StandardizedConv2D(5, 3)
    layer.build((None, 8, 8, 4))
    kernel = np.asarray(layer.standardized_kernel()) / kernel_folding.RELU_GAIN
    np.testing.assert_allclose(kernel.mean((0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(kernel.var((0, 1, 2)) * 36, 1, rtol=0.01)


@pytest.mark.parametrize("size", [(24, 20), (48, 40), (31, 17)])
def test_averaging_down_keeps_the_mean_and_is_a_pooling_at_whole_factors(size):
    small = np.asarray(layers.averaged_down(pixels(), *size))
    assert small.shape == (3, *size, 1)
    np.testing.assert_allclose(small.mean((1, 2)), pixels().mean((1, 2)), rtol=1e-4)
    if size == (24, 20):
        pooled = pixels().reshape(3, 24, 2, 20, 2, 1).mean((2, 4))
        np.testing.assert_allclose(small, pooled, rtol=1e-4)


def test_averaging_down_has_no_aliases():
    stripes = np.zeros((1, *SIZE, 1), np.float32)
    stripes[:, ::2] = 255
    small = np.asarray(layers.averaged_down(stripes, 12, 10))
    np.testing.assert_allclose(small, 127.5, rtol=1e-5)
