"""Flip averaging is the mean log-odds of an image and its mirror image, of a run and of several."""

import fake_run
import numpy as np
import pytest
from scipy import special

from engine.inference import ensemble
from engine.inference.predictor import Predictor
from engine.metrics.temperature import Calibration
from engine.runs import ensemble as runs

NAMES = ("dark", "grey", "light")


def left_model(num_classes):
    """As the fake run's, of the mean grey level of the left half alone."""
    import keras
    from keras import layers

    height, width = fake_run.IMAGE_SIZE
    inputs = keras.Input((height, width, 1), dtype="uint8")
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Cropping2D(((0, 0), (0, width // 2)))(x)
    x = layers.GlobalAveragePooling2D()(x)
    units = 1 if num_classes == 2 else num_classes
    logits = layers.Dense(units, name="logits")(x)
    activation = "sigmoid" if num_classes == 2 else "softmax"
    model = keras.Model(inputs, layers.Activation(activation)(logits))
    random = np.random.default_rng(num_classes)
    weights = random.normal(0, 6, (1, units)), random.normal(0, 1, units)
    model.get_layer("logits").set_weights(weights)
    return model


@pytest.fixture(scope="module")
def images():
    """Half dark and half light, so that mirroring matters."""
    found = fake_run.grey_images(np.arange(10) * 20)
    found[:, :, 8:] = 255 - found[:, :, 8:]
    return found


def make_run(directory, num_classes, calibration):
    names = fake_run.CLASS_NAMES if num_classes == 2 else NAMES
    return fake_run.make_run(
        directory, class_names=names, model=left_model(num_classes), calibration=calibration
    )


@pytest.mark.parametrize("calibrated", [True, False])
@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_logits_of_both_are_averaged(tmp_path, images, num_classes, calibrated):
    prior = tuple(np.full(num_classes, 1 / num_classes))
    run = make_run(tmp_path, num_classes, Calibration(1.7, prior) if calibrated else None)
    plain = Predictor.load(run, batch_size=4)
    there, mirrored = (plain.outputs(each).log_odds for each in (images, images[:, :, ::-1]))
    assert np.abs(there - mirrored).max() > 0.5
    found = Predictor.load(run, batch_size=4, flip_average=True).outputs(images)
    if num_classes == 2:
        np.testing.assert_allclose(found.log_odds, (there + mirrored) / 2, atol=1e-6)
        np.testing.assert_allclose(found.probabilities, special.expit(found.log_odds), atol=1e-7)
    else:
        logs = special.log_expit(there) + special.log_expit(mirrored)
        expected = special.softmax(logs / 2, axis=1)
        np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
        np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-9)
    mirror_first = Predictor.load(run, batch_size=4, flip_average=True).outputs(images[:, :, ::-1])
    np.testing.assert_allclose(mirror_first.log_odds, found.log_odds, atol=1e-6)


def test_of_several_runs_each_averages_and_a_prevalence_is_added_once(tmp_path, images):
    calibration = Calibration(1.3, (0.5, 0.5))
    paths = [make_run(tmp_path / str(n), 2, calibration) for n in range(2)]
    alone = Predictor.load(paths[0], batch_size=4, flip_average=True).outputs(images)
    together = ensemble.load(runs.opened(paths), batch_size=4, flip_average=True)
    assert together.flip_average
    found = together.outputs(images)
    np.testing.assert_allclose(found.log_odds, alone.log_odds, atol=1e-6)
    moved = together.at_prevalence((0.9, 0.1)).outputs(images)
    np.testing.assert_allclose(moved.log_odds, found.log_odds + np.log(0.1 / 0.9), atol=1e-6)
    again = found.at_prevalence(together.contract.calibration or calibration, (0.9, 0.1))
    np.testing.assert_allclose(again.probabilities, moved.probabilities, atol=1e-6)
    np.testing.assert_allclose(again.spread, moved.spread, atol=1e-6)
