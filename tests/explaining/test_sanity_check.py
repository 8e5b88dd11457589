"""A method that looks at the network fails to find the same once the weights are shuffled; one that draws the image
does not."""

import keras
import numpy as np
import pytest
from keras import layers

from engine.base.config import UserError
from engine.explaining import checks, sanity_check
from engine.inference.evidence import Explainer
from engine.inference.grad_cam import GradCam

SIZE = (24, 24)


class Pixels(Explainer):
    """Draws the image, whatever the network is."""

    name, unit = "pixels", "grey levels"

    def evidence(self, images, classes):
        return images[..., 0].astype(np.float32)


def detector():
    """A network whose evidence lies where vertical edges are."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 1), dtype="uint8")
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Conv2D(8, 5, activation="relu", padding="same", name="edges")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Conv2D(4, 3, activation="relu", padding="same", name="parts")(x)
    logits = layers.Dense(1, name="logits")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Activation("sigmoid")(logits))


@pytest.fixture(scope="module")
def model():
    return detector()


IMAGES = np.random.default_rng(0).integers(0, 256, (12, *SIZE, 1), np.uint8)
CLASSES = np.ones(12, int)


def test_what_draws_the_image_fails(model):
    found = sanity_check.check(Pixels(), [model], IMAGES, CLASSES)
    assert not found.passes and found.levels[-1].mean == pytest.approx(1)
    assert any(line.startswith("FAILS") for line in checks.sanity_lines(found))


def test_grad_cam_passes_and_every_step_is_reported(model):
    found = sanity_check.check(GradCam(model), [model], IMAGES, CLASSES, batch_size=5)
    assert [(level.layer, level.num_layers) for level in found.levels] == [
        ("logits", 1),
        ("parts", 2),
        ("norm", 3),
        ("edges", 4),
    ]
    assert found.levels[-1].correlations.shape == (found.num_images, sanity_check.DRAWS)
    assert found.passes and found.levels[-1].mean < found.levels[0].mean + 0.5
    lines = checks.sanity_lines(found)
    assert lines[-1].startswith("passes: ") and max(map(len, lines)) <= 80


def test_the_weights_come_back_and_the_seed_decides(model):
    before = [value.copy() for value in model.get_weights()]
    first, again, other = (
        sanity_check.check(GradCam(model), [model], IMAGES, CLASSES, seed=seed)
        for seed in (3, 3, 4)
    )
    for value, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, kept)
    for one, two in zip(first.levels, again.levels, strict=True):
        np.testing.assert_array_equal(one.correlations, two.correlations)
    assert any(
        (one.correlations != two.correlations).any()
        for one, two in zip(first.levels, other.levels, strict=True)
    )


def test_weights_come_back_when_an_explainer_breaks(model):
    before = [value.copy() for value in model.get_weights()]

    class Breaks(Pixels):
        calls = 0

        def evidence(self, images, classes):
            Breaks.calls += 1
            if Breaks.calls > 1:
                raise RuntimeError("broken")
            return super().evidence(images, classes)

    with pytest.raises(RuntimeError):
        sanity_check.check(Breaks(), [model], IMAGES, CLASSES)
    for value, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, kept)


def test_moving_statistics_stay(model):
    seen = []

    class Notes(Pixels):
        def evidence(self, images, classes):
            seen.append([v.copy() for v in model.get_layer("norm").get_weights()])
            return super().evidence(images, classes)

    model.get_layer("norm").set_weights([np.arange(8.0) + offset for offset in (1, 2, 3, 4)])
    sanity_check.check(Notes(), [model], IMAGES, CLASSES)
    assert (seen[-1][0] != seen[0][0]).any()
    for index in (2, 3):
        np.testing.assert_array_equal(seen[-1][index], seen[0][index])


def test_flat_maps_are_left_out_and_nothing_else_can_be_said_of_them(model):
    images = IMAGES.copy()
    images[:5] = 7
    found = sanity_check.check(Pixels(), [model], images, CLASSES)
    assert (found.num_images, found.blank) == (7, 5)
    assert sanity_check.check(Pixels(), [model], images[:5], CLASSES[:5]) is None
    assert "not possible" in checks.sanity_lines(None)[0]


def test_a_map_that_goes_blank_has_changed(model):
    class Blank(Pixels):
        calls = 0

        def evidence(self, images, classes):
            Blank.calls += 1
            return super().evidence(images, classes) * (Blank.calls == 1)

    found = sanity_check.check(Blank(), [model], IMAGES, CLASSES)
    assert found.passes and found.levels[-1].mean == 0


def test_a_network_without_weights_to_shuffle_is_refused():
    inputs = keras.Input((*SIZE, 1))
    model = keras.Model(inputs, layers.Rescaling(2.0)(inputs))
    with pytest.raises(UserError, match="no weights"):
        sanity_check.check(Pixels(), [model], IMAGES, CLASSES)
