"""Exports are held to what the run gives, in probabilities and in decisions."""

import numpy as np
import pytest

from engine.inference.export import verification

EXPECTED = np.array([[0.9, 0.1], [0.45, 0.55], [0.2, 0.8]])


def compared(found, **options):
    settings = {"images": "3 images", "threshold": 0.5, **options}
    return verification.compared(EXPECTED, np.asarray(found), **settings)


def test_the_largest_difference_and_the_decisions_are_measured():
    found = compared([[0.9, 0.1], [0.55, 0.45], [0.25, 0.75]], labels=np.array([0, 1, 1]))
    assert found.largest_difference == pytest.approx(0.1)
    assert (found.num_images, found.num_labels_changed) == (3, 1)
    assert (found.auroc, found.auroc_exported) == (1, 1)


def test_a_lost_order_shows_in_auroc_and_one_class_has_none():
    turned = EXPECTED[:, ::-1]
    assert compared(turned, labels=np.array([0, 1, 1])).auroc_exported == 0
    assert compared(turned, labels=np.array([1, 1, 1])).auroc is None
    assert compared(turned).auroc is None


@pytest.mark.parametrize("value", [0.1002, float("nan")])
def test_more_than_the_limit_and_no_number_are_refused(value):
    found = compared([[1 - value, value], *EXPECTED[1:]])
    with pytest.raises(verification.DisagreementError, match="image arrays"):
        found.require_agreement(1e-4)
    compared(EXPECTED + 5e-5).require_agreement(1e-4)


def test_of_more_classes_the_largest_decides():
    three = np.eye(3) * 0.7 + 0.1
    found = verification.compared(
        three, three[::-1], images="", threshold=None, labels=np.arange(3)
    )
    assert found.num_labels_changed == 2
    assert (found.auroc, found.auroc_exported) == (1, 0.5)  # 1/4, 1 and 1/4


def test_two_classes_get_both_columns():
    np.testing.assert_array_equal(
        verification.both_columns(np.array([0.25])), np.array([[0.75, 0.25]])
    )
    assert verification.both_columns(EXPECTED) is EXPECTED
