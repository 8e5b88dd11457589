import keras
import numpy as np
import pytest
import tensorflow as tf

from engine.base.config import UserError
from engine.base.settings import ModelSettings
from engine.images.format import ImageFormat
from engine.networks import layers, registry, saved_models
from engine.networks.training_form import training_form

SIZE = (48, 40)
IMAGES = ImageFormat(image_size=SIZE, channels=1)


def build(name="cnn", num_classes=2, image_format=IMAGES, **settings):
    if name == "cnn":
        settings = {"depth": 3, "width": 4, **settings}
    if "weights" in registry.resolve(name).settings:
        settings = {"weights": "none", **settings}
    config = ModelSettings(model=name, **settings)
    return registry.build(registry.resolve(name), config, image_format, num_classes)


def images(count=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *SIZE, 1), dtype=np.uint8)


@pytest.mark.parametrize("normalization", ["weight", "batch", "group", "none"])
def test_a_cnn_takes_uint8_and_gives_one_probability_for_two_classes(normalization):
    outputs = build(normalization=normalization)(images()).numpy()
    assert outputs.shape == (3, 1)
    assert outputs.dtype == np.float32
    assert ((outputs >= 0) & (outputs <= 1)).all()


@pytest.mark.parametrize("name", ["cnn", "tutorial"])
def test_more_classes_get_a_softmax(name):
    outputs = build(name, num_classes=4)(images()).numpy()
    assert outputs.shape == (3, 4)
    np.testing.assert_allclose(outputs.sum(1), 1, rtol=1e-5)


def test_a_sigmoid_for_more_than_two_classes_is_refused():
    with pytest.raises(UserError, match="3"):
        build(num_classes=3, head="sigmoid")


def test_too_many_stages_for_the_image_are_refused():
    with pytest.raises(UserError, match="depth 7"):
        build(depth=7)


def test_depth_and_width_and_blocks_make_the_network_larger():
    count = build().count_params()
    assert build(depth=4).count_params() > count
    assert build(width=8).count_params() > count
    assert build(blocks=2).count_params() > count > build(blocks=0).count_params()


@pytest.mark.parametrize(
    ("name", "size", "settings"),
    [
        ("cnn", SIZE, {}),
        ("cnn", (240, 240), {}),
        ("cnn", SIZE, {"image_size": (32, 24), "normalization": "batch"}),
        ("tutorial", SIZE, {"image_size": (32, 24)}),
    ],
)
def test_their_dropout_is_prepared_without_tracing_them(monkeypatch, name, size, settings):
    model = build(name, image_format=ImageFormat(image_size=size, channels=1), **settings)
    traced = []
    monkeypatch.setattr(tf, "function", lambda *_, **options: traced.append(options))
    assert training_form(model).has_dropout
    assert not traced


@pytest.mark.parametrize("name", ["cnn", "tutorial", "efficientnet_lite0"])
def test_a_saved_model_gives_the_same_probabilities(name, tmp_path):
    model = build(name)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(images()), again(images()))


@pytest.mark.parametrize("name", ["cnn", "tutorial"])
def test_only_standardized_convolutions_are_not_stock_keras(name):
    for layer in build(name)._flatten_layers():
        stock = type(layer).__module__.startswith("keras.")
        assert stock or isinstance(layer, layers.StandardizedConv2D)


def test_the_named_layers_are_there():
    for name in ("cnn", "tutorial"):  # those of pretrained networks: see their tests
        network = registry.resolve(name)
        for layer in (network.explained_layer, "logits", "probabilities"):
            assert build(name).get_layer(layer) is not None


def test_a_mixed_precision_model_gives_float32_probabilities():
    with saved_models.dtype_policy("mixed_bfloat16"):
        model = build()
        form = training_form(model)
    assert model(images()).dtype == form.network(images().astype(np.float32)).dtype == "float32"
    assert all(variable.dtype == "float32" for variable in model.trainable_variables)
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize("name", ["cnn", "tutorial"])
def test_a_resizing_network_takes_the_shards_size_and_works_on_the_smaller(name, tmp_path):
    model = build(name, image_size=(24, 20))
    assert model.input_shape == training_form(model).network.input_shape == (None, *SIZE, 1)
    first = next(layer for layer in model.layers if "conv" in layer.name or "pool" in layer.name)
    assert first.output.shape[1] <= 24
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(images()), again(images()))


def test_images_are_not_made_larger():
    with pytest.raises(UserError, match=r"--image-size 64x40 .* 48x40"):
        build(image_size=(64, 40))


def test_the_largest_depth_is_the_one_that_builds():
    for size in (16, 40, 64, 224):
        shape = ImageFormat(image_size=(size, size), channels=1)
        depth = registry.resolve("cnn").largest((size, size))["depth"]
        build(depth=depth, blocks=0, image_format=shape)
        if depth < 7:
            with pytest.raises(UserError, match="--depth"):
                build(depth=depth + 1, blocks=0, image_format=shape)


def test_precision_advice_is_about_normalization():
    def advice(name, **settings):
        network = registry.resolve(name)
        config = ModelSettings(model=name, **settings)
        return network.precision_advice(registry.settings_of(network, config))

    assert advice("cnn") is advice("tutorial") is None
    assert "batch" in advice("cnn", normalization="batch")
