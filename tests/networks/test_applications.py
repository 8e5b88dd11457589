import keras
import numpy as np
import pytest

from engine.base.config import UserError
from engine.base.settings import ModelSettings
from engine.images.format import ImageFormat
from engine.networks import applications, registry
from engine.networks.training_form import training_form

SIZE = (32, 40)
NAMES = ("resnet50v2", "vgg16", "mobilenetv2", "efficientnetv2b0", "densenet121")
QUICK = ("vgg16", "mobilenetv2")


def build(name, channels, weights="none", size=SIZE, num_classes=2, **settings):
    image_format = ImageFormat(image_size=size, channels=channels)
    config = ModelSettings(model=name, weights=weights, **settings)
    return registry.build(registry.resolve(name), config, image_format, num_classes)


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in NAMES]
)
def test_grey_images_give_what_keras_own_network_gives_for_three_equal_channels(name, tmp_path):
    application = registry.resolve(name).build.keywords["application"]
    reference = application.body(weights=None, input_shape=(*SIZE, 3))
    reference.save_weights(tmp_path / "body.weights.h5")
    model = build(name, 1, str(tmp_path / "body.weights.h5"))
    assert model.output_shape == (None, 1)
    assert not training_form(model).unkeyed
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)
    grey = np.random.default_rng(0).integers(0, 256, (2, *SIZE, 1), np.uint8)
    pixels = application.preprocessing.apply(np.repeat(grey, 3, axis=-1).astype(np.float32))
    features = keras.Model(model.input, model.get_layer("last_convolution").output)
    expected = reference(pixels, training=False)
    np.testing.assert_allclose(features(grey, training=False), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "num_blocks", "num_features"),
    [
        ("vgg16", 4, 2944),
        ("mobilenetv2", 17, 5568),
        pytest.param("densenet121", 58, 5760, marks=pytest.mark.slow),
        pytest.param("efficientnetv2b0", 21, 7680, marks=pytest.mark.slow),
        pytest.param("resnet50v2", 16, 11648, marks=pytest.mark.slow),
    ],
)
def test_statistics_are_of_the_map_behind_every_block(name, num_blocks, num_features):
    model = build(name, 1, pooling="statistics")
    assert len(model.get_layer("statistics").input) == 2 * (num_blocks + 1)
    assert model.get_layer("logits").kernel.shape == (num_features, 1)


def test_images_that_are_too_small_are_refused():
    with pytest.raises(UserError, match="--model vgg16 takes images of at least 32x32 pixels"):
        build("vgg16", 1, size=(24, 40))


def test_what_keras_cannot_load_is_one_line(monkeypatch):
    def body(self, **options):
        raise OSError("Unable to open file\nand more")

    monkeypatch.setattr(applications.Application, "body", body)
    application = registry.resolve("vgg16").build.keywords["application"]
    with pytest.raises(
        UserError, match=r"cannot load vgg16_.*\(58.9 MB\) from .*: Unable to open"
    ) as error:
        application.pretraining.read_imagenet()
    assert "\n" not in str(error.value)


def test_weights_of_keras_own_network_are_taken_by_layer(monkeypatch):
    application = registry.resolve("mobilenetv2").build.keywords["application"]
    small = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3, name="first")])
    monkeypatch.setattr(applications.Application, "body", lambda self, **options: small)
    arrays = application.pretraining.read_imagenet()
    assert [array.shape for array in arrays["first"]] == [(3, 3, 3, 2), (2,)]
