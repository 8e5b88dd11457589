"""Boxes are read from any CSV file with the columns, by path or file name, several to an image."""

import pytest

from engine.base.config import UserError
from engine.images import boxes
from engine.images.boxes import Box

KEYS = ["data/test/a.png", "data/test/b.png", "data/test/c.png"]


def write(tmp_path, text):
    path = tmp_path / "boxes.csv"
    path.write_text(text)
    return path


def test_an_image_may_have_several_boxes_and_one_without_is_absent(tmp_path):
    path = write(
        tmp_path,
        "path,x,y,width,height\ntest/a.png,1,2,3,4\ntest/a.png,5,6,7.5,8\ntest/b.png,,,,\n",
    )
    assert boxes.read(path, KEYS) == {"data/test/a.png": [Box(1, 2, 3, 4), Box(5, 6, 7.5, 8)]}


def test_lists_that_name_images_by_an_id_are_read(tmp_path):
    path = write(tmp_path, "patientId;x;y;width;height;Target\na;1;2;3;4;1\nc;;;;;0\n")
    assert list(boxes.read(path, KEYS)) == ["data/test/a.png"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,x,y,width\na.png,1,2,3\n", "has no column 'height'"),
        ("path,x,y,width,height\nz.png,1,2,3,4\n", "no row names one of the 3 images"),
        ("path,x,y,width,height\na.png,1,2,x,4\n", "got the box '1,2,x,4'"),
        ("path,x,y,width,height\na.png,1,2,0,4\n", "width and height above 0"),
        ("path,x,y,width,height\na.png,1,2,nan,4\n", "expected four numbers"),
        ("path,x,y,width,height\na.png,,,,\n", "holds no box for any of the 3 images"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(tmp_path, text, said):
    with pytest.raises(UserError, match=said) as error:
        boxes.read(write(tmp_path, text), KEYS)
    assert "\n" not in str(error.value)


def test_a_name_that_stands_for_two_images_is_refused(tmp_path):
    path = write(tmp_path, "path,x,y,width,height\na.png,1,2,3,4\n")
    with pytest.raises(UserError, match="one row stands for"):
        boxes.read(path, ["one/a.png", "two/a.png"])


def test_a_box_holds_its_upper_left_edge_and_not_its_lower_right():
    box = Box(10, 20, 5, 5)
    assert box.contains(10, 20) and box.contains(14.9, 24.9)
    assert not box.contains(15, 20) and not box.contains(10, 25) and not box.contains(9.9, 22)
