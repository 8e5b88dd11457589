"""Pixels of more than 8 bits: which values a file holds, and how they become 8 bits.

PNG and TIFF have no 12-bit pixels (TIFF: hardly ever), so what a detector measures over 4,096 levels is
stored in 16 bits, and no field says so. Read over all 16 bits such an image keeps 16 grey levels. The
range is therefore a property of the data set, found from the largest value in it, and one for all of its
images, since their brightness must be comparable. PNM and 12-bit TIFF state their range.

Scaling is linear and rounded, as section 13.12 of the PNG specification (W3C, third edition) has it:
floor(value * 255 / (2**bits - 1) + 1/2), so that white is 255 whatever the depth, and 8-bit values that
were once stretched to 16 bits (times 257) come back exactly. TensorFlow and libpng's `strip_16` cut the low
byte off instead, which agrees to one level.
"""

import functools
from collections.abc import Iterable

import numpy as np
from PIL import Image

from engine.base.wording import counted

CHOICES = (8, 12, 16)
NARROW_SPAN = 32  # grey levels, an eighth of the 256: with fewer in use, brightness is doubtful
DEFAULT = 16  # where a data set has no pixels of more than 8 bits that could tell

_TIFF_HEADERS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # TIFF tags and a value


def assumed(largest: int | None) -> int:
    """The fewest bits among `CHOICES` that hold the largest value of a data set; 16 of None."""
    if largest is None:
        return DEFAULT
    return next(bits for bits in CHOICES if largest < 2**bits)


def assumed_of(values: Iterable[int | None]) -> tuple[int, str]:
    """`assumed` of the largest values of files, and a note that says so; '' where none is known."""
    known = [value for value in values if value is not None]
    bits = assumed(max(known, default=None))
    if not known:
        return bits, ""
    return bits, (
        f"{counted(len(known), 'image')} with more than 8 bits, the largest value {max(known):,}: read "
        f"as {bits}-bit, 0 to {2**bits - 1:,}"
    )


def may_be_deep(start: bytes) -> bool:
    """Whether a file may hold more than 8 bits without saying how many, by its first 26 bytes."""
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return start[24:25] == b"\x10"  # the bit depth in IHDR
    return start.startswith(_TIFF_HEADERS)


def is_deep_grey(image: Image.Image) -> bool:
    """Whether an image from a file has one unsigned channel of more than 8 bits."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))


def is_deep_colour(image: Image.Image) -> bool:
    """Whether a file, not loaded yet, has 16 bits in several channels: Pillow keeps the upper 8."""
    return (
        image.mode != "I"
        and not is_deep_grey(image)
        and any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    )


def largest_value(image: Image.Image) -> int | None:
    """The largest value in a file of more than 8 bits; None of others. Loads the image.

    Of 16-bit colour the upper byte alone can be read, so the largest value that it can stand for is returned.
    """
    if is_deep_colour(image):
        bands = image.convert("RGB").getextrema()
        return 256 * int(max(high for _, high in bands)) + 255
    return int(np.asarray(image).max()) if is_deep_grey(image) else None


def stated_bits(image: Image.Image) -> int | None:
    """The range that the file itself states for its deep pixels, or None."""
    if image.format == "PPM":  # Pillow stretches what the header states to 16 bits
        return 16
    if _tiff_tag(image, _BITS_PER_SAMPLE) == (12,):
        return 12
    return None


def to_eight_bits(image: Image.Image, bits: int) -> tuple[np.ndarray, bool]:
    """The pixels of a deep grey image, and whether any was above the range and is clipped to white.

    Args:
        bits: values run from 0 to 2**bits - 1.

    Returns:
        uint8[H, W], and the flag.
    """
    values = np.asarray(image)
    inverted = (
        _tiff_tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO
    )  # Pillow respects it up to 8 bits only
    return _table(bits, inverted).take(values), bool(values.max() >= 2**bits)


@functools.cache
def _table(bits: int, inverted: bool) -> np.ndarray:
    """uint8[65536]: what each 16-bit value becomes."""
    top = 2**bits - 1
    values = np.minimum(np.arange(2**16), top)
    if inverted:
        values = top - values
    return ((255 * values + top // 2) // top).astype(np.uint8)


def _tiff_tag(image: Image.Image, tag: int) -> object:
    return image.tag_v2.get(tag) if image.format == "TIFF" else None
