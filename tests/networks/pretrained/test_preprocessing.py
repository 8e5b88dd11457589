import keras
import numpy as np
import pytest

from engine.networks.applications import CAFFE, TF, TORCH
from engine.networks.pretrained.preprocessing import Preprocessing

MODES = {"tf": TF, "torch": TORCH, "caffe": CAFFE}


def images(channels):
    return np.random.default_rng(0).uniform(0, 255, (2, 9, 8, channels)).astype(np.float32)


@pytest.mark.parametrize("mode", MODES)
def test_colour_images_are_scaled_as_keras_applications_do(mode):
    expected = keras.applications.imagenet_utils.preprocess_input(images(3).copy(), mode=mode)
    np.testing.assert_allclose(MODES[mode].apply(images(3)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_grey_image_gives_what_it_gives_as_three_channels_borders_included(mode, padding):
    preprocessing, grey = MODES[mode], images(1)
    kernel = np.random.default_rng(1).normal(size=(3, 3, 3, 4)).astype(np.float32)

    def convolved(pixels, weights):
        scaled = np.asarray(preprocessing.apply(pixels))
        return np.asarray(keras.ops.conv(scaled, weights, strides=2, padding=padding))

    expected = convolved(np.repeat(grey, 3, axis=-1), kernel)
    found = convolved(grey, preprocessing.for_grey(kernel))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found / scale, expected / scale, atol=1e-5)


def test_one_scale_for_all_channels_needs_one_channel():
    assert (
        Preprocessing.uniform(127, 128).apply(images(1)).shape[-1]
        == TF.apply(images(1)).shape[-1]
        == 1
    )
    assert TORCH.apply(images(1)).shape[-1] == CAFFE.apply(images(1)).shape[-1] == 2


def test_other_than_grey_and_colour_is_refused():
    with pytest.raises(ValueError, match="1 or 3 channels; got 2"):
        TF.apply(images(2))
