"""`--head-solver lbfgs` in a training: what it sets, that it is the same after a stop, which networks it fits."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from forked_trainings import losses
from striped_trainings import STEPS, comparable, model_weights, stop_after, train, with_

from engine.base.config import UserError
from engine.base.settings import TrainConfig
from engine.images.format import ImageFormat
from engine.networks import pooling
from engine.networks.training_form import training_form
from engine.pipeline.reading import StoredSplit
from engine.runs.run_directory import RunDirectory
from engine.training import checkpoints, head_solver, optimization, solved_head, trainer
from engine.training.weight_rates import WeightRates

pytestmark = pytest.mark.usefixtures("undrawn")
FORMAT = ImageFormat(image_size=(16, 16), channels=1)
SOLVED = with_(freeze_epochs=1, head_solver="lbfgs", body_rate=0.1, dropout=0.3)
PROBE = with_(SOLVED, fine_tune_from="none", epochs=1)
DEFAULTS = TrainConfig()
OWN = {
    name: getattr(DEFAULTS, name) for name in ("depth", "width", "dropout")
}  # of no use to others


def network(image_format=FORMAT, num_classes=2):
    """A network of a user's own, whose head takes means of the maps through a Normalization."""
    image = keras.Input(image_format.image_shape)
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Conv2D(6, 3, strides=2, activation="relu", name="body")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Normalization(name="standardized")(x)
    x = keras.layers.Dropout(0.2)(x)
    x = keras.layers.Dense(num_classes, activation="softmax", name="classifier")(x)
    return keras.Model(image, x)


def pooled(image_format=FORMAT, num_classes=2):
    """As the networks of `--pooling statistics` end."""
    image = keras.Input(image_format.image_shape)
    x = keras.layers.Rescaling(1 / 255)(image)
    first = keras.layers.Conv2D(6, 3, strides=2, activation="relu")(x)
    last = keras.layers.Conv2D(4, 3, activation="relu")(first)
    x = pooling.features(last, [first], pooling="statistics", dropout=0.2)
    return keras.Model(image, keras.layers.Dense(num_classes, "softmax", name="classifier")(x))


def convolutional(image_format, num_classes):
    image = keras.Input(image_format.image_shape)
    x = keras.layers.Conv2D(num_classes, 3, name="maps")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Softmax()(x))


def scaled(image_format, num_classes):
    image = keras.Input(image_format.image_shape)
    x = keras.layers.Flatten()(image)
    x = keras.layers.Dense(num_classes, name="classifier")(x)
    return keras.Model(image, keras.layers.Softmax()(keras.layers.Rescaling(0.5)(x)))


def loaded(run):
    return keras.saving.load_model(run.model)


def taken_by_head(model, images, name):
    return np.asarray(keras.Model(model.input, model.get_layer(name).output)(images))


def test_a_probe_solves_for_the_head_and_leaves_the_body(striped, undisturbed):
    result, run = undisturbed(PROBE)
    assert [row["learning_rate"] for row in result.history] == [0]
    model, split = loaded(run), StoredSplit(striped, "train").load(("image", "label"))
    features = taken_by_head(model, split["image"], model.layers[-3].name)
    kernel, bias = model.get_layer("logits").get_weights()
    logits = (features @ kernel + bias)[:, 0]
    assert np.mean((logits > 0) == split["label"]) >= 0.9
    # The steps of the epoch are counted, though none was taken.
    assert checkpoint_arrays(run)["optimizer/0000"] == STEPS


def checkpoint_arrays(run):
    return checkpoints.load_newest(run.checkpoints).arrays


@pytest.mark.parametrize("build, name", [(network, "standardized"), (pooled, "standardize")])
def test_the_head_is_the_best_one_on_the_features_and_the_history_says_how_good(
    striped, tmp_path, build, name
):
    config = with_(PROBE, **OWN, augment="none")
    result = train(striped, tmp_path / "run", config, model=build)
    model = loaded(RunDirectory(tmp_path / "run"))
    split = StoredSplit(striped, "train").load(("image", "label", "patient"))
    labels = split["label"]
    features = taken_by_head(model, split["image"], name)
    # The layer before the head has the statistics of the training images, also in the saved file.
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-3)
    deviation = features.std(axis=0)  # 0 where a channel is dead
    np.testing.assert_allclose(deviation[deviation > 0], 1, atol=1e-3)
    expected = head_solver.solve(
        features.astype(np.float64),
        labels,
        split["patient"],
        weights=len(labels) / (2 * np.bincount(labels)),
        units=2,
    )
    kernel, bias = model.get_layer("classifier").get_weights()
    np.testing.assert_allclose(kernel, expected.kernel, atol=0.01)
    np.testing.assert_allclose(bias, expected.bias, atol=0.01)
    row = result.history[0]
    assert row["loss"] == pytest.approx(expected.loss, rel=1e-3)
    assert row["accuracy"] == pytest.approx(expected.accuracy, abs=0.011)


