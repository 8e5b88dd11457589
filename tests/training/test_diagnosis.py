import pytest

from engine.training import diagnosis
from engine.training.diagnosis import verdict


@pytest.mark.parametrize(
    "speeds, beginning",
    [
        ((80_000, 100, 99), "compute-bound: the input has 800 x headroom"),
        ((80, 100, 78), "input-bound: the input gives 80 images/s"),
        ((150, 100, 60), "input and step compete: the input has only 1.5 x headroom"),
        ((4_000, 100, 60), "overhead-bound: the input has 40 x headroom"),
    ],
)
def test_the_verdict_names_what_limits_and_by_how_much(speeds, beginning):
    assert verdict(*speeds).startswith(beginning)


def test_whatever_limits_is_one_line_and_says_what_to_do():
    for speeds in ((80, 100, 78), (150, 100, 60), (4_000, 100, 60)):
        sentence = verdict(*speeds)
        assert "\n" not in sentence
        assert "use " in sentence or "raise " in sentence


def test_training_faster_than_its_ceiling_is_noise_and_not_claimed():
    assert "100%" in verdict(80_000, 100, 104)


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf")])
def test_a_speed_that_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match="positive"):
        verdict(80_000, wrong, 90)


def test_a_speed_is_that_of_the_calls_after_the_warm_up():
    now, calls = [0.0], []

    def run():
        now[0] += 10.0 if len(calls) < 3 else 0.5
        calls.append(now[0])

    speed = diagnosis.images_per_second(run, batch_size=8, seconds=4.0, clock=lambda: now[0])
    assert speed == pytest.approx(16)
    assert len(calls) == 3 + 8
