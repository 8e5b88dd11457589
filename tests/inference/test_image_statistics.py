"""Statistics of images: the same whatever the batch, and different for noise, strips, colour and layout."""

import numpy as np
import pytest

from engine.inference import image_statistics


def images(shape, seed=0, count=5):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


@pytest.mark.parametrize("shape", [(32, 40, 1), (33, 47, 3), (4, 4, 1), (1, 7, 1)])
def test_every_size_gives_finite_numbers_one_row_per_image(shape):
    found = image_statistics.statistics(images(shape))
    assert {name: len(values) for name, values in found.items()} == {"texture": 5, "layout": 5}
    assert all(np.isfinite(values).all() for values in found.values())
    none = image_statistics.statistics(np.zeros((0, *shape), np.uint8))
    assert [len(values) for values in none.values()] == [0, 0]
    assert [v.shape[1] for v in none.values()] == [v.shape[1] for v in found.values()]


def test_an_image_has_the_same_statistics_in_any_batch(monkeypatch):
    pixels = images((48, 48, 1), count=9)
    whole = image_statistics.statistics(pixels)
    monkeypatch.setattr(image_statistics, "_BLOCK_PIXELS", 2 * 48 * 48)
    in_parts = image_statistics.statistics(pixels)
    for name in whole:
        np.testing.assert_allclose(in_parts[name], whole[name], rtol=1e-6)


def test_layout_overlooks_exposure_and_contrast():
    pixels = images((64, 64, 1)) // 2
    brighter = (pixels + 60).astype(np.uint8)
    found, expected = (image_statistics.statistics(x)["layout"] for x in (brighter, pixels))
    np.testing.assert_allclose(found, expected, atol=1e-2)


def test_texture_tells_directions_apart():
    rows = np.zeros((1, 64, 64, 1), np.uint8)
    rows[:, ::2] = 255
    across, down = (image_statistics.statistics(x)["texture"] for x in (rows, rows.swapaxes(1, 2)))
    assert np.abs(across - down).max() > 5


def test_texture_tells_noise_from_a_smooth_image_of_the_same_grey_levels():
    noise = images((64, 64, 1), count=1)
    smooth = np.sort(noise.reshape(1, -1)).reshape(noise.shape)
    found, expected = (image_statistics.statistics(x)["texture"] for x in (noise, smooth))
    np.testing.assert_allclose(found[:, :12], expected[:, :12])
    assert np.abs(found - expected).max() > 5


def test_colour_counts_in_colour_images_alone():
    grey = np.repeat(images((32, 32, 1)), 3, axis=-1)
    coloured = images((32, 32, 3))
    columns = image_statistics.statistics(grey)["texture"].shape[1]
    assert columns == image_statistics.statistics(grey[..., :1])["texture"].shape[1] + 2
    found, expected = (image_statistics.statistics(x)["texture"][:, -2:] for x in (coloured, grey))
    assert (found > expected + 3).all()
