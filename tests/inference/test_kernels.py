"""Kernels are those that the network convolves with, of the first convolution or of the one that is named."""

import keras
import numpy as np
import pytest
from built_in import small_model
from keras import layers

from engine.base.config import UserError
from engine.inference import kernels
from engine.inference.kernels import Kernels


def functional(*steps, channels=3):
    inputs = x = keras.Input((16, 16, channels))
    for step in steps:
        x = step(x)
    return keras.Model(inputs, layers.Dense(1)(layers.GlobalAveragePooling2D()(x)))


def test_a_standardized_kernel_is_given_folded():
    model = small_model("cnn", image_size=(32, 32))
    found = kernels.read(model)
    assert found.layer == "stem_convolution" and found.values.shape == (5, 5, 1, 4)
    np.testing.assert_allclose(found.values.mean(axis=(0, 1, 2)), 0, atol=1e-6)
    layer = model.get_layer("stem_convolution")
    np.testing.assert_allclose(found.values, np.asarray(layer.standardized_kernel()))
    assert np.abs(found.values - layer.kernel.numpy()).max() > 1e-3


def test_the_kernels_of_colour_images_have_three_channels():
    found = kernels.read(functional(layers.Conv2D(64, 7, name="conv1_conv"), layers.Conv2D(8, 3)))
    assert found.layer == "conv1_conv" and found.values.shape == (7, 7, 3, 64)
    assert found.of_grey() is found


def test_a_constant_second_channel_is_no_part_of_the_filter():
    values = np.random.default_rng(0).random((3, 3, 2, 5)).astype(np.float32)
    np.testing.assert_array_equal(Kernels("stem", values).of_grey().values, values[:, :, :1])


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, name="c"), (3, 3, 1, 6)),
        (lambda: layers.SeparableConv2D(5, 3, name="c"), (3, 3, 1, 3)),
        (lambda: layers.Conv2DTranspose(5, (2, 3), name="c"), (2, 3, 3, 5)),
        (lambda: layers.Conv2D(4, (1, 5), groups=1, name="c"), (1, 5, 3, 4)),
    ],
)
def test_other_convolutions_have_kernels_too(layer, shape):
    assert kernels.read(functional(layer())).values.shape == shape


def test_a_layer_is_named_by_its_path_or_its_end():
    inner = functional(layers.Conv2D(4, 3, name="inside"))
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(
        inputs, keras.Sequential([inner], name="around")(layers.Conv2D(3, 1, name="first")(inputs))
    )
    assert kernels.read(model).layer == "first"
    assert kernels.read(model, "inside").layer.endswith("/inside")
    with pytest.raises(UserError, match=r"no convolution 'insid' \(did you mean inside\?\)"):
        kernels.read(model, "insid")


def test_a_network_without_convolution_gets_a_clear_line():
    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(inputs)))
    with pytest.raises(UserError, match=r"^--filters: the network has no convolution"):
        kernels.read(model)
