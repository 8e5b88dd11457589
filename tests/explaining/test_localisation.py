"""The pointing game: hits, what chance gives, and what maps of other images give."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from engine.base.config import UserError
from engine.explaining import checks, localisation
from engine.explaining.explained_files import Explanation
from engine.explaining.localisation import Located
from engine.images.boxes import Box
from engine.images.format import ImageFormat

SIZE = (100, 200)
LEFT, RIGHT = Box(0, 0, 100, 100), Box(100, 0, 100, 100)


def one(place, boxes=(LEFT,), target="sick", body=None, path="a.png"):
    return Located(path=path, target=target, place=place, size=SIZE, boxes=boxes, body=body)


def test_a_hit_lies_in_one_of_the_boxes():
    found = [one((10, 10)), one((150, 50)), one((150, 50), (LEFT, RIGHT)), one(None)]
    rate = localisation.rates_in_boxes(found)["sick"]
    assert (rate.hits, rate.count, rate.blank, rate.value) == (2, 4, 1, 0.5)
    assert [each.in_box for each in found] == [True, False, True, False]
    low, high = rate.interval
    assert low == pytest.approx(0.0676, abs=1e-3) and high == pytest.approx(0.9324, abs=1e-3)


def test_a_box_that_covers_half_is_hit_half_the_time_by_chance():
    rate = localisation.rates_in_boxes([one((10, 10)), one((10, 10), (LEFT, LEFT))])["sick"]
    assert rate.at_random == pytest.approx(0.5)


def test_maps_that_always_point_at_the_same_place_are_no_better_than_those_of_others():
    always = [one((10, 10), (LEFT,)), one((10, 10), (RIGHT,)), one((10, 10), (LEFT,))]
    rate = localisation.rates_in_boxes(always)["sick"]
    assert rate.value == pytest.approx(rate.of_others) == pytest.approx(2 / 3)
    knowing = [one((10, 10), (LEFT,)), one((150, 10), (RIGHT,))]
    rate = localisation.rates_in_boxes(knowing)["sick"]
    assert rate.value == 1 and rate.of_others == 0


def test_images_without_boxes_do_not_count_and_classes_are_kept_apart():
    found = [one((1, 1)), one((1, 1), ()), one((150, 1), target="well")]
    rates = localisation.rates_in_boxes(found)
    assert {name: (rate.hits, rate.count) for name, rate in rates.items()} == {
        "sick": (1, 1),
        "well": (0, 1),
    }
    assert np.isnan(rates["sick"].of_others)


def test_outside_the_body_is_counted_of_maps_with_evidence():
    body = np.zeros((10, 20), bool)
    body[:, :10] = True
    found = [one((10, 10), body=body), one((150, 10), body=body), one(None, body=body)]
    rate = localisation.rates_outside_body(found)["sick"]
    assert (rate.hits, rate.count, rate.blank) == (1, 2, 1)
    assert rate.at_random == pytest.approx(0.5)
    assert localisation.rates_outside_body([one(None, body=body)]) == {}


def explained(directory: Path) -> Explanation:
    """An image of 200 x 100 whose evidence lies at its left edge, below the middle."""
    image = np.zeros((100, 200), np.uint8)
    image[:, 20:180] = 120
    Image.fromarray(image).save(directory / "a.png")
    evidence = np.zeros((8, 8), np.float32)
    evidence[4, 0] = 1
    return Explanation(
        path=Path(directory / "a.png"),
        predicted="sick",
        probability=0.9,
        probability_of="P(sick)",
        target="sick",
        evidence=evidence,
        pixels=np.zeros((64, 64, 1), np.uint8),
        image_format=ImageFormat(image_size=(64, 64), channels=1),
    )


@pytest.mark.parametrize("box", [(200, 5, 9, 9), (5, 100, 9, 9), (-9, 5, 9, 9), (5, -20, 9, 9)])
def test_a_box_outside_of_its_image_is_refused(tmp_path, box):
    """Boxes in the pixels of another size would make every map a miss."""
    with pytest.raises(UserError, match=r"outside of .*a\.png, which is 200 x 100"):
        localisation.located(explained(tmp_path), boxes=[Box(0, 0, 300, 300), Box(*box)])


def test_a_file_is_looked_at_in_its_own_pixels(tmp_path):
    explanation = explained(tmp_path)
    found = localisation.located(explanation, boxes=[Box(0, 40, 30, 30)], with_body=True)
    assert found.size == (100, 200) and found.in_box and found.outside_body
    assert found.place[0] < 25 and 50 <= found.place[1] <= 63


def test_of_one_image_there_is_no_map_of_another(tmp_path):
    explanation = explained(tmp_path)
    found = checks.Checks(boxes={explanation.path.as_posix(): [Box(0, 40, 30, 30)]})
    found.add(explanation)
    run = SimpleNamespace(explainer=SimpleNamespace(name="grad-cam"))
    assert found.lines(run, seed=0)[-1].split()[-2:] == ["4.5%", "-"]