@pytest.mark.parametrize("polls", [1, 3])
def test_a_run_stopped_while_or_after_it_is_solved_resumes_to_the_bit(
    striped, undisturbed, tmp_path, polls
):
    whole, run = undisturbed(SOLVED)
    stopped = train(striped, tmp_path / "parts", SOLVED, should_stop=stop_after(polls))
    assert stopped.stopped
    assert len(stopped.history) == (0 if polls == 1 else 1)
    resumed = train(striped, tmp_path / "parts", SOLVED, resume=True)
    assert comparable(resumed.history) == comparable(whole.history)
    one, other = checkpoint_arrays(run), checkpoint_arrays(RunDirectory(tmp_path / "parts"))
    assert one.keys() == other.keys()
    for key, array in one.items():
        np.testing.assert_array_equal(array, other[key])


def test_a_resumed_run_goes_by_the_statistics_before_the_head(striped, tmp_path):
    config = with_(SOLVED, **OWN)
    whole = train(striped, tmp_path / "whole", config, model=network)
    train(striped, tmp_path / "parts", config, model=network, should_stop=stop_after(4))
    resumed = train(striped, tmp_path / "parts", config, model=network, resume=True)
    assert comparable(resumed.history) == comparable(whole.history)
    for one, other in zip(
        model_weights(RunDirectory(tmp_path / "whole")),
        model_weights(RunDirectory(tmp_path / "parts")),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (convolutional, "this one's last weights are of 'maps'; use --head-solver adam"),
        (scaled, "what 'classifier' gives is changed behind it; use --head-solver adam"),
    ],
)
def test_a_network_that_does_not_end_in_a_dense_layer_is_an_error(
    striped, tmp_path, build, message
):
    with pytest.raises(UserError, match=message):
        train(striped, tmp_path / "run", with_(PROBE, **OWN), model=build)


@pytest.mark.parametrize("epochs", [0, 2])
def test_it_takes_one_epoch_of_the_head_alone(epochs):
    with pytest.raises(UserError, match=f"got --freeze-epochs {epochs}; give 1"):
        TrainConfig(head_solver="lbfgs", freeze_epochs=epochs)


@pytest.mark.parametrize("loss_scaling", [False, True])
def test_behind_it_all_weights_make_the_first_steps_of_an_adam_of_their_own(loss_scaling):
    head, body, alone = (keras.Variable(np.zeros(3), name="kernel") for _ in range(3))
    rates = WeightRates(factors=(1.0, 1.0), waiting=(True, True))
    optimizer = optimization.make_optimizer(
        "adam",
        learning_rate=0.01,
        schedule="constant",
        steps_per_epoch=10,
        epochs=2,
        warmup_epochs=0.0,
        weight_decay=0.0,
        ema_momentum=0.9,
        loss_scaling=loss_scaling,
        rates=rates,
    )
    optimizer.build([head, body])
    head.assign(np.full(3, 0.5))
    optimization.pass_over(optimizer, 10)
    optimizer.finalize_variable_values([head, body])
    np.testing.assert_array_equal(head, np.full(3, 0.5))  # averages start there
    alone.assign(head)
    expected = keras.optimizers.Adam(0.01)
    inner = optimization.inner(optimizer)
    for gradient in np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32):
        inner.apply_gradients([(gradient, head), (gradient, body)])
        expected.apply_gradients([(gradient, alone)])
    np.testing.assert_allclose(head, alone, rtol=1e-5)
    np.testing.assert_allclose(body, alone - 0.5, rtol=1e-4, atol=1e-7)
    assert int(inner.iterations.numpy()) == 15


def test_of_more_images_than_memory_is_given_for_the_first_ones_are_solved_for(
    striped, tmp_path, monkeypatch
):
    monkeypatch.setattr(solved_head, "_BATCH", 20)
    monkeypatch.setattr(solved_head, "_MOST_BYTES", 0)
    said = []
    trainer.train(PROBE, striped, tmp_path / "run", say=said.append)
    assert "the head is solved for on 20 of 100 images" in said


@pytest.mark.slow
def test_a_probe_in_mixed_precision_solves_in_full_precision(striped, tmp_path):
    config = with_(PROBE, **OWN, precision="mixed_bfloat16")
    result = train(striped, tmp_path / "run", config, model=network)
    row = result.history[0]
    exact = train(striped, tmp_path / "exact", with_(PROBE, **OWN), model=network).history[0]
    assert row["loss"] == pytest.approx(exact["loss"], rel=0.1)


@pytest.mark.slow
def test_devices_train_on_from_the_same_head(striped, tmp_path):
    one, two = losses(striped, tmp_path, (1, 2), freeze_epochs=1, head_solver="lbfgs")
    np.testing.assert_allclose(one, two, rtol=1e-4)


def test_normalization_in_compiled_functions_follows_its_variables():
    form = training_form(network())
    layer = next(one for one in form.network._flatten_layers() if one.name == "standardized")
    predict = tf.function(lambda images: form.network(images, training=False))
    images = tf.random.uniform((4, *FORMAT.image_shape)) * 255
    before = predict(images).numpy()
    layer.adapt_mean.assign(np.full(6, 3.0))
    after = predict(images).numpy()
    assert (before != after).any()
    np.testing.assert_allclose(after, form.network(images, training=False), rtol=1e-5)
