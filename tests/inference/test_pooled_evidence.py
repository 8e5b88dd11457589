"""Evidence of classifiers on statistics: it adds up to the score, and lies where the image speaks for it."""

import keras
import numpy as np
import pytest
from built_in import small_model

from engine.inference import explanation, pooled_evidence
from engine.inference.grad_cam import GradCam
from engine.inference.pooled_evidence import PooledEvidence
from engine.networks import ends, pooling

SIZE = (32, 40)


def network(num_classes=2, **options):
    """The engine's own, with a head that has seen some data: other than zero on average, and weights."""
    model = small_model("cnn", image_size=SIZE, num_classes=num_classes, depth=3, **options)
    rng = np.random.default_rng(1)
    layer = model.get_layer(ends.STANDARDIZE)
    layer.moving_mean.assign(rng.uniform(0, 1, layer.moving_mean.shape))
    layer.moving_variance.assign(rng.uniform(0.5, 2, layer.moving_variance.shape))
    kernel, bias = model.get_layer(ends.LOGITS).get_weights()
    model.get_layer(ends.LOGITS).set_weights([kernel, rng.normal(size=bias.shape)])
    return model


def images(count=3):
    return np.random.default_rng(0).integers(0, 256, (count, *SIZE, 1), np.uint8)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_contributions_add_up_to_the_logit(num_classes):
    model = network(num_classes)
    logits = keras.Model(model.input, model.get_layer(ends.LOGITS).output)(images()).numpy()
    bias = model.get_layer(ends.LOGITS).get_weights()[1]
    for index in range(num_classes):
        found = PooledEvidence(model).contributions(images(), np.full(3, index))
        column, sign = (0, 2 * index - 1) if num_classes == 2 else (index, 1)
        expected = sign * (logits - bias)[:, column]
        np.testing.assert_allclose(found.sum(axis=(1, 2)), expected, rtol=1e-3, atol=1e-3)


def test_evidence_is_as_coarse_as_the_last_map_and_relative_to_the_strongest_place():
    maps = PooledEvidence(network())(images(), np.array([0, 1, 1]))
    assert maps.shape == (3, 4, 5)
    assert maps.min() >= 0
    # On noise, nothing need speak for the first image's class anywhere.
    np.testing.assert_allclose(maps.max(axis=(1, 2))[1:], 1, rtol=1e-5)
    assert maps[0].max() == pytest.approx(1) or not maps[0].any()


def textured(weights):
    """A model that looks at one early map, whose channel is the image; `weights` of mean and deviation."""
    image = keras.Input((*SIZE, 1), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(image)
    early = keras.layers.Conv2D(1, 1, kernel_initializer="ones", name="early")(x)
    last = keras.layers.MaxPooling2D(8, name="last")(early)
    x = pooling.features(last, [early], pooling="statistics", dropout=0.0)
    model = ends.classifier(image, x, num_classes=2, head="auto", name="textured")
    model.get_layer(ends.LOGITS).set_weights([np.array([*weights, 0, 0])[:, None], np.zeros(1)])
    return model


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0)])
def test_means_and_deviations_of_early_maps_count_where_they_come_from(weights):
    image = np.zeros((1, *SIZE, 1), np.uint8)
    image[0, 8:16, 24:32] = 255
    model = textured(weights)
    evidence = explanation.of_model(model)(image, np.array([1]))[0]
    assert np.unravel_index(evidence.argmax(), evidence.shape) == (1, 3)
    assert np.sort(evidence.ravel())[-2] < 0.2
    assert not explanation.of_model(model)(image, np.array([0])).any()


def test_the_maps_are_those_that_statistics_are_of():
    model = network()
    maps = pooled_evidence.pooled_maps(model.get_layer(pooling.STATISTICS))
    assert [tuple(one.shape[1:3]) for one in maps] == [(16, 20), (8, 10), (4, 5)]


def test_it_is_for_classifiers_on_statistics_and_a_named_layer_is_looked_at_by_itself():
    assert isinstance(explanation.of_model(network()), PooledEvidence)
    chosen = explanation.of_model(network(), layer="last_convolution")
    assert isinstance(chosen, GradCam) and chosen.layer == "last_convolution"
    averaged = small_model("cnn", image_size=SIZE, num_classes=2, depth=3, pooling="average")
    fallback = explanation.of_model(averaged, default="last_convolution")
    assert isinstance(fallback, GradCam) and fallback.layer == "last_convolution"
