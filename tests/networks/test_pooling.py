"""Mean and deviation of the maps behind every block, as what the classifier takes."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from engine.base.config import UserError
from engine.base.settings import ModelSettings
from engine.images.format import ImageFormat
from engine.inference.grad_cam import GradCam
from engine.networks import (
    efficientnet_lite,
    keyed_dropout,
    pooling,
    registry,
    saved_models,
    stock,
)
from engine.networks.ends import STANDARDIZE
from engine.networks.pretrained import layer_arrays
from engine.networks.training_form import training_form
from engine.training import initial_weights

SIZE = (64, 72)
IMAGES = np.random.default_rng(0).integers(0, 256, (3, *SIZE, 1), np.uint8)
PROGRAM = """
import sys, keras, numpy
model = keras.models.load_model(sys.argv[1])
numpy.save(sys.argv[3], model.predict(numpy.load(sys.argv[2]), verbose=0))
assert "engine" not in sys.modules
"""


def build(pooled="statistics", *, num_classes=2, dropout=0.0, channels=1):
    """A network of seven narrow blocks."""
    image_format = ImageFormat(image_size=SIZE, channels=channels)
    return efficientnet_lite.build(
        image_format,
        num_classes,
        name="small",
        width=0.25,
        depth=0.1,
        pooling=pooled,
        dropout=dropout,
    )


def give_statistics(model):
    """The mean and variance of each feature over a few images, as training sets them."""
    layer = model.get_layer(STANDARDIZE)
    features = keras.Model(model.input, layer.input)(IMAGES, training=False).numpy()
    layer.moving_mean.assign(features.mean(axis=0))
    layer.moving_variance.assign(features.var(axis=0) + 1e-3)
    return layer


def test_statistics_are_those_of_numpy_and_of_one_place_the_mean():
    random = np.random.default_rng(0)
    first, second = (
        random.normal(5, 2, shape).astype(np.float32) for shape in ((2, 3, 4, 2), (2, 1, 1, 3))
    )
    inputs = [keras.Input(array.shape[1:]) for array in (first, second)]
    found = keras.Model(inputs, pooling.statistics(inputs))([first, second]).numpy()
    expected = [first.mean((1, 2)), first.std((1, 2)), second[:, 0, 0], np.full((2, 3), 1e-3)]
    np.testing.assert_allclose(found, np.concatenate(expected, axis=-1), rtol=1e-5)


@pytest.mark.parametrize(("num_classes", "units"), [(2, 1), (3, 3)])
def test_the_classifier_takes_two_features_per_channel_of_every_block(num_classes, units):
    model = build(num_classes=num_classes)
    channels = sum(block.channels for block in efficientnet_lite.blocks(0.25, 0.1))
    num_features = 2 * (channels + efficientnet_lite.HEAD_CHANNELS)
    assert model.get_layer("logits").kernel.shape == (num_features, units)
    assert model.get_layer(STANDARDIZE).input.shape == (None, num_features)
    assert not model.get_layer(STANDARDIZE).trainable_variables
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)


def test_the_size_with_published_weights_has_6176_features():
    channels = sum(block.channels for block in efficientnet_lite.blocks())
    assert 2 * (channels + efficientnet_lite.HEAD_CHANNELS) == 6176


def test_features_are_standardized_in_training_too_and_their_statistics_stay():
    model = build()
    layer = give_statistics(model)
    before = [variable.numpy() for variable in layer.variables]
    training_form(model).network(IMAGES.astype(np.float32), training=True)
    raw = np.random.default_rng(0).normal(size=(4, *layer.moving_mean.shape)).astype(np.float32)
    mean, variance = before
    expected = (raw - mean) / np.sqrt(variance + 1e-6)
    np.testing.assert_allclose(layer(raw, training=True), expected, rtol=1e-4, atol=1e-4)
    for variable, value in zip(layer.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_dropout_draws_by_keys_without_tracing_the_network(monkeypatch):
    model = build(dropout=0.5)
    monkeypatch.setattr(keyed_dropout.tf, "function", None)
    form = training_form(model)
    assert form.has_dropout and not form.unkeyed


def test_in_mixed_precision_statistics_are_computed_in_float32(tmp_path):
    with saved_models.dtype_policy("mixed_bfloat16"):
        model = build(dropout=0.5)
    give_statistics(model)
    assert model.get_layer("block03_project_normalization").output.dtype == "bfloat16"
    for name in ("statistics", STANDARDIZE, "dropout", "logits"):
        assert model.get_layer(name).compute_dtype == "float32"
        assert "float32" in {one.dtype for one in keras.tree.flatten(model.get_layer(name).input)}
    said = []
    stock.StockModel(model, training_form(model), say=said.append).save(tmp_path / "model.keras")
    assert not said  # a copy in stock layers


def test_the_saved_model_gives_the_same_where_the_engine_is_not_installed(tmp_path):
    model = build(num_classes=3)
    writer = stock.StockModel(model, training_form(model))
    writer.up_to_date()
    give_statistics(model)  # after the copy was made
    path, images, found = (tmp_path / name for name in ("model.keras", "images.npy", "found.npy"))
    writer.save(path)
    np.save(images, IMAGES)
    done = subprocess.run(
        [sys.executable, "-I", "-c", PROGRAM, path, images, found], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(found), model(IMAGES, training=False), atol=1e-5)


def test_weights_of_a_file_leave_the_standardization_new_and_init_from_takes_it(tmp_path):
    trained, other = build(), build()
    layer = give_statistics(trained)
    trained.save(tmp_path / "trained.keras")
    preprocessing = efficientnet_lite.PREPROCESSING
    arrays = layer_arrays.read(tmp_path / "trained.keras")
    layer_arrays.assign(other, arrays, preprocessing, source="file")
    fresh = other.get_layer(STANDARDIZE)
    assert not fresh.moving_mean.numpy().any() and (fresh.moving_variance.numpy() == 1).all()
    raw = [keras.Model(m.input, m.get_layer(STANDARDIZE).input) for m in (trained, other)]
    np.testing.assert_allclose(*(one(IMAGES, training=False) for one in raw), atol=1e-5)
    layer_arrays.assign(build("average"), arrays, preprocessing, source="file")
    initial_weights.take(other, initial_weights.read(tmp_path / "trained.keras"))
    np.testing.assert_array_equal(fresh.moving_mean, layer.moving_mean)
    np.testing.assert_allclose(other(IMAGES, training=False), trained(IMAGES, training=False))


def test_grey_images_give_what_they_give_as_three_equal_channels(tmp_path):
    colour, grey = build(channels=3), build()
    colour.save(tmp_path / "colour.keras")
    arrays = layer_arrays.read(tmp_path / "colour.keras")
    layer_arrays.assign(grey, arrays, efficientnet_lite.PREPROCESSING, source="file")
    grey.get_layer("logits").set_weights(colour.get_layer("logits").get_weights())
    expected = colour(np.repeat(IMAGES, 3, axis=-1), training=False)
    np.testing.assert_allclose(grey(IMAGES, training=False), expected, atol=1e-5)


def test_evidence_is_drawn_from_the_last_convolution():
    model = build(num_classes=3)
    explain = GradCam(model, layer="last_convolution")
    found = explain(IMAGES, np.arange(3))
    assert found.shape == (3, 2, 3) and np.isfinite(found).all()


def test_networks_of_one_feature_map_refuse_the_setting():
    config = ModelSettings(model="tutorial", pooling="average")
    with pytest.raises(UserError, match="--pooling: --model tutorial does not use it"):
        registry.checked(registry.resolve("tutorial"), config)
