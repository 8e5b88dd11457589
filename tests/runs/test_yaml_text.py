"""What is written is read back as it was by a YAML parser, whatever the texts hold."""

import pytest
import yaml

from engine.runs import yaml_text

TEXTS = [
    "",
    "no",
    "1e3",
    "2024-01-01",
    "a: b",
    "- x",
    "# c",
    "'\"\\\\",
    "\n\ttab",
    "\x00\x7f\x85\u2028\ufeff",
]
VALUES = {
    "texts": [
        *TEXTS,
        "\N{SNOWMAN}\N{GRINNING FACE}",
        "{a}",
        "[b]",
        "null",
        "~",
        "%",
        "@",
        "!x",
        "*a",
        "&a",
    ],
    "numbers": [0, -3, 10**12, 0.5, 0.00001, 1234.5678],
    "others": [True, False, None, [], {}, [[1, [2]], {"a": 1, "b": {"c": [{"d": 1}]}}]],
    "a key: with marks": {"1": "x", "no": "y", "": "z"},
}


def test_values_come_back():
    assert yaml.safe_load(yaml_text.dumped(VALUES)) == VALUES
    assert yaml.safe_load(yaml_text.dumped([VALUES], indent=4)) == [VALUES]


def test_keys_and_texts_stay_text():
    for text in TEXTS:
        assert yaml.safe_load(yaml_text.dumped({"key": text, "list": [text]}))["key"] == text


def test_half_a_character_is_escaped():
    assert yaml_text.dumped({"a": "\ud800"}) == 'a: "\\ud800"\n'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": {1, 2}}, [object()]])
def test_what_is_no_value_is_refused(value):
    with pytest.raises(ValueError, match="expected"):
        yaml_text.dumped(value)
