"""Metadata: rows found by path or name, and never guessed."""

from pathlib import Path

import pytest

from engine.base.config import UserError
from engine.images import metadata

KEYS = ["test/a/1.jpeg", "test/a/2.jpeg", "test/b/3.jpeg"]


@pytest.fixture
def table(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "metadata.csv"
        path.write_bytes(text.encode())
        return path

    return write


@pytest.mark.parametrize(
    "names",
    [
        ("1.jpeg", "2.jpeg", "3.jpeg"),
        ("test/a/1.jpeg", "test/a/2.jpeg", "test/b/3.jpeg"),
        ("/data/test/a/1.jpeg", "/data/test/a/2.jpeg", "/data/test/b/3.jpeg"),
        ("a\\1.jpeg", "a\\2.jpeg", "b\\3.jpeg"),
        ("1.dcm", "2.dcm", "3.dcm"),
        ("1", "2", "3"),
    ],
)
def test_rows_are_found_however_the_images_are_named(table, names):
    rows = "".join(
        f"p{i},{name},{view}\n" for i, (name, view) in enumerate(zip(names, "xyz", strict=True))
    )
    path = table("patient,image,view\n" + rows)
    assert metadata.read_column(path, "view", KEYS) == dict(zip(KEYS, "xyz", strict=True))
    assert list(metadata.read_column(path, "view", reversed(KEYS))) == KEYS[::-1]


@pytest.mark.parametrize("text", ["\ufefffile,view\r\n1.jpeg, AP \r\n", "file;view\n1.jpeg;AP\n\n"])
def test_what_spreadsheets_write_is_read(table, text):
    assert metadata.read_column(table(text), "view", KEYS) == {"test/a/1.jpeg": "AP"}


def test_a_column_of_row_numbers_is_not_taken_for_names(table):
    path = table(",file,view\n1,3.jpeg,C\n2,1.jpeg,A\n3,2.jpeg,B\n")
    assert list(metadata.read_column(path, "view", KEYS).values()) == ["A", "B", "C"]


def test_short_rows_and_images_without_a_row(table):
    path = table("file,view,age\n1.jpeg,AP\n2.jpeg,PA,60\n9.jpeg,PA,70\n")
    assert metadata.read_column(path, "age", KEYS) == {KEYS[0]: "", KEYS[1]: "60"}


def test_a_path_decides_where_names_are_equal(table):
    keys = ["a/1.png", "b/1.png"]
    path = table("file,view\nb/1.png,PA\na/1.png,AP\n")
    assert metadata.read_column(path, "view", keys) == {"a/1.png": "AP", "b/1.png": "PA"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,view\n1.jpeg,AP\n", "no column 'veiw', only file, view; did you mean view"),
        ("file,veiw\n7.jpeg,AP\n", r"no row names one of the 3 images \(for example test/a/1.jpeg"),
        ("file,veiw\n1.jpeg,AP\n1.jpeg,PA\n", r"differently in 2 rows \(AP, PA\)"),
        ("file,veiw\n", "holds no rows"),
        ("", "holds no rows"),
    ],
)
def test_what_cannot_be_used_is_one_line(table, text, message):
    path = table(text)
    with pytest.raises(UserError, match=message):
        metadata.read_column(path, "veiw", KEYS)


def test_a_name_of_two_images_is_refused(table):
    with pytest.raises(UserError, match=r"stands for a/1.png and b/1.png"):
        metadata.read_column(table("file,view\n1.png,AP\n"), "view", ["a/1.png", "b/1.png"])


def test_files_that_are_no_csv(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        metadata.read_column(tmp_path / "none.csv", "view", KEYS)
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not UTF-8"):
        metadata.read_column(tmp_path / "bytes.csv", "view", KEYS)
