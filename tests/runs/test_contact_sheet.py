"""A contact sheet holds every image and caption within the page."""

import matplotlib.image
import numpy as np
import pytest

from engine.runs import contact_sheet
from engine.runs.contact_sheet import Entry


@pytest.mark.parametrize(
    ("count", "paired", "channels"), [(1, True, 1), (7, True, 3), (9, False, 1)]
)
def test_every_entry_is_drawn(tmp_path, count, paired, channels):
    bright = np.full((30, 40, channels), 255, np.uint8)
    marked = np.zeros((30, 40, 3), np.uint8)
    marked[..., 0] = 255
    entries = [Entry(bright, marked if paired else None, ["a" * 90, "$x_{", "c"])] * count
    contact_sheet.draw(entries, tmp_path / "sheet.png", title="Title", note="a note")
    page = matplotlib.image.imread(tmp_path / "sheet.png")[..., :3]
    red = (page == [1, 0, 0]).all(axis=2).sum()
    area = 224**2 * 30 / 40
    assert red == pytest.approx(count * area if paired else 0, rel=0.01)
    # Nothing is cut off: the page ends in white on all sides.
    edges = [page[0], page[-1], page[:, 0], page[:, -1]]
    assert all((edge == 1).all() for edge in edges)


def test_equal_entries_give_equal_bytes(tmp_path):
    image = np.arange(600, dtype=np.uint8).reshape(20, 30, 1)
    for name in ("a.png", "b.png"):
        contact_sheet.draw([Entry(image, None, ["x"])], tmp_path / name, title="t")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
