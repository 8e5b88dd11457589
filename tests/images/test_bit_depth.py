"""More than 8 bits: every format, range and rounding; nothing becomes 16 grey levels unsaid."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from engine.images import bit_depth, decoding
from engine.images.decoding import DecodeError
from engine.images.format import ImageFormat

SIZE = (16, 256)
# Every 12-bit value once, in order.
VALUES = np.arange(4096, dtype=np.uint16).reshape(SIZE)


def png(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def colour_png(level: int) -> bytes:
    """One pixel of 16-bit RGB, which Pillow cannot write."""
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" + struct.pack(">HHH", level, level, level))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    )


def tiff(pixels: bytes, size, *, bits=16, kind=1, white_is_zero=False, order="<") -> bytes:
    """An uncompressed grey TIFF; `kind` is 1 unsigned, 2 signed, 3 floating-point."""
    height, width = size
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, 0 if white_is_zero else 1)]
    tags += [(273, 8 + 2 + 12 * 10 + 4), (277, 1), (278, height), (279, len(pixels)), (339, kind)]
    entries = b"".join(
        struct.pack(order + "HHI", tag, 4 if tag in (273, 279) else 3, 1)
        + (
            struct.pack(order + "I", value)
            if tag in (273, 279)
            else struct.pack(order + "HH", value, 0)
        )
        for tag, value in tags
    )
    start = b"II*\0" if order == "<" else b"MM\0*"
    return (
        start
        + struct.pack(order + "IH", 8, len(tags))
        + entries
        + struct.pack(order + "I", 0)
        + pixels
    )


def pgm(values: np.ndarray, largest: int) -> bytes:
    return f"P5 {SIZE[1]} {SIZE[0]} {largest}\n".encode() + values.astype(">u2").tobytes()


def decode(data: bytes, *, bits: int = 16, **options) -> np.ndarray:
    image_format = ImageFormat(image_size=SIZE, channels=1, bits=bits)
    return decoding.decode_bytes(data, image_format, **options)[..., 0]


def rounded(values: np.ndarray, bits: int) -> np.ndarray:
    top = 2**bits - 1
    return np.floor(np.minimum(values.astype(int), top) * 255 / top + 0.5)


# ---------------------------------------------------------------------------- scaling


@pytest.mark.parametrize("bits", bit_depth.CHOICES)
@pytest.mark.parametrize(
    "encode",
    [
        png,
        lambda v: tiff(v.tobytes(), SIZE),
        lambda v: tiff(v.astype(">u2").tobytes(), SIZE, order=">"),
    ],
    ids=["png", "tiff", "tiff, high byte first"],
)
def test_values_are_scaled_from_the_range_and_rounded(encode, bits):
    values = np.minimum(VALUES, 2**bits - 1)
    np.testing.assert_array_equal(decode(encode(values), bits=bits), rounded(values, bits))


def test_12_bits_keep_256_levels_of_which_16_bits_keep_17():
    assert len(np.unique(decode(png(VALUES), bits=12))) == 256
    assert len(np.unique(decode(png(VALUES), bits=16))) == 17


@pytest.mark.parametrize("bits", bit_depth.CHOICES)
def test_white_is_255_and_8_bits_stretched_to_more_come_back(bits):
    top = 2**bits - 1
    levels = np.arange(256)
    stretched = np.round(levels * (top / 255)).astype(np.uint16).repeat(16).reshape(SIZE)
    np.testing.assert_array_equal(decode(png(stretched), bits=bits).ravel()[::16], levels)


def test_what_is_above_the_range_is_white_and_said():
    said: list[str] = []
    pixels = decode(png(VALUES * 2), bits=12, warn=said.append)
    assert (pixels[8:] == 255).all() and pixels[7, 255] == 255 and pixels[7, 0] < 255
    assert said == ["with values above 4,095, clipped to white: read as 12-bit"]
    said.clear()
    decode(png(VALUES), bits=12, warn=said.append)
    assert not said


@pytest.mark.parametrize("divisor", [1, 16])
@pytest.mark.parametrize("deep", [True, False])
def test_less_than_an_eighth_of_the_range_is_said(divisor, deep):
    said: list[str] = []
    values = VALUES // divisor
    data = png(values if deep else (values // 16).astype(np.uint8))
    # Padding does not count.
    padded = ImageFormat(image_size=(64, 64), channels=1, keep_aspect_ratio=True, bits=12)
    decoding.decode_bytes(data, padded, warn=said.append)
    assert said == (["with less than an eighth of the grey levels in use"] if divisor > 1 else [])


def test_a_range_that_the_file_states_is_kept():
    """PNM states its largest value; the data set's range is for those that do not."""
    expected = rounded(VALUES, 12)
    for bits in bit_depth.CHOICES:
        found = decode(pgm(VALUES, 4095), bits=bits)
        assert np.abs(found - expected).max() <= 1  # stretched to 16 bits on the way
    assert decode(pgm(VALUES, 4095), bits=8).max() == 255
    packed = np.repeat(np.array([[0x12, 0x34, 0x56]], np.uint8), 8 * 256, 0).tobytes()
    values = np.tile([0x123, 0x456], 2048).reshape(SIZE)
    for bits in bit_depth.CHOICES:
        found = decode(tiff(packed, SIZE, bits=12), bits=bits)
        np.testing.assert_array_equal(found, rounded(values, 12))


