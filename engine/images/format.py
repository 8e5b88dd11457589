"""The image format: how any image file becomes the array that a network takes.

One format belongs to a shards directory, to the runs trained on it, and to every image that such a run
predicts. Needs no TensorFlow.
"""

import dataclasses
from typing import Any

from engine.base import schema
from engine.base.schema import Rule
from engine.images import bit_depth

LARGEST_SIDE = 8192  # pixels


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageFormat:
    """How images are decoded and resized: uint8[height, width, channels] comes out.

    Attributes:
        image_size: (height, width) in pixels.
        channels: 1 (grey) or 3 (RGB).
        keep_aspect_ratio: images are fitted inside `image_size`, centred, and padded with black;
            otherwise they are stretched to it.
        bits: 8, 12 or 16; the values of 16-bit files run from 0 to 2**bits - 1
            (see `engine.images.bit_depth`).

    Raises:
        ValueError: `channels` is neither 1 nor 3.
    """

    image_size: tuple[int, int]
    channels: int
    keep_aspect_ratio: bool = False
    bits: int = bit_depth.DEFAULT

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ValueError(f"channels: got {self.channels!r}, expected 1 or 3")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return (*self.image_size, self.channels)

    def to_json(self) -> dict[str, Any]:
        """The format as JSON values; `from_json` reads them back."""
        return {**dataclasses.asdict(self), "image_size": list(self.image_size)}

    @classmethod
    def from_json(cls, values: Any, *, where: str = "") -> "ImageFormat":
        """The inverse of `to_json`.

        Args:
            where: the place of the values in their file, with a dot at its end, for messages.

        Raises:
            SchemaError: a value is missing, unknown, or out of its range.
        """
        schema.require(values, RULES, where=where)
        height, width = values["image_size"]
        return cls(**{**values, "image_size": (height, width)})


def _is_image_size(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(schema.is_count(side) and 1 <= side <= LARGEST_SIDE for side in value)
    )


RULES = {
    "image_size": Rule(f"[height, width], each 1 to {LARGEST_SIDE}", _is_image_size),
    "channels": schema.one_of(1, 3),
    "keep_aspect_ratio": schema.BOOLEAN,
    "bits": schema.one_of(*bit_depth.CHOICES),
}
