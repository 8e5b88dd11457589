"""What is saved computes what was trained, in stock layers and float32."""

import json
import subprocess
import sys
import zipfile

import built_in
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from refused_imports import PROJECT, without

from engine.base.settings import ModelSettings
from engine.images.format import ImageFormat
from engine.networks import registry, saved_models, stock
from engine.networks.training_form import training_form

SIZE = (24, 32)
IMAGES = np.random.default_rng(0).integers(0, 256, (3, *SIZE, 1), np.uint8)
# Loads a model as anyone would, where this project cannot be imported.
PROGRAM = """
import sys
import keras, numpy as np
model = keras.models.load_model(sys.argv[1])
assert all(layer.dtype_policy.name in ("float32", "uint8") for layer in model._flatten_layers())
np.save(sys.argv[3], model.predict(np.load(sys.argv[2]), verbose=0))
"""


@keras.saving.register_keras_serializable(package="test_stock")
class Doubled(layers.Layer):
    def call(self, inputs):
        return 2 * inputs


class Forgetful(layers.Layer):
    """Its configuration leaves out what it computes by."""

    def __init__(self, factor=1.0, **options):
        super().__init__(**options)
        self.factor = factor

    def get_config(self):
        return {"name": self.name, "dtype": "float32"}

    def call(self, inputs):
        return self.factor * inputs


class Subclassed(keras.Model):
    """Keras cannot tell from it how it was made."""

    def __init__(self, units):
        super().__init__()
        self.convolution = layers.Conv2D(4, 3)
        self.head = layers.Dense(units)

    def call(self, images, training=False):
        return self.head(ops.mean(self.convolution(images / 255.0), axis=(1, 2)))


def functional(*steps):
    inputs = x = keras.Input((*SIZE, 1))
    for step in steps:
        x = step(x)
    return keras.Model(inputs, x)


def nested():
    inside = keras.Sequential([keras.Input((*SIZE, 4)), layers.Conv2D(4, 3, name="c")])
    return functional(
        layers.Rescaling(1 / 255),
        layers.Conv2D(4, 3, padding="same", name="c"),
        layers.BatchNormalization(),
        inside,
        layers.SpatialDropout2D(0.5),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3, activation="softmax"),
    )


def awkward_names():
    return functional(
        layers.Conv2D(4, 3, activation="relu", name="logits"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(1, activation="sigmoid", name="probabilities"),
    )


def with_layer(layer):
    return functional(layer, layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), layers.Dense(2))


def averaged_down():
    """The cnn on images that it first averages to two thirds."""
    image_format = ImageFormat(image_size=SIZE, channels=1)
    config = ModelSettings(depth=2, width=4, image_size=(16, 20))
    return registry.build(registry.resolve("cnn"), config, image_format, 2)


MODELS = {
    "cnn": lambda: built_in.small_model(image_size=SIZE),
    "averaged": averaged_down,
    "batch": lambda: built_in.small_model(image_size=SIZE, normalization="batch"),
    "group": lambda: built_in.small_model(image_size=SIZE, normalization="group", num_classes=3),
    "tutorial": lambda: built_in.small_model("tutorial", image_size=SIZE),
    "nested": nested,
    "names": awkward_names,
}


def stirred(model):
    """Random weights throughout, so that no part of a layer is at its start."""
    random = np.random.default_rng(1)
    for variable in model.variables:
        if "seed_generator" not in variable.path:
            values = variable.numpy().astype(np.float32)
            variable.assign(values + random.uniform(0.05, 0.2, values.shape))
    return model


def saved(model, tmp_path, **options):
    """(training form, path of the model file, what was said)"""
    said = []
    form = training_form(model, image_shape=(*SIZE, 1), **options)
    path = tmp_path / "model.keras"
    stock.StockModel(model, form, say=said.append).save(path)
    return form, path, said


def probabilities_of(form):
    logits = form.network(tf.cast(IMAGES, tf.float32), training=False)
    activate = ops.sigmoid if form.activation == "sigmoid" else ops.softmax
    return np.asarray(activate(logits))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_saved_model_equals_the_training_form(name, tmp_path):
    form, path, said = saved(stirred(MODELS[name]()), tmp_path)
    model = keras.models.load_model(path)
    assert not said
    assert [layer.name for layer in model.layers[-2:]] == ["logits", "probabilities"]
    assert model.input.dtype == "uint8" and model.output.dtype == "float32"
    found = model(IMAGES, training=False)
    np.testing.assert_allclose(found, probabilities_of(form), atol=1e-5)
    for layer in model._flatten_layers():
        assert type(layer).__module__.startswith("keras.")