@pytest.mark.parametrize("bits", bit_depth.CHOICES)
def test_white_is_zero_is_turned_around(bits):
    values = np.minimum(VALUES, 2**bits - 1)
    found = decode(tiff(values.tobytes(), SIZE, white_is_zero=True), bits=bits)
    np.testing.assert_array_equal(found, rounded(2**bits - 1 - values.astype(int), bits))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (tiff(VALUES.astype(np.float32).tobytes(), SIZE, bits=32, kind=3), "floating-point TIFF"),
        (tiff(VALUES.astype(np.int32).tobytes(), SIZE, bits=32, kind=2), "signed or 32-bit TIFF"),
        (tiff(VALUES.astype(np.int16).tobytes(), SIZE, kind=2), "signed or 32-bit TIFF"),
    ],
)
def test_pixels_without_a_range_are_refused(data, reason):
    with pytest.raises(DecodeError, match=reason):
        decode(data)


def test_deep_colour_is_refused_where_its_low_byte_would_count():
    assert decode(colour_png(65535)).max() == 255
    with pytest.raises(DecodeError, match="16-bit grey or as 8-bit colour"):
        decode(colour_png(4095), bits=12)


# ---------------------------------------------------------------------------- finding the range


@pytest.mark.parametrize(
    ("largest", "bits"),
    [(None, 16), (0, 8), (255, 8), (256, 12), (1023, 12), (4095, 12), (4096, 16), (65535, 16)],
)
def test_the_fewest_bits_that_hold_the_largest_value(largest, bits):
    assert bit_depth.assumed(largest) == bits


@pytest.mark.parametrize(
    ("data", "largest"),
    [
        (png(VALUES), 4095),
        (tiff(VALUES.tobytes(), SIZE), 4095),
        (tiff(VALUES.astype(">u2").tobytes(), SIZE, order=">"), 4095),
        (colour_png(4095), 4095),
        (colour_png(65535), 65535),
        (png(VALUES.astype(np.uint8)), None),
        (tiff(VALUES.astype(np.uint8).tobytes(), SIZE, bits=8), None),
        (tiff(VALUES.astype(np.float32).tobytes(), SIZE, bits=32, kind=3), None),
        (pgm(VALUES, 65535), None),
        (png(VALUES)[:60], None),
        (b"\xff\xd8\xff\xe0", None),
        (b"", None),
    ],
)
def test_the_largest_value_of_files_that_do_not_state_their_range(data, largest):
    assert decoding.largest_deep_value(data) == largest
    assert largest is None or bit_depth.may_be_deep(data[:26])
