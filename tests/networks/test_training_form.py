import keras
import numpy as np
import pytest
import tensorflow as tf
from built_in import small_model
from keras import layers, ops

from engine.base import counter_random
from engine.base.config import UserError
from engine.networks import keyed_dropout
from engine.networks.training_form import training_form

SHAPE = (8, 6, 1)
IMAGES = np.random.default_rng(0).integers(0, 256, (5, *SHAPE), dtype=np.uint8)


def functional(*ends, dtype="float32", units=1):
    inputs = keras.Input(SHAPE, dtype=dtype)
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Flatten()(x)
    x = layers.Dense(units, activation=None)(x) if ends else layers.Dense(units)(x)
    for end in ends:
        x = end(x)
    return keras.Model(inputs, x)


def ended_by_dense(activation, units):
    return keras.Sequential(
        [keras.Input(SHAPE), layers.Flatten(), layers.Dense(units, activation=activation)]
    )


class Subclassed(keras.Model):
    def __init__(self, activation=None):
        super().__init__()
        self.flatten, self.dense = layers.Flatten(), layers.Dense(1, activation=activation)

    def call(self, images, training=False):
        return self.dense(self.flatten(ops.cast(images, "float32") / 255))


def nested(units=3):
    inside = keras.Sequential(
        [
            keras.Input(SHAPE, dtype="uint8"),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dense(units, activation="softmax"),
        ]
    )
    inputs = keras.Input(SHAPE, dtype="uint8")
    return keras.Model(inputs, inside(inputs))


MODELS = {
    "sigmoid layer": lambda: functional(layers.Activation("sigmoid")),
    "sigmoid in dense": lambda: ended_by_dense("sigmoid", 1),
    "softmax in dense": lambda: ended_by_dense("softmax", 3),
    "softmax layer": lambda: functional(layers.Softmax(), units=3, dtype="uint8"),
    "softmax operation": lambda: functional(ops.softmax, units=3),
    "probabilities cast": lambda: functional(
        layers.Activation("sigmoid"), layers.Activation("linear", dtype="float32")
    ),
    "nested, of integers": nested,
    "logits": lambda: functional(),
    "logits of integers": lambda: functional(dtype="uint8", units=3),
    "built in": lambda: small_model(image_size=SHAPE[:2], depth=2),
}


def probabilities(form, pixels):
    logits = form.network(pixels)
    return np.asarray(getattr(ops, form.activation)(logits))


@pytest.mark.parametrize("name", MODELS)
def test_logits_give_the_models_own_probabilities(name):
    model = MODELS[name]()
    form = training_form(model)
    assert form.outputs == ("logits" if "logits" in name else "probabilities")
    own = model(IMAGES)
    if form.outputs == "logits":
        own = getattr(ops, form.activation)(own)
    np.testing.assert_allclose(probabilities(form, IMAGES.astype(np.float32)), own, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_the_form_shares_every_variable_and_takes_fractions(name):
    model = MODELS[name]()
    form = training_form(model)
    assert {id(v) for v in form.network.variables} == {id(v) for v in model.variables}
    pixels = IMAGES.astype(np.float32)
    fractions = 0.4 * np.linspace(0, 1, SHAPE[1], dtype=np.float32)[None, None, :, None]
    assert np.abs(form.network(pixels + fractions) - form.network(pixels)).max() > 0
    for variable in model.trainable_variables:
        variable.assign(variable * 0 + 0.01)
    own = model(IMAGES)
    if form.outputs == "logits":
        own = getattr(ops, form.activation)(own)
    np.testing.assert_allclose(probabilities(form, pixels), own, atol=1e-6)


@pytest.mark.parametrize(
    ("activation", "outputs"), [(None, "logits"), ("sigmoid", "probabilities")]
)
def test_a_subclassed_model_needs_to_be_told_and_then_works(activation, outputs):
    with pytest.raises(UserError, match="--model-outputs"):
        training_form(Subclassed(activation), image_shape=SHAPE)
    model = Subclassed(activation)
    form = training_form(model, image_shape=SHAPE, outputs=outputs)
    own = model(IMAGES)
    if outputs == "logits":
        own = ops.sigmoid(own)
    np.testing.assert_allclose(probabilities(form, IMAGES.astype(np.float32)), own, atol=1e-5)
    assert len(form.network.trainable_variables) == 2


def test_a_saturated_probability_keeps_its_gradient():
    model = ended_by_dense("sigmoid", 1)
    model.layers[-1].bias.assign([60.0])
    form = training_form(model)
    with tf.GradientTape() as tape:
        logits = form.network(IMAGES.astype(np.float32) * 0)
        loss = tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(tf.zeros_like(logits), logits))
    gradient = tape.gradient(loss, model.layers[-1].bias.value)
    np.testing.assert_allclose(gradient, [len(IMAGES)], rtol=1e-5)


