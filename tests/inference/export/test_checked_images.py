"""The images that exports are checked on are the same each time, and of every class."""

import numpy as np

from engine.images.format import ImageFormat
from engine.inference.export import checked_images


def test_classes_are_chosen_equally_often_as_far_as_they_last():
    labels = np.array([0] * 50 + [1] * 4 + [2] * 30)
    chosen = checked_images.balanced_choice(labels, 30, seed=1)
    assert np.bincount(labels[chosen]).tolist() == [10, 4, 10]
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, checked_images.balanced_choice(labels, 30, seed=1))
    assert not np.array_equal(chosen, checked_images.balanced_choice(labels, 30, seed=2))


def test_generated_images_differ_and_use_the_range():
    images = checked_images.generated(ImageFormat(image_size=(40, 30), channels=3), seed=0)
    assert images.shape == (32, 40, 30, 3) and images.dtype == np.uint8
    assert len(np.unique(images.reshape(32, -1), axis=0)) == 32
    assert images.min() < 20 and images.max() > 230
    again = checked_images.generated(ImageFormat(image_size=(40, 30), channels=3), seed=0)
    np.testing.assert_array_equal(images, again)
