"""A standardized kernel folds to a plain one, and every folded kernel has a standardized one again."""

import numpy as np
import pytest

from engine.networks import kernel_folding
from engine.networks.layers import StandardizedConv2D

RANDOM = np.random.default_rng(0)
KERNEL = RANDOM.normal(0.3, 0.2, (3, 3, 4, 6)).astype(np.float32)
GAIN = np.array([1, 0.5, -2, 1e-3, 30, 0], np.float32)
FRESH = RANDOM.normal(0, 1, KERNEL.shape).astype(np.float32)


def test_folding_gives_what_the_layer_convolves_with():
    layer = StandardizedConv2D(6, 3)
    layer.build((None, 8, 8, 4))
    layer.kernel.assign(KERNEL)
    layer.gain.assign(GAIN)
    expected = np.asarray(layer.standardized_kernel())
    np.testing.assert_allclose(kernel_folding.folded(KERNEL, GAIN), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1, 1e3])
def test_unfolding_recovers_the_function_exactly_at_the_scale_of_a_fresh_kernel(scale):
    plain = kernel_folding.folded(scale * KERNEL, GAIN)
    kernel, gain = kernel_folding.unfolded(plain, FRESH)
    np.testing.assert_allclose(
        kernel_folding.folded(kernel, gain), plain, rtol=1e-5, atol=1e-6 * np.abs(plain).max()
    )
    live = GAIN != 0
    np.testing.assert_allclose(kernel.var(axis=(0, 1, 2))[live], 2 / 36, rtol=1e-4)


def test_a_channel_of_zeros_keeps_its_fresh_kernel_and_stays_zero():
    kernel, gain = kernel_folding.unfolded(kernel_folding.folded(KERNEL, GAIN), FRESH)
    assert gain[-1] == 0
    np.testing.assert_array_equal(kernel[..., -1], FRESH[..., -1])


def test_a_kernel_that_no_standardized_one_folds_to_is_refused():
    assert kernel_folding.unfolded(KERNEL, FRESH) is None