@pytest.mark.parametrize("name", ["cnn", "nested"])
def test_of_bfloat16_it_is_as_close_as_that_precision_and_comes_back_in_it(name, tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        form, path, _ = saved(stirred(MODELS[name]()), tmp_path)
    finally:
        keras.config.set_dtype_policy("float32")
    expected = probabilities_of(form)
    in_float32 = saved_models.load(path)
    assert {layer.compute_dtype for layer in in_float32.layers[1:]} == {"float32"}
    np.testing.assert_allclose(in_float32(IMAGES), expected, atol=0.03)
    lowered = saved_models.load(path, precisions=("mixed_bfloat16",))
    np.testing.assert_allclose(lowered(IMAGES), expected, atol=0.01)
    precisions = [layer.compute_dtype for layer in lowered.layers if layer.weights]
    assert "bfloat16" in precisions
    assert lowered.get_layer("probabilities").compute_dtype == "float32"


def test_large_logits_of_bfloat16_are_no_reason_against_a_copy(tmp_path):
    """On images unlike those trained on, that precision moves them by more than a whole number."""
    with saved_models.dtype_policy("mixed_bfloat16"):
        model = stirred(MODELS["cnn"]())
        logits = model.get_layer("logits")
        logits.kernel.assign(1000 * logits.kernel)
        form, path, said = saved(model, tmp_path)
        same_precision = stock._compared(form, stock._copy_of(form, name="cnn"), name="cnn")
    assert not said
    for layer in keras.models.load_model(path)._flatten_layers():
        assert type(layer).__module__.startswith("keras.")
    expected = form.network(tf.cast(IMAGES, tf.float32), training=False)
    np.testing.assert_array_equal(same_precision(IMAGES), expected)


def test_a_process_without_this_project_loads_it(tmp_path):
    form, path, _ = saved(stirred(MODELS["cnn"]()), tmp_path)
    images, found = tmp_path / "images.npy", tmp_path / "found.npy"
    np.save(images, IMAGES)
    done = subprocess.run(
        [sys.executable, "-I", "-c", without(PROJECT, PROGRAM), path, images, found],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(found), probabilities_of(form), atol=1e-5)


def test_every_save_holds_the_weights_as_they_are_then(tmp_path):
    model = MODELS["cnn"]()
    form = training_form(model)
    writer = stock.StockModel(model, form)
    for _ in range(2):
        stirred(model)
        writer.save(tmp_path / "model.keras")
        found = keras.models.load_model(tmp_path / "model.keras")(IMAGES)
        np.testing.assert_allclose(found, probabilities_of(form), atol=1e-5)


def test_equal_weights_make_equal_files_of_weights(tmp_path):
    contents = []
    for number in range(2):
        keras.utils.set_random_seed(number)  # dropout draws a seed of its own
        directory = tmp_path / str(number)
        directory.mkdir()
        model = nested()
        for variable in model.variables:
            if "seed_generator" not in variable.path:
                variable.assign(np.full(variable.shape, 0.1))
        _, path, _ = saved(model, directory)
        loaded = keras.models.load_model(path)
        contents.append([variable.numpy() for variable in loaded.variables])
    for first, second in zip(*contents, strict=True):
        np.testing.assert_array_equal(first, second)


def test_layers_of_the_users_own_are_kept_and_named(tmp_path):
    form, path, said = saved(stirred(with_layer(Doubled())), tmp_path)
    assert len(said) == 1 and "(Doubled)" in said[0] and "needs their code" in said[0]
    assert "is a copy of the network in float32" in said[0]
    found = keras.models.load_model(path)(IMAGES)
    np.testing.assert_allclose(found, probabilities_of(form), atol=1e-5)


def test_a_lambda_layer_is_said_to_need_safe_mode_off(tmp_path):
    _, path, said = saved(with_layer(layers.Lambda(lambda x: x / 255)), tmp_path)
    assert len(said) == 1 and said[0].endswith("loading it needs safe_mode=False")
    assert keras.models.load_model(path, safe_mode=False).output.dtype == "float32"


def test_a_copy_that_would_compute_something_else_is_not_saved(tmp_path):
    form, _, said = saved(model := with_layer(Forgetful(3.0)), tmp_path)
    stock_model = stock.StockModel(model, form, say=lambda line: None).up_to_date()
    np.testing.assert_allclose(stock_model(IMAGES), probabilities_of(form), atol=1e-5)
    assert len(said) == 1 and "as it is, in float32" in said[0]
    assert "computes something else)" in said[0]


def test_a_subclassed_model_is_saved_as_it_is(tmp_path):
    form, path, said = saved(stirred_after_a_call(Subclassed(2)), tmp_path, outputs="logits")
    assert len(said) == 1 and "(Subclassed computes its outputs in code)" in said[0]
    assert "because they have no get_config method" in said[0]
    again = Subclassed(2)
    other = training_form(again, image_shape=(*SIZE, 1), outputs="logits")
    loaded = stock.StockModel(again, other, say=lambda line: None).up_to_date()
    loaded.load_weights(path)
    np.testing.assert_allclose(loaded(IMAGES), probabilities_of(form), atol=1e-5)


class EndsInSigmoid(Subclassed):
    def call(self, images, training=False):
        return ops.sigmoid(super().call(images, training=training))


@pytest.mark.parametrize(
    ("make", "outputs"), [(EndsInSigmoid, "probabilities"), (Subclassed, "logits")]
)
@pytest.mark.parametrize("built_again", [True, False])
def test_what_is_saved_as_it_is_gives_float32_after_training_in_bfloat16(
    make, outputs, built_again
):
    said = []
    with saved_models.dtype_policy("mixed_bfloat16"):
        model = stirred_after_a_call(make(1))
        form = training_form(model, image_shape=(*SIZE, 1), outputs=outputs)
        build = (lambda: make(1)) if built_again else None
        writer = stock.StockModel(model, form, build=build, say=said.append)
        stock_model = writer.up_to_date()
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    found = np.asarray(stock_model(IMAGES))
    assert found.dtype == np.float32 and stock_model.output.dtype == "float32"
    np.testing.assert_allclose(found, probabilities_of(form), atol=0.01)
    precisions = {layer.dtype_policy.name for layer in stock_model._flatten_layers()}
    in_float32 = "mixed_bfloat16" not in precisions
    assert in_float32 == built_again
    expected = "as it is, in float32, " if built_again else "in mixed_bfloat16 with outputs in"
    assert expected in said[0]
    stirred(model)  # a later epoch's weights
    np.testing.assert_allclose(writer.up_to_date()(IMAGES), probabilities_of(form), atol=0.01)


class Negated(Subclassed):
    def call(self, images, training=False):
        return -super().call(images, training=training)


def test_a_builder_of_another_model_is_not_used_for_the_file():
    with saved_models.dtype_policy("mixed_bfloat16"):
        model = stirred_after_a_call(Subclassed(1))
        form = training_form(model, image_shape=(*SIZE, 1), outputs="logits")
        writer = stock.StockModel(model, form, build=lambda: Negated(1), say=lambda line: None)
        stock_model = writer.up_to_date()
    np.testing.assert_allclose(stock_model(IMAGES), probabilities_of(form), atol=0.01)


def stirred_after_a_call(model):
    model(IMAGES.astype(np.float32))
    return stirred(model)


def test_the_precision_of_the_training_is_noted_beside_what_keras_reads(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        _, path, _ = saved(nested(), tmp_path)
    finally:
        keras.config.set_dtype_policy("float32")
    with zipfile.ZipFile(path) as archive:
        noted = json.loads(archive.read(saved_models.PRECISION))
    assert noted["policy"] == "mixed_bfloat16"
    assert "c" in noted["layers"] and any(name.endswith("/c") for name in noted["layers"])


def test_the_dtype_policy_is_put_back_even_after_an_error():
    before = keras.config.dtype_policy().name
    with pytest.raises(RuntimeError), saved_models.dtype_policy("mixed_bfloat16"):
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        raise RuntimeError
    assert keras.config.dtype_policy().name == before
