"""Maps relative to their strongest place, and the mean of several explainers whatever their sizes and units."""

import numpy as np
import pytest

from engine.inference import evidence
from engine.inference.evidence import Explainer, MeanEvidence


class Fixed(Explainer):
    """Gives the same maps for any images."""

    name, unit = "fixed", "points"

    def __init__(self, maps, layer="layer"):
        self._maps, self.layer = np.asarray(maps, np.float32), layer

    def evidence(self, images, classes):
        return self._maps


def test_the_strongest_place_is_1_and_no_evidence_stays_none():
    maps = np.array([[[1, 4], [0, 2]], [[0, 0], [0, 0]]], np.float32)
    found = Fixed(maps)(None, None)
    np.testing.assert_allclose(found[0], [[0.25, 1], [0, 0.5]])
    assert not found[1].any()


def test_a_member_of_larger_values_does_not_outweigh_the_others():
    small, large = [[[0, 1], [0, 0]]], [[[100, 0], [0, 0]]]
    found = MeanEvidence([Fixed(small), Fixed(large)]).evidence(None, None)[0]
    assert found[0, 0] == pytest.approx(found[0, 1])
    assert found.max() == pytest.approx((1 + 100) / 2)  # as strong as the members are on average


def test_members_of_different_sizes_are_averaged_on_the_finest():
    coarse, fine = np.ones((2, 1, 1)), np.zeros((2, 4, 6))
    fine[:, 2, 3] = 1
    mean = MeanEvidence([Fixed(coarse, layer="a"), Fixed(fine, layer="b")])
    found = mean.evidence(None, None)
    assert found.shape == (2, 4, 6) and mean.layer is None and mean.unit == "points"
    assert np.unravel_index(found[0].argmax(), (4, 6)) == (2, 3)


def test_maps_of_the_wanted_size_are_not_resampled():
    maps = np.random.default_rng(0).random((3, 5, 4)).astype(np.float32)
    assert evidence.resized(maps, (5, 4)) is maps
    assert evidence.resized(maps, (10, 8)).shape == (3, 10, 8)
