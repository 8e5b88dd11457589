"""One Keras model gives what the run gives: calibration, prevalence and the average of several runs included."""

import json
import zipfile

import fake_run
import keras
import numpy as np
import pytest
from keras import layers

from engine.inference import ensemble as predictors
from engine.inference import precision, predictor
from engine.inference.export import calibrated_model, verification
from engine.inference.predictor import wanted_prevalence
from engine.metrics.temperature import Calibration
from engine.networks import saved_models
from engine.runs import contract, ensemble

IMAGES = fake_run.grey_images(range(0, 256, 9))
COLOURS = fake_run.grey_images(range(0, 256, 9), channels=3)
THREE = {"class_names": ("a", "b", "c"), "channels": 3}
EVEN = Calibration(1.7, (0.5, 0.5))


def probabilities_only(channels=1):
    """A model without a layer of logits, as others make them."""
    model = fake_run.brightness_model(2, channels)
    x = layers.Dense(1, activation="sigmoid", name="head")(model.layers[-3].output)
    found = keras.Model(model.input, x)
    found.get_layer("head").set_weights([np.array([[9.0]]), np.array([-4.0])])
    return found


def two_columns():
    """A softmax over two classes."""
    model = fake_run.brightness_model()
    logits = layers.Dense(2, name="logits")(model.layers[-3].output)
    found = keras.Model(model.input, layers.Activation("softmax")(logits))
    found.get_layer("logits").set_weights([np.array([[1.0, 9.0]]), np.array([0.5, -4.0])])
    return found


def check(run, images, prevalence=None):
    expected = predictors.load(run, prevalence=prevalence).predict(images)
    shares = wanted_prevalence(contract.read(run), prevalence)
    found = calibrated_model.build(run, prevalence=shares).predict(images, verbose=0)
    np.testing.assert_allclose(found, verification.both_columns(expected), atol=2e-6)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("prevalence", [None, "0.1"])
@pytest.mark.parametrize("model", [None, probabilities_only, two_columns])
def test_two_classes(tmp_path, model, prevalence):
    built = None if model is None else model()
    run = fake_run.make_run(tmp_path / "run", calibration=EVEN, model=built)
    check(ensemble.opened(run), IMAGES, prevalence)


def test_a_run_without_calibration(tmp_path):
    check(ensemble.opened(fake_run.make_run(tmp_path / "run", threshold=None)), IMAGES)


@pytest.mark.parametrize("prevalence", [None, "0.7,0.2,0.1"])
def test_three_classes(tmp_path, prevalence):
    calibration = Calibration(0.6, (0.2, 0.3, 0.5))
    run = fake_run.make_run(tmp_path / "run", calibration=calibration, **THREE)
    check(ensemble.opened(run), COLOURS, prevalence)


@pytest.mark.parametrize("prevalence", [None, "0.2"])
def test_an_average_of_two_classes(tmp_path, prevalence):
    first = fake_run.make_run(tmp_path / "a", calibration=EVEN)
    second = fake_run.make_run(
        tmp_path / "b", calibration=Calibration(0.5, (0.3, 0.7)), model=probabilities_only()
    )
    check(ensemble.opened([first, second]), IMAGES, prevalence)


def test_an_average_of_three_classes(tmp_path):
    runs = [
        fake_run.make_run(tmp_path / str(t), calibration=Calibration(t, (0.2, 0.3, 0.5)), **THREE)
        for t in (0.5, 2.0, 4.0)
    ]
    check(ensemble.opened(runs), COLOURS, "0.7,0.2,0.1")


def test_probabilities_of_exactly_0_and_1_stay_finite(tmp_path):
    model = probabilities_only()
    model.get_layer("head").set_weights([np.array([[1000.0]]), np.array([-500.0])])
    run = fake_run.make_run(tmp_path / "run", calibration=EVEN, model=model)
    found = calibrated_model.build(ensemble.opened(run)).predict(IMAGES, verbose=0)
    assert np.isfinite(found).all()
    assert found[0, 1] < 1e-4 < 1 - 1e-4 < found[-1, 1]


def test_it_is_saved_and_loaded_as_stock_keras(tmp_path):
    run = fake_run.make_run(tmp_path / "run", calibration=EVEN)
    model = calibrated_model.build(
        ensemble.opened([run, fake_run.make_run(tmp_path / "b", calibration=EVEN)])
    )
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        model.predict(IMAGES, verbose=0), again.predict(IMAGES, verbose=0)
    )


def test_a_network_of_lower_precision_computes_in_float32(tmp_path, monkeypatch):
    run = fake_run.make_run(tmp_path / "run", calibration=EVEN)
    noted = {"policy": "mixed_bfloat16", "layers": ["last_convolution", "logits"]}
    with zipfile.ZipFile(run / "model.keras", "a") as archive:
        archive.writestr(saved_models.PRECISION, json.dumps(noted))
    monkeypatch.setattr(precision, "fast_here", lambda: ("mixed_bfloat16",))
    lowered = predictor.load_model(run / "model.keras").get_layer("last_convolution")
    assert lowered.compute_dtype == "bfloat16"
    model = calibrated_model.build(ensemble.opened(run))
    assert {layer.compute_dtype for layer in model._flatten_layers()} <= {"float32", "uint8"}
