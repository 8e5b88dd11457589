"""Evidence over a network's input finds its way back to the pixels of the image file."""

import numpy as np
import pytest
from PIL import Image

from engine.explaining import projection
from engine.images import decoding
from engine.images.format import ImageFormat

FORMATS = [
    ImageFormat(image_size=(64, 64), channels=1, keep_aspect_ratio=keep) for keep in (False, True)
]


def with_spot(size, row, column, side=30):
    image = np.zeros(size, np.uint8)
    image[row : row + side, column : column + side] = 255
    return image


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("size", [(120, 300), (300, 120), (200, 200), (90, 3000)])
@pytest.mark.parametrize("place", [(0.1, 0.2), (0.5, 0.5), (0.7, 0.8)])
def test_the_strongest_place_of_what_the_network_sees_is_that_of_the_file(
    tmp_path, image_format, size, place
):
    row, column = (int(share * (side - 30)) for share, side in zip(place, size, strict=True))
    Image.fromarray(with_spot(size, row, column)).save(tmp_path / "a.png")
    seen = decoding.decode_file(tmp_path / "a.png", image_format)[..., 0].astype(np.float32)
    found = projection.strongest_place(seen, image_format, size)
    coarse = max(max(size) / 64, size[0] / 64, size[1] / 64)  # pixels per place
    assert column - coarse <= found[0] <= column + 30 + coarse
    assert row - coarse <= found[1] <= row + 30 + coarse
    placed = projection.on_image(seen, image_format, size)
    assert placed.shape == size and placed.min() >= 0


def test_evidence_in_the_padding_belongs_to_no_pixel():
    image_format = FORMATS[1]
    evidence = np.zeros((8, 8), np.float32)
    evidence[0] = 1  # above a wide image
    assert projection.on_image(evidence, image_format, (100, 300)).max() < 0.01
    assert projection.on_image(evidence, FORMATS[0], (100, 300))[:5].max() > 0.9


def test_where_there_is_no_evidence_no_place_is_the_strongest():
    assert projection.strongest_place(np.zeros((4, 4)), FORMATS[0], (50, 60)) is None


def test_a_plateau_of_two_places_is_strongest_in_its_middle():
    evidence = np.zeros((8, 8), np.float32)
    evidence[3, 3] = evidence[3, 4] = 1
    x, y = projection.strongest_place(evidence, FORMATS[0], (400, 400))
    assert x == pytest.approx(200, abs=3) and y == pytest.approx(175, abs=3)
