"""Feature maps are found in any Keras model, and finding them leaves the model as it was."""

import re

import keras
import numpy as np
import pytest
from keras import layers, ops

from engine.base.config import UserError
from engine.inference import feature_maps


def backbone(name="backbone"):
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
    return keras.Model(inputs, layers.ReLU(name="act")(x), name=name)


class Pair(layers.Layer):
    """Adds a convolution to its input: the sum is in no layer of its own."""

    def __init__(self, **options):
        super().__init__(**options)
        self.inner = layers.Conv2D(4, 1, name="inner")

    def call(self, x):
        return x + self.inner(x)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.convolution = layers.Conv2D(4, 3, name="convolution")
        self.head = layers.Dense(1, name="head")

    def call(self, images, training=False):
        x = ops.relu(self.convolution(ops.cast(images, "float32")))
        return self.head(ops.mean(x, axis=(1, 2)))


def functional(*steps):
    inputs = x = keras.Input((8, 8, 3))
    for step in steps:
        x = step(x)
    return keras.Model(inputs, layers.Dense(1)(layers.GlobalAveragePooling2D()(x)))


def subclassed():
    model = Subclassed()
    return keras.Sequential([keras.Input((8, 8, 3)), model])


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (lambda: functional(backbone()), ["backbone/conv", "backbone/act"]),
        (
            lambda: functional(keras.Sequential([backbone("inside")], name="around")),
            ["around/inside/conv", "around/inside/act"],
        ),
        (
            lambda: functional(layers.Conv2D(4, 1, name="c"), Pair(name="pair")),
            ["c", "pair/inner", "pair"],
        ),
        (lambda: functional(layers.Conv2D(2, 1, name="c"), lambda x: ops.relu(x)), ["c", "relu"]),
        (subclassed, ["subclassed/convolution"]),
        (lambda: functional(layers.Rescaling(2.0)), []),
        (lambda: functional(layers.Conv2D(2, 8, name="one_place")), []),
    ],
)
def test_maps_are_found_in_the_order_in_which_they_are_computed(model, expected):
    found = feature_maps.find(model())
    numbered = r"_\d+(?=/|$)"  # Keras numbers names that the process has used before
    assert [re.sub(numbered, "", path) for path in found] == expected


def test_observing_leaves_the_model_as_it_was():
    model = functional(backbone(), Pair())
    inner = model.get_layer("backbone").get_layer("act")
    inner.call = kept = lambda x: 2 * x
    images = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    before = np.asarray(model(images))
    seen = []
    with feature_maps.observed(model, lambda path, layer, output: seen.append(path)):
        np.testing.assert_array_equal(np.asarray(model(images)), before)
    count = len(seen)
    assert count and inner.call is kept
    assert all("call" not in vars(layer) for layer in model._flatten_layers() if layer is not inner)
    np.testing.assert_array_equal(np.asarray(model(images)), before)
    assert len(seen) == count


def test_a_shared_layer_counts_by_its_last_call_and_is_restored():
    shared = layers.Conv2D(3, 1, name="shared")
    model = functional(shared, layers.ReLU(name="between"), shared)
    assert feature_maps.find(model) == ["between", "shared"]
    assert "call" not in vars(shared)


def test_names_are_paths_or_their_ends_and_must_be_unambiguous():
    paths = ["a/conv", "b/conv", "b/act"]
    assert feature_maps.choose(paths, None) == "b/act"
    assert feature_maps.choose(paths, "a/conv") == "a/conv"
    assert feature_maps.choose(paths, "act") == "b/act"
    with pytest.raises(UserError, match="several of the model's: a/conv, b/conv"):
        feature_maps.choose(paths, "conv")
    with pytest.raises(UserError, match="28 earlier ones, layer28, "):
        feature_maps.choose([f"layer{i}" for i in range(40)], "other")


def test_the_last_map_of_each_size_and_its_values():
    model = functional(
        layers.Conv2D(4, 3, padding="same", name="a"),
        layers.ReLU(name="b"),
        layers.MaxPooling2D(name="c"),
        layers.Conv2D(2, 1, name="d"),
        lambda x: ops.cast(x, "float32"),
    )
    assert feature_maps.last_of_each_size(model) == ["b", "d"]
    images = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    found = feature_maps.values(model, ["b", "d"], images)
    assert {path: one.shape for path, one in found.items()} == {
        "b": (2, 8, 8, 4),
        "d": (2, 4, 4, 2),
    }
    expected = keras.Model(model.input, model.get_layer("d").output)(images)
    np.testing.assert_allclose(found["d"], np.asarray(expected), rtol=1e-6)
