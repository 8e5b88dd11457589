"""Contact sheets show images in rows at their own aspect; one that is gone leaves a grey field."""

import numpy as np
from PIL import Image

from engine.inspection import pictures


def flat(width, height, level):
    return Image.new("L", (width, height), level)


def test_images_keep_their_aspect_and_rows_are_as_high_as_needed(tmp_path):
    images = [flat(400, 200, 0), flat(100, 300, 60), None, flat(50, 25, 120)]
    pictures.contact_sheet(images, tmp_path / "sheet.jpg", columns=2, cell=100)
    sheet = np.asarray(Image.open(tmp_path / "sheet.jpg").convert("L")).astype(int)
    gap = pictures.GAP
    assert sheet.shape == (100 + gap + 100, 100 + gap + 100)
    assert abs(sheet[50, 50] - 0) < 8 and sheet[10, 50] > 245  # twice as wide as high
    assert abs(sheet[50, 100 + gap + 50] - 60) < 8 and sheet[50, 100 + gap + 10] > 245
    assert abs(sheet[100 + gap + 50, 50] - 224) < 8
    assert abs(sheet[100 + gap + 50, 100 + gap + 50] - 120) < 8  # small ones are not enlarged


def test_a_row_of_wide_images_is_low(tmp_path):
    pictures.contact_sheet([flat(300, 30, 9)] * 3, tmp_path / "sheet.jpg", columns=3, cell=60)
    assert Image.open(tmp_path / "sheet.jpg").size == (3 * 60 + 2 * pictures.GAP, 6)


def test_differences_are_orange_where_the_second_is_brighter_and_blue_where_darker():
    one, other = np.full((8, 8), 100.0), np.full((8, 8), 100.0)
    other[:4] += 50
    other[4:] -= 50
    shown = np.asarray(pictures.difference_picture(one, other, side=8)).astype(int)
    assert shown[1, 4, 0] > shown[1, 4, 2] and shown[6, 4, 2] > shown[6, 4, 0]
    same = np.asarray(pictures.difference_picture(one, one, side=8))
    assert (same == 255).all()
    grey = np.asarray(pictures.grey_picture(one, side=16))
    assert grey.shape == (16, 16) and (grey == 100).all()
