"""Occlusion finds what the log-odds of a class rest on, in images of any size."""

import numpy as np
import pytest

from engine.base.config import UserError
from engine.inference import occlusion
from engine.inference.occlusion import Occlusion

SIZE = (24, 36)


def brightness(images):
    """Log-odds of the positive class: the sum of the pixels, in tens of white ones."""
    return images.astype(float).sum(axis=(1, 2, 3)) / 2550


def three_classes(images):
    positive = brightness(images)
    return np.stack([-positive, 0 * positive, positive], axis=1)


def spot(row, column, side=6):
    image = np.zeros((*SIZE, 1), np.uint8)
    image[row : row + side, column : column + side] = 255
    return image


def test_what_a_patch_covers_is_what_the_class_loses():
    found = Occlusion(brightness, SIZE, patch=6, stride=6, baseline="black", batch_size=5)
    losses = found.losses(spot(12, 18)[None], np.array([1]))
    assert losses.shape == (1, 4, 6)
    expected = np.zeros((4, 6))
    expected[2, 3] = 36 * 255 / 2550
    np.testing.assert_allclose(losses[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("log_odds", "label", "sign"),
    [
        (brightness, 1, 1),
        (brightness, 0, -1),
        (three_classes, 2, 1),
        (three_classes, 0, -1),
        (three_classes, 1, 0),
    ],
)
def test_evidence_is_for_the_class_that_is_asked_about(log_odds, label, sign):
    found = Occlusion(log_odds, SIZE, patch=6, baseline="black")
    image, classes = spot(12, 18)[None], np.array([label])
    assert np.sign(found.losses(image, classes).sum()) == sign
    assert found.evidence(image, classes).any() == (sign > 0)
    assert found.evidence(image, classes).min() >= 0


@pytest.mark.parametrize(
    ("size", "patch", "stride"),
    [
        ((25, 38), 7, 3),
        ((5, 64), None, None),
        ((1, 1), None, None),
        ((9, 9), 9, 9),
        ((224, 96), None, 5),
    ],
)
def test_every_pixel_is_covered_and_places_lie_evenly(size, patch, stride):
    covered = np.zeros(size)

    def note(images):
        covered[...] += (images[..., 0] == 0).sum(axis=0)
        return np.zeros(len(images))

    found = Occlusion(note, size, patch=patch, stride=stride, baseline="black", batch_size=16)
    maps = found.evidence(np.full((1, *size, 1), 255, np.uint8), np.array([1]))
    assert covered.min() >= 1
    assert maps.shape[1:] == tuple(-(-side // found.stride) for side in size)


def test_the_strongest_place_lies_where_the_spot_does():
    for row, column in ((0, 0), (9, 15), (18, 30)):
        maps = Occlusion(brightness, SIZE, patch=6, stride=2, baseline="black")(
            spot(row, column)[None], np.array([1])
        )
        y, x = np.unravel_index(maps[0].argmax(), maps[0].shape)
        assert abs((y + 0.5) * 2 - (row + 3)) <= 2 and abs((x + 0.5) * 2 - (column + 3)) <= 2


def test_baselines_are_the_mean_black_and_the_blurred_image():
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    assert not occlusion.covering(image, "black", 6).any()
    mean = occlusion.covering(image, "mean", 6)
    np.testing.assert_array_equal(mean[0, 0], np.round(image.mean(axis=(0, 1))))
    blurred = occlusion.covering(image, "blur", 6).astype(float)
    assert blurred.std() < image.std() / 3 and blurred.mean() == pytest.approx(image.mean(), abs=2)


def test_scores_that_are_infinite_leave_no_nan():
    found = Occlusion(lambda images: np.full(len(images), np.inf), SIZE)
    assert not found.evidence(spot(0, 0)[None], np.array([1])).any()


def test_patches_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match=r"--patch: got 25, more than the shorter side .*24"):
        Occlusion(brightness, SIZE, patch=25)
    with pytest.raises(UserError, match=r"--stride: got 4, more than the patch \(3 pixels\)"):
        Occlusion(brightness, SIZE, stride=4)
