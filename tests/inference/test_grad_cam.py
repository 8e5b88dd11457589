"""Grad-CAM and Grad-CAM++: evidence lies where the image speaks for the class, in any network."""

import keras
import numpy as np
import pytest
from built_in import small_model
from keras import layers

from engine.base.config import UserError
from engine.inference.grad_cam import GradCam, GradCamPlusPlus

METHODS = (GradCam, GradCamPlusPlus)


def spot_model(units=1, with_logits=True, trainable=True):
    """A brighter spot anywhere speaks for class 1 (or, of three, for class 2)."""
    inputs = keras.Input((32, 32, 1), dtype="uint8")
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Conv2D(1, 4, 4, use_bias=False, kernel_initializer="ones", name="last_convolution")(
        x
    )
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(units, name="logits" if with_logits else "head")(x)
    outputs = layers.Activation("sigmoid" if units == 1 else "softmax")(x)
    model = keras.Model(inputs, outputs)
    weights = [[3.0]] if units == 1 else [[-1.0, -2.0, 3.0]]
    model.layers[-2].set_weights([np.array(weights), np.zeros(units)])
    model.trainable = trainable
    return model


def spots(places):
    images = np.zeros((len(places), 32, 32, 1), np.uint8)
    for image, (row, column) in zip(images, places, strict=True):
        image[row : row + 4, column : column + 4] = 255
    return images


PLACES = [(4, 8), (24, 28), (16, 0)]


@pytest.mark.parametrize("with_logits", [True, False])
@pytest.mark.parametrize(("units", "index"), [(1, 1), (3, 2)])
@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_evidence_lies_in_the_spot(method, with_logits, units, index, trainable):
    model = spot_model(units, with_logits, trainable)
    maps = method(model)(spots(PLACES), np.full(3, index))
    assert maps.shape == (3, 8, 8)
    for evidence, (row, column) in zip(maps, PLACES, strict=True):
        assert np.unravel_index(evidence.argmax(), (8, 8)) == (row // 4, column // 4)
        assert evidence.max() == pytest.approx(1) and (evidence > 0).sum() == 1


@pytest.mark.parametrize(("units", "index"), [(1, 0), (3, 1)])
@pytest.mark.parametrize("method", METHODS)
def test_what_speaks_against_a_class_is_no_evidence_for_it(method, units, index):
    maps = method(spot_model(units))(spots(PLACES), np.full(3, index))
    assert not maps.any()


def test_each_image_is_explained_for_its_own_class():
    maps = GradCam(spot_model())(spots(PLACES), np.array([1, 0, 1]))
    assert [bool(evidence.any()) for evidence in maps] == [True, False, True]


@pytest.mark.parametrize("name", ["cnn", "tutorial"])
@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_engines_networks_can_be_explained(name, num_classes):
    options = {"depth": 3} if name == "cnn" else {}
    model = small_model(name, image_size=(32, 40), num_classes=num_classes, **options)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 40, 1), np.uint8)
    for method in METHODS:
        maps = method(model)(images, np.array([0, 1]))
        assert maps.ndim == 3 and maps.shape[1] < maps.shape[2]
        assert np.isfinite(maps).all() and maps.min() >= 0 and maps.max() <= 1


def test_a_named_layer_is_explained_and_a_wrong_name_lists_those_there_are():
    inputs = keras.Input((32, 32, 1), dtype="uint8")
    x = layers.Rescaling(1 / 255, name="scaled")(inputs)
    x = layers.Conv2D(2, 4, 4, name="first")(x)
    x = layers.Conv2D(3, 2, 2, name="second")(x)
    outputs = layers.Dense(1, activation="sigmoid")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, outputs)
    for name, size in ((None, 4), ("second", 4), ("first", 8)):
        maps = GradCam(model, layer=name)(spots(PLACES), np.ones(3))
        assert maps.shape == (3, size, size)
    with pytest.raises(UserError, match=r"no feature map 'secnd' \(did you mean second\?\)"):
        GradCam(model, layer="secnd")
    with pytest.raises(UserError, match=r"no feature map 'scaled'; it has first, second$"):
        GradCam(model, layer="scaled")


def test_a_model_without_feature_maps_is_refused():
    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, layers.Dense(1, name="only")(layers.Flatten()(inputs)))
    with pytest.raises(UserError, match="has no feature map"):
        GradCam(model)


def test_grad_cam_plus_plus_weighs_channels_as_the_paper_says():
    """Against the formula written out, on a score whose gradient differs from place to place."""
    inputs = keras.Input((6, 6, 2))
    features = layers.Conv2D(3, 1, activation="relu", name="features")(inputs)
    logits = layers.Dense(1, name="logits")(layers.Flatten()(features))
    model = keras.Model(inputs, layers.Activation("sigmoid")(logits))
    image = np.random.default_rng(0).random((1, 6, 6, 2), np.float32)
    a = np.asarray(keras.Model(inputs, features)(image))[0].astype(np.float64)
    gradient = model.get_layer("logits").get_weights()[0].reshape(a.shape).astype(np.float64)
    alpha = gradient**2 / (2 * gradient**2 + gradient**3 * a.sum(axis=(0, 1)))
    alpha[2 + gradient * a.sum(axis=(0, 1)) <= 0] = 0
    weights = (alpha * np.maximum(gradient, 0)).sum(axis=(0, 1))
    expected = np.maximum((weights * a).sum(axis=-1), 0)
    found = GradCamPlusPlus(model).evidence(image, np.array([1]))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert np.abs(found - GradCam(model).evidence(image, np.array([1]))[0]).max() > 1e-3
