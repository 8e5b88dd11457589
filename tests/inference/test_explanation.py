"""The method that finds evidence is chosen by model, layer and name; of an ensemble it is the mean."""

import fake_run
import numpy as np
import pytest
from built_in import small_model

from engine.base import files
from engine.base.config import UserError
from engine.base.run_settings import EVIDENCE_METHODS, OCCLUSION_BASELINES
from engine.inference import ensemble, explanation, occlusion
from engine.inference.grad_cam import GradCam, GradCamPlusPlus
from engine.inference.occlusion import Occlusion
from engine.inference.pooled_evidence import PooledEvidence
from engine.runs import ensemble as runs
from engine.runs.run_directory import RunDirectory

IMAGES = fake_run.grey_images(np.arange(9) * 30)


def test_the_settings_name_the_methods_that_there_are():
    assert EVIDENCE_METHODS == explanation.METHODS
    assert OCCLUSION_BASELINES == (occlusion.MEAN, occlusion.BLACK, occlusion.BLUR)


def test_a_method_is_taken_at_its_word_and_auto_goes_by_the_classifier():
    model = small_model("cnn", image_size=(32, 40))
    kinds = [
        type(explanation.of_model(model, method=name))
        for name in ("auto", "grad-cam", "grad-cam++")
    ]
    assert kinds == [PooledEvidence, GradCam, GradCamPlusPlus]
    named = explanation.of_model(model, method="grad-cam++", layer="last_convolution")
    assert type(named) is GradCamPlusPlus and named.layer == "last_convolution"


def test_occlusion_covers_an_ensembles_images_once_for_all_members(tmp_path):
    members = []
    for number, gain in enumerate((4.0, 12.0)):
        model = fake_run.brightness_model()
        model.get_layer("logits").set_weights([np.array([[gain]]), np.array([-gain / 2])])
        members.append(fake_run.make_run(tmp_path / f"seed-{number}", model=model))
    together = ensemble.load(runs.opened(members), batch_size=8)
    found = explanation.of_predictor(together, method="occlusion", patch=4)
    assert isinstance(found, Occlusion)
    classes = np.ones(len(IMAGES), int)
    each = [
        explanation.of_predictor(member, method="occlusion", patch=4).losses(IMAGES, classes)
        for member in together.members
    ]
    np.testing.assert_allclose(
        found.losses(IMAGES, classes), np.mean(each, axis=0), rtol=1e-4, atol=1e-5
    )
    assert explanation.members_of(together) == list(together.members)


def test_a_network_without_feature_maps_is_pointed_to_occlusion(tmp_path):
    import keras
    from keras import layers

    inputs = keras.Input((12, 16, 1), dtype="uint8")
    x = layers.Flatten()(layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x))
    predictor = ensemble.load(runs.opened(fake_run.make_run(tmp_path / "run", model=model)))
    with pytest.raises(UserError, match=r"has no feature map .*--method occlusion needs none"):
        explanation.of_predictor(predictor)
    maps = explanation.of_predictor(predictor, method="occlusion")(IMAGES, np.ones(9, int))
    assert maps.shape == (9, 12, 16) and maps.max() == pytest.approx(1)


def test_the_layer_that_a_built_in_network_names_is_the_default(tmp_path):
    run = RunDirectory(tmp_path)
    assert explanation.named_layer(run) is None
    for model, layer in (("cnn", "last_convolution"), ("other.py:build", None)):
        files.write_json(run.config, {"model": model})
        assert explanation.named_layer(run) == layer
