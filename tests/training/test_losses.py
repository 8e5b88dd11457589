import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from engine.base.config import UserError
from engine.base.settings import TrainConfig
from engine.training import losses, train_arguments
from engine.training.losses import cross_entropy_from_logits, focal_from_logits

LABELS = tf.constant([0, 1, 1, 0], tf.int64)
ONE = tf.constant([[-1.5], [0.3], [4.0], [90.0]])
FOCAL = functools.partial(focal_from_logits, gamma=2.0)


@pytest.mark.parametrize("loss", [cross_entropy_from_logits, FOCAL])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_of_a_sigmoid_equals_that_of_a_two_way_softmax(loss, smoothing):
    two = tf.concat([tf.zeros_like(ONE), ONE], axis=1)
    np.testing.assert_allclose(
        loss(LABELS, ONE, label_smoothing=smoothing),
        loss(LABELS, two, label_smoothing=smoothing),
        rtol=1e-5,
    )


def test_focal_with_gamma_0_is_the_cross_entropy_and_more_gamma_forgives_what_is_nearly_right():
    three = tf.constant(np.random.default_rng(0).normal(size=(4, 3)), tf.float32)
    for smoothing in (0.0, 0.1):
        np.testing.assert_allclose(
            focal_from_logits(LABELS, three, gamma=0.0, label_smoothing=smoothing),
            cross_entropy_from_logits(LABELS, three, label_smoothing=smoothing),
            rtol=1e-5,
        )
    ratio = FOCAL(LABELS, ONE) / cross_entropy_from_logits(LABELS, ONE)
    wrong = 1 - np.where(LABELS == 1, tf.sigmoid(ONE[:, 0]), 1 - tf.sigmoid(ONE[:, 0]))
    np.testing.assert_allclose(ratio, wrong**2, rtol=1e-4)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_has_finite_gradients_where_probabilities_are_0_and_1(gamma):
    logits = tf.constant([[-200.0, 200.0, 0.0], [200.0, -200.0, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = focal_from_logits(tf.constant([1, 1], tf.int64), logits, gamma=gamma)
    assert np.isfinite(loss).all()
    assert np.isfinite(tape.gradient(loss, logits)).all()


def test_validation_is_not_smoothed():
    objective = losses.choose("focal", label_smoothing=0.2)
    np.testing.assert_array_equal(objective.validation(LABELS, ONE), FOCAL(LABELS, ONE))
    assert (objective.training(LABELS, ONE) != FOCAL(LABELS, ONE)).numpy().any()


def squared(labels, logits):
    return (tf.sigmoid(logits[:, 0]) - tf.cast(labels, tf.float32)) ** 2


def test_a_function_given_in_python_is_named_for_the_record_and_used_as_it_is():
    config = train_arguments.with_loss(TrainConfig(), squared)
    assert config.loss == f"{__name__}:squared"
    objective = losses.choose(config.loss, squared, label_smoothing=0.3)
    objective.check(units=1)
    np.testing.assert_array_equal(objective.training(LABELS, ONE), squared(LABELS, ONE))
    assert train_arguments.with_loss(config, "focal").loss == "focal"
    assert train_arguments.with_loss(config, None) == config
    with pytest.raises(UserError, match="loss=3: expected"):
        train_arguments.with_loss(config, 3)
    with pytest.raises(UserError, match="--focal-gamma"):
        train_arguments.with_loss(TrainConfig(loss="focal", focal_gamma=1.0), squared)
    with pytest.raises(UserError, match="--label-smoothing applies to"):
        train_arguments.with_loss(TrainConfig(label_smoothing=0.3), squared)
    assert train_arguments.with_loss(TrainConfig(label_smoothing=0.0), squared)


def test_a_keras_loss_without_reduction_is_a_loss():
    given = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")
    objective = losses.choose("cross_entropy", given)
    objective.check(units=2)
    two = tf.concat([tf.zeros_like(ONE), ONE], axis=1)
    np.testing.assert_allclose(
        objective.training(LABELS, two), cross_entropy_from_logits(LABELS, two), rtol=1e-5
    )


@pytest.mark.parametrize(
    "loss",
    [
        keras.losses.BinaryCrossentropy(reduction="none"),
        keras.losses.SparseCategoricalCrossentropy(from_logits=False, reduction="none"),
        keras.losses.sparse_categorical_crossentropy,
    ],
)
def test_a_loss_of_probabilities_is_refused(loss):
    with pytest.raises(UserError, match="give from_logits=True") as raised:
        losses.choose("cross_entropy", loss)
    assert "\n" not in str(raised.value)
    given = functools.partial(keras.losses.sparse_categorical_crossentropy, from_logits=True)
    losses.choose("cross_entropy", given).check(units=2)


def broadcast(labels, logits):
    return tf.reduce_mean((logits - tf.cast(labels, tf.float32)) ** 2, axis=1)


def averaged(labels, logits):
    return squared(labels, logits) / tf.cast(tf.size(labels), tf.float32)


def squeezed(labels, logits):
    return tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(labels, tf.float32), tf.squeeze(logits))


@pytest.mark.parametrize("wrong", [broadcast, averaged])
def test_a_loss_that_mixes_examples_is_refused(wrong):
    with pytest.raises(UserError, match="depends on the others in its batch") as raised:
        losses.choose("own", wrong).check(units=1)
    assert "\n" not in str(raised.value)
    losses.choose("own", squeezed).check(units=1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (keras.losses.SparseCategoricalCrossentropy(from_logits=True), 'reduction="none"'),
        (lambda labels, logits: logits, r"shape \(2, 3\)"),
        (lambda labels: labels, "TypeError"),
    ],
)
def test_what_is_no_loss_is_refused_in_one_line(wrong, message):
    with pytest.raises(UserError, match=message) as raised:
        losses.choose("cross_entropy", wrong).check(units=3)
    assert "\n" not in str(raised.value)
