import numpy as np
import pytest

from engine.evaluation import shifts


def images(size=(40, 60)):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (3, *size, 1), dtype=np.uint8)


@pytest.mark.parametrize("name", shifts.shift_names())
def test_a_shift_keeps_shape_and_dtype_and_changes_all_images_but_none(name):
    shifted = shifts.apply(name, images())
    assert shifted.shape == images().shape
    assert shifted.dtype == np.uint8
    assert (shifted == images()).all() == (name == "none")


def test_exposure_moves_the_mean_as_its_name_says():
    mean = images().mean()
    assert shifts.apply("over-exposed", images()).mean() > mean
    assert shifts.apply("under-exposed", images()).mean() < mean


def test_a_border_is_black_and_a_crop_shows_the_middle():
    assert not shifts.apply("bordered", images())[:, 0].any()
    spot = np.zeros((1, 40, 60, 1), np.uint8)
    spot[:, 19:21, 29:31] = 255
    assert shifts.apply("cropped", spot)[0, 15:25, 25:35].any()


def test_an_image_is_shifted_alike_whatever_else_is_there():
    many = np.concatenate([images()] * 100)
    np.testing.assert_array_equal(
        shifts.apply("blurred", many)[:3], shifts.apply("blurred", images())
    )


def test_an_unknown_shift_is_an_error():
    with pytest.raises(KeyError):
        shifts.apply("upside down", images())
