import json

import pytest

from engine.base.schema import SchemaError
from engine.images.format import ImageFormat

FORMAT = ImageFormat(image_size=(12, 16), channels=3, keep_aspect_ratio=True, bits=12)


def test_the_format_comes_back_from_json():
    assert ImageFormat.from_json(json.loads(json.dumps(FORMAT.to_json()))) == FORMAT
    assert FORMAT.image_shape == (12, 16, 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_size", [12]),
        ("image_size", [0, 12]),
        ("image_size", [12, 16.5]),
        ("image_size", "12x16"),
        ("channels", 2),
        ("channels", True),
        ("keep_aspect_ratio", 1),
        ("bits", 10),
        ("depth", 3),
    ],
)
def test_values_that_are_no_format_are_named(name, value):
    with pytest.raises(SchemaError, match=f"image_format.{name}"):
        ImageFormat.from_json({**FORMAT.to_json(), name: value}, where="image_format.")


def test_a_missing_value_is_named():
    values = FORMAT.to_json()
    del values["bits"]
    with pytest.raises(SchemaError, match="bits"):
        ImageFormat.from_json(values)
