"""Features of a network: its feature maps at each resolution and what its last dense layer takes."""

import fake_run
import keras
import numpy as np
import tensorflow as tf
from built_in import small_model
from keras import layers

from engine.inference import network_features


def features_of(model, images):
    run = tf.function(network_features.watched(model), autograph=False)
    outputs, found = run(tf.constant(images))
    return np.asarray(outputs), {name: np.asarray(value) for name, value in found.items()}


def test_the_outputs_are_the_models_own_and_features_are_one_row_per_image():
    model = small_model(image_size=fake_run.IMAGE_SIZE)
    images = fake_run.grey_images([20, 120, 220])
    outputs, found = features_of(model, images)
    np.testing.assert_allclose(outputs, np.asarray(model(images, training=False)), atol=1e-6)
    assert len(found) >= 2
    assert all(values.shape[0] == 3 and values.ndim == 2 for values in found.values())
    taken = model.get_layer("logits").input
    expected = keras.Model(model.input, taken)(images, training=False)
    np.testing.assert_allclose(found[max(found)], np.asarray(expected), atol=1e-5)


class WithoutGraph(keras.Model):
    def __init__(self):
        super().__init__()
        self.convolution, self.head = layers.Conv2D(4, 3), layers.Dense(2)

    def call(self, images, training=False):
        maps = self.convolution(keras.ops.cast(images, "float32"))
        return self.head(keras.ops.mean(maps, axis=(1, 2)))


def test_models_that_compute_in_code_have_features_too():
    model, images = WithoutGraph(), fake_run.grey_images([20, 120, 220])
    model(images)
    _, found = features_of(model, images)
    assert [values.shape for values in found.values()] == [(3, 4)]


def test_a_model_without_weights_has_none():
    inputs = keras.Input((*fake_run.IMAGE_SIZE, 1), dtype="uint8")
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(layers.Rescaling(1 / 255)(inputs)))
    assert features_of(model, fake_run.grey_images([20, 120]))[1] == {}
