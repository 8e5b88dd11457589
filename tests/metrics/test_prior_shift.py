"""EM finds the shares of greatest likelihood: known answers, two classes and more, and what it refuses."""

import numpy as np
import pytest
from scipy import optimize, special

from engine.base.config import UserError
from engine.metrics import prior_shift
from engine.metrics.prior_shift import EstimatedShares

NAMES = ("NORMAL", "PNEUMONIA")


def draw(shares, count=4000, seed=0):
    """Labels with the shares, and probabilities that come true where all classes are as frequent."""
    random = np.random.default_rng(seed)
    classes = len(shares)
    labels = random.choice(classes, count, p=shares)
    centres = 2.0 * np.eye(classes)
    points = random.normal(centres[labels], 1)
    return labels, special.softmax(points @ centres.T, axis=1)


def test_two_different_probabilities_have_an_answer_in_closed_form():
    """Of probabilities 0.9 and 0.2 with the prior 0.5: the call rate of a test of known rates."""
    # 0.9 = t / (t + f) and 0.2 = (1 - t) / (1 - t + 1 - f) give the rates of the higher value.
    false, true = np.linalg.solve([[9, -1], [-0.2, 0.8]], [0, 0.6])
    high = 700
    given = np.array([0.9] * high + [0.2] * (1000 - high))
    found = prior_shift.estimate(given, (0.5, 0.5), class_names=NAMES)
    expected = (high / 1000 - false) / (true - false)
    assert 0 < expected < 1
    assert found.prevalence[1] == pytest.approx(expected, abs=1e-6)
    assert sum(found.prevalence) == pytest.approx(1)


@pytest.mark.parametrize(
    "shares", [(0.9, 0.1), (0.3, 0.7), (0.6, 0.3, 0.1), (0.05, 0.25, 0.3, 0.4)]
)
def test_the_shares_of_a_set_are_found_within_their_limits(shares):
    _, given = draw(shares)
    columns = given[:, 1] if len(shares) == 2 else given
    names = [f"class {k}" for k in range(len(shares))]
    prior = np.full(len(shares), 1 / len(shares))
    found = prior_shift.estimate(columns, prior, class_names=names)
    for share, estimate in zip(shares, found.shares.values(), strict=True):
        assert estimate.value == pytest.approx(share, abs=0.04)
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.high - estimate.low < 0.1


def test_it_is_the_greatest_likelihood():
    _, given = draw((0.8, 0.2), 300)
    prior = np.array([0.4, 0.6])

    def loss(share):
        return -np.log(given @ (np.array([1 - share, share]) / prior)).sum()

    best = optimize.minimize_scalar(loss, bounds=(0, 1), method="bounded", options={"xatol": 1e-9})
    found = prior_shift.maximize(given, prior, np.ones((1, 300)))
    assert found[0, 1] == pytest.approx(best.x, abs=1e-5)


def test_weights_are_copies():
    _, given = draw((0.8, 0.2), 50)
    times = np.arange(50) % 3
    weighted = prior_shift.maximize(given, np.full(2, 0.5), times[None].astype(float))
    copied = prior_shift.maximize(
        np.repeat(given, times, axis=0), np.full(2, 0.5), np.ones((1, times.sum()))
    )
    assert weighted == pytest.approx(copied, abs=1e-9)


def test_certain_probabilities_are_counted_and_an_absent_class_keeps_half_an_image():
    certain = np.array([1.0] * 30 + [0.0] * 70)
    found = prior_shift.estimate(certain, (0.5, 0.5), class_names=NAMES)
    assert found.prevalence[1] == pytest.approx(0.3)
    none = prior_shift.estimate(np.zeros(100), (0.5, 0.5), class_names=NAMES)
    assert none.prevalence[1] == pytest.approx(0.005, rel=0.01)


def test_equal_probabilities_leave_the_prior_or_lead_to_an_end():
    found = prior_shift.estimate(np.full(50, 0.3), (0.7, 0.3), class_names=NAMES)
    assert found.prevalence == pytest.approx((0.7, 0.3))


def test_patients_and_not_images_make_the_interval():
    _, given = draw((0.7, 0.3), 200)
    once = prior_shift.estimate(given[:, 1], (0.5, 0.5), class_names=NAMES)
    patients = np.repeat([f"p{i}" for i in range(200)], 5)
    copied = prior_shift.estimate(
        np.repeat(given[:, 1], 5), (0.5, 0.5), class_names=NAMES, patients=patients
    )
    wide, again = (each.shares["PNEUMONIA"] for each in (once, copied))
    assert again.high - again.low == pytest.approx(wide.high - wide.low, rel=0.3)
    alone = prior_shift.estimate(given[:, 1], (0.5, 0.5), class_names=NAMES, patients=["p"] * 200)
    assert "two patients" in alone.shares["PNEUMONIA"].reason


def test_few_images_are_refused_and_shares_come_back_from_json():
    with pytest.raises(UserError, match="--prevalence estimate: got 19 images, expected 20"):
        prior_shift.estimate(np.full(19, 0.3), (0.5, 0.5), class_names=NAMES)
    found = prior_shift.estimate(draw((0.7, 0.3), 40)[1][:, 1], (0.5, 0.5), class_names=NAMES)
    assert EstimatedShares.from_json(found.to_json()) == found
    assert "PNEUMONIA (" in found.text()
