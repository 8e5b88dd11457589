"""Evidence colours its own place and nothing else."""

import numpy as np

from engine.explaining import overlay


def test_without_evidence_the_image_is_untouched():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 1), np.uint8)
    shown = overlay.overlay(image, np.zeros((4, 5)))
    np.testing.assert_array_equal(shown, np.repeat(image, 3, axis=2))


def test_evidence_colours_its_own_place():
    image = np.full((40, 60, 3), 120, np.uint8)
    evidence = np.zeros((4, 6))
    evidence[1, 4] = 1
    change = np.abs(overlay.overlay(image, evidence).astype(int) - image).sum(axis=2)
    row, column = np.unravel_index(change.argmax(), change.shape)
    assert 10 <= row < 20 and 40 <= column < 50
    assert change[30:, :30].max() == 0
