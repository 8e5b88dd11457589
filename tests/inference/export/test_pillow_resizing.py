"""The resize in a graph is Pillow's own arithmetic."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from engine.inference.export import pillow_resizing

SIZES = [(1, 1), (3, 500), (64, 16), (100, 90), (751, 1000), (1000, 751), (400, 30), (37, 41)]


@pytest.mark.parametrize("target", [(24, 32), (50, 37), (1, 1)])
def test_it_equals_pillow_to_the_last_bit(target):
    resize = tf.function(
        lambda image: pillow_resizing.resize(image, *target),
        input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)],
    )
    random = np.random.default_rng(0)
    for size in SIZES:
        pixels = random.integers(0, 256, (*size, 3), np.uint8)
        wanted = Image.fromarray(pixels).resize(target[::-1], Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(resize(pixels), wanted, err_msg=str(size))


def test_blocks_of_rows_give_what_one_gives(monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (45, 60, 3), np.uint8)
    at_once = pillow_resizing.resize(tf.constant(pixels), 20, 30)
    monkeypatch.setattr(pillow_resizing, "_MOST_VALUES", 7 * 60 * 3)
    np.testing.assert_array_equal(pillow_resizing.resize(tf.constant(pixels), 20, 30), at_once)


def test_the_order_in_tall_images_is_found_from_the_pillow_that_is_installed(monkeypatch):
    pixels = np.random.default_rng(1).integers(0, 256, (300, 40, 1), np.uint8)
    orders = [
        pillow_resizing.resize(tf.constant(pixels), 20, 30, columns_first=order).numpy()
        for order in (False, True)
    ]
    assert not np.array_equal(*orders)
    wanted = np.asarray(Image.fromarray(pixels[..., 0]).resize((30, 20), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(orders[pillow_resizing.has_columns_first()][..., 0], wanted)