def test_mixed_precision_gives_float32_logits():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        forms = [training_form(MODELS[name]()) for name in ("softmax in dense", "logits")]
    finally:
        keras.config.set_dtype_policy("float32")
    for form in forms:
        assert form.network(IMAGES.astype(np.float32)).dtype == "float32"


def test_dropout_by_keys_is_the_same_in_any_division_of_a_batch():
    model = functional(layers.Dropout(0.5), layers.Dense(1))
    form = training_form(model)
    assert form.has_dropout and not form.unkeyed
    keys = counter_random.row_keys(np.arange(5), seed=0, epoch=0)
    pixels = IMAGES.astype(np.float32)
    with keyed_dropout.keyed(keys):
        whole = np.asarray(form.network(pixels, training=True))
    with keyed_dropout.keyed(keys[3:]):
        part = np.asarray(form.network(pixels[3:], training=True))
    np.testing.assert_allclose(part, whole[3:], rtol=1e-6)


def test_random_layers_have_their_state_among_the_variables():
    model = functional(layers.GaussianNoise(1.0, name="noise"), layers.Dense(1))
    form = training_form(model)
    assert form.unkeyed == ("noise",)
    pixels = IMAGES.astype(np.float32)
    saved = [variable.numpy() for variable in model.variables]
    first = np.asarray(form.network(pixels, training=True))
    assert np.abs(form.network(pixels, training=True) - first).max() > 0
    for variable, value in zip(model.variables, saved, strict=True):
        variable.assign(value)
    np.testing.assert_array_equal(form.network(pixels, training=True), first)


def test_batch_normalization_is_synchronized_where_asked():
    model = keras.Sequential(
        [keras.Input(SHAPE), layers.BatchNormalization(), layers.Flatten(), layers.Dense(1)]
    )
    training_form(model)
    assert not model.layers[0].synchronized
    training_form(model, synchronized=True)
    assert model.layers[0].synchronized


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: ended_by_dense("relu", 1), "relu"),
        (lambda: ended_by_dense("softmax", 1), "always 1"),
        (lambda: ended_by_dense("sigmoid", 2), "sigmoid of 2 units"),
        (lambda: functional(layers.Softmax(), layers.Dropout(0.1), units=2), "--model-outputs"),
        (lambda: functional(layers.Softmax(), layers.Reshape((2,)), units=2), "--model-outputs"),
        (lambda: functional(layers.Reshape((1, 1))), r"\[B, 1, 1\]"),
        (lambda: functional(units=5), r"\[B, 5\].*\[B, 1\] or \[B, 2\], for 2 classes"),
        (lambda: keras.Sequential([keras.Input((7,)), layers.Dense(1)]), "batch of images"),
        (
            lambda: keras.Sequential([keras.Input((9, 9, 1)), layers.Flatten(), layers.Dense(1)]),
            r"\(9, 9, 1\)",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(model, message):
    with pytest.raises(UserError, match=message) as caught:
        training_form(model(), image_shape=SHAPE, num_classes=2)
    assert "\n" not in str(caught.value)


def test_logits_said_of_a_model_are_taken_as_they_come():
    model = functional(layers.Softmax(), layers.Dropout(0.1), units=2)
    form = training_form(model, num_classes=2, outputs="logits")
    np.testing.assert_allclose(form.network(IMAGES.astype(np.float32)), model(IMAGES))
    form = training_form(model, num_classes=2, outputs="probabilities")
    np.testing.assert_allclose(
        probabilities(form, IMAGES.astype(np.float32)), model(IMAGES), atol=1e-6
    )
