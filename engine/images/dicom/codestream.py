"""The first frame of compressed pixels, and the size that it states itself.

A decoder believes its codestream, whatever the file's attributes say. One that claims another size is
refused before it is decoded: it would not fit, and may be a decompression bomb.
"""

import struct
from typing import NamedTuple

from engine.images.source_file import DecodeError

_ITEM, _DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_JPEG_START, _JPEG_LS_FRAME = b"\xff\xd8", 0xF7
_JPEG_FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
_J2K_START = b"\xff\x4f\xff\x51"
_JP2_START = b"\0\0\0\x0cjP  \r\n\x87\n"
_MOST_BOXES = 64  # in front of the codestream; writers put 3 to 10 there
_TRUNCATED = "truncated DICOM file: ends within its compressed pixels"


def first_frame(pixels: memoryview, num_frames: int) -> bytes:
    """The codestream of the first frame.

    Args:
        pixels: the value of encapsulated Pixel Data (PS3.5 A.4).

    Raises:
        DecodeError: the file ends within it, or frames cannot be told apart.
    """
    offsets, *fragments = _items(pixels)
    if num_frames <= 1 or not fragments:
        return b"".join(fragments)
    if len(fragments) == num_frames:
        return bytes(fragments[0])
    if len(offsets) < 8:
        raise DecodeError(
            "compressed DICOM frames in several parts without a table of their places"
        )
    (end,) = struct.unpack_from("<L", offsets, 4)
    frame, at = [], 0
    for fragment in fragments:
        if at >= end:
            break
        frame.append(fragment)
        at += 8 + len(fragment)
    return b"".join(frame)


def _items(pixels: memoryview) -> list[memoryview]:
    """The table of offsets (empty where there is none) and the fragments behind it."""
    found: list[memoryview] = []
    at = 0
    while at < len(pixels):
        if pixels[at : at + 4] == _DELIMITER:
            break
        if pixels[at : at + 4] != _ITEM or at + 8 > len(pixels):
            raise DecodeError(_TRUNCATED if found else "damaged DICOM file: no compressed pixels")
        (length,) = struct.unpack_from("<L", pixels, at + 4)
        if at + 8 + length > len(pixels):
            raise DecodeError(_TRUNCATED)
        found.append(pixels[at + 8 : at + 8 + length])
        at += 8 + length
    if len(found) < 2:
        raise DecodeError("truncated DICOM file: holds no compressed pixels")
    return found


class Stated(NamedTuple):
    """What a codestream says of its image; `bits` per sample."""

    height: int
    width: int
    components: int
    bits: int


def read_header(frame: bytes) -> Stated:
    """What the header of a JPEG, JPEG-LS or JPEG 2000 codestream states.

    Raises:
        DecodeError: it has none.
    """
    stated = _jpeg_header(frame) if frame.startswith(_JPEG_START) else _j2k_header(frame)
    if stated is None:
        raise DecodeError("damaged DICOM file: its compressed pixels have no header")
    return stated


def _j2k_header(frame: bytes) -> Stated | None:
    """Read where a decoder reads it: what looks like a header anywhere else says nothing of the image."""
    at = _codestream_place(frame) if frame.startswith(_JP2_START) else 0
    if at is None or frame[at : at + 4] != _J2K_START or len(frame) < at + 43:
        return None
    right, bottom, left, top = struct.unpack_from(">4L", frame, at + 8)
    components, depth = struct.unpack_from(">HB", frame, at + 40)
    return Stated(bottom - top, right - left, components, (depth & 0x7F) + 1)


def _codestream_place(frame: bytes) -> int | None:
    """Where the content of the first `jp2c` box begins (ISO/IEC 15444-1, annex I.4); None without one."""
    at = 0
    for _ in range(_MOST_BOXES):
        if len(frame) < at + 16:
            return None
        length, kind = struct.unpack_from(">L4s", frame, at)
        header_bytes = 8
        if length == 1:  # a longer one follows
            (length,) = struct.unpack_from(">Q", frame, at + 8)
            header_bytes = 16
        if kind == b"jp2c":
            return at + header_bytes
        if length < header_bytes:  # 0 is all that follows, in which there is no other box
            return None
        at += length
    return None


def _jpeg_header(frame: bytes) -> Stated | None:
    at = 2
    while len(frame) >= at + 10 and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in _JPEG_FRAMES or marker == _JPEG_LS_FRAME:
            bits, height, width, components = struct.unpack_from(">BHHB", frame, at + 4)
            return Stated(height, width, components, bits)
        (length,) = struct.unpack_from(">H", frame, at + 2)
        at += 2 + length
    return None
