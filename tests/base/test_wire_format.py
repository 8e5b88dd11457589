"""Fields and numbers have the bytes that the description of the format gives as its examples."""

import pytest

from engine.base import wire_format


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, b"\0"),
        (1, b"\x01"),
        (127, b"\x7f"),
        (128, b"\x80\x01"),
        (150, b"\x96\x01"),
        (300, b"\xac\x02"),
    ],
)
def test_numbers_above_127_take_several_bytes(value, encoded):
    assert wire_format.varint(value) == encoded


def test_a_field_is_its_tag_its_length_and_its_content():
    assert wire_format.field(2, b"testing") == b"\x12\x07testing"
    assert wire_format.field(16, b"a" * 300) == b"\x82\x01\xac\x02" + b"a" * 300
