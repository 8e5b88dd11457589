"""The body is the largest bright part of a film with what it encloses; what lies beside it is not."""

import numpy as np
import pytest

from engine.explaining import body_mask
from engine.phantoms import phantom_images


def film(lungs_reach_the_edge=False):
    """A body of 120 x 100 pixels with dark lungs, and a marker beside it."""
    image = np.full((160, 200), 5, np.uint8)
    image[20:160, 50:150] = 150
    for left in (60, 110):
        image[40 : 160 if lungs_reach_the_edge else 130, left : left + 30] = 20
    image[10:20, 10:20] = 250
    return image


@pytest.mark.parametrize("lungs_reach_the_edge", [False, True])
def test_lungs_are_body_and_a_marker_is_not(lungs_reach_the_edge):
    mask = body_mask.body_mask(film(lungs_reach_the_edge)[..., None])
    size = (160, 200)
    assert body_mask.contains(mask, (75, 90), size) and body_mask.contains(mask, (100, 155), size)
    assert not body_mask.contains(mask, (15, 15), size)
    assert not body_mask.contains(mask, (20, 100), size)
    assert not body_mask.contains(mask, (199.9, 159.9), size)
    assert mask.mean() == pytest.approx(140 * 100 / (160 * 200), abs=0.02)


def test_a_flat_image_is_all_body():
    assert body_mask.body_mask(np.full((40, 50, 3), 7, np.uint8)).all()


def test_large_images_are_averaged_down_and_small_ones_kept():
    assert body_mask.body_mask(np.repeat(film(), 4, axis=1)).shape == (51, 256)
    assert body_mask.body_mask(film()).shape == (160, 200)


def test_the_lungs_of_phantoms_are_body_and_the_corners_are_not():
    for patient in range(8):
        drawn = {"seed": 0, "patient": (0, 1, patient), "view": 0, "finding": "bacteria"}
        mask = body_mask.body_mask(phantom_images.draw_phantom(**drawn))
        opacity = phantom_images.opacity_masks(**drawn).any(axis=0)
        rows, columns = np.nonzero(opacity)
        inside = [
            body_mask.contains(mask, (column + 0.5, row + 0.5), opacity.shape)
            for row, column in zip(rows[::50], columns[::50], strict=True)
        ]
        assert np.mean(inside) > 0.98
        assert not mask.all()


def test_otsu_parts_two_groups_of_levels():
    grey = np.repeat(np.array([10, 12, 200, 210], np.uint8), 25)
    assert 12 <= body_mask.otsu(grey) < 200
    assert body_mask.otsu(np.full(9, 3, np.uint8)) is None
