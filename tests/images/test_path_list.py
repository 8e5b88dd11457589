"""Lists of paths, and their division into parts."""

import pytest

from engine.base.config import UserError
from engine.images import path_list


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        (b"a\nb c\n", ["a", "b c"]),
        (b"a\r\nb", ["a", "b"]),
        (b"\n\na\n\n", ["a"]),
        (b"a\nb\0c\0", ["a\nb", "c"]),
        (b"\xef\xbb\xbfa\n", ["a"]),
        (b"caf\xe9\n", ["caf\udce9"]),
        (b"\xc3\xa4 [1]*.png\n", ["ä [1]*.png"]),
    ],
)
def test_lines_and_null_characters(tmp_path, data, paths):
    (tmp_path / "list").write_bytes(data)
    assert path_list.read(tmp_path / "list") == paths


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "holds no path"),
        (b"\n\r\n", "holds no path"),
        (b"\0", "holds no path"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is no list of paths"),
        (b"x" * 5000, "is no list of paths"),
    ],
)
def test_what_is_no_list(tmp_path, data, message):
    (tmp_path / "list").write_bytes(data)
    with pytest.raises(UserError, match=message):
        path_list.read(tmp_path / "list")


def test_a_list_that_cannot_be_read(tmp_path):
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match="cannot be read"):
            path_list.read(path)


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_parts_divide_in_order(count):
    items = list(range(10))
    parts = [path_list.part(items, number, count) for number in range(1, count + 1)]
    assert [item for part in parts for item in part] == items
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_more_parts_than_items():
    with pytest.raises(UserError, match="expected at most 3 parts"):
        path_list.part("abc", 1, 4)
