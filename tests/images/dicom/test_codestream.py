"""The size that compressed pixels state is read where a decoder reads it."""

import io
import struct

import dicom_files
import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from engine.images import decoding
from engine.images.decoding import DecodeError
from engine.images.dicom import codestream
from engine.images.format import ImageFormat

SIZE = (40, 56)
PIXELS = np.random.default_rng(0).integers(0, 256, SIZE).astype(np.uint8)
FAKE = b"\xff\x4f\xff\x51" + struct.pack(">HH8LH4B", 41, 0, 8, 8, 0, 0, 8, 8, 0, 0, 1, 7, 1, 1, 0)


def encoded(**options) -> bytes:
    """JPEG 2000 of `PIXELS`: a JP2 file or, with `no_jp2`, the codestream alone."""
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "JPEG2000", **options)
    return file.getvalue()


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">L4s", 8 + len(content), kind) + content


def with_boxes(boxes: bytes) -> bytes:
    """A JP2 file with further boxes behind its file type."""
    jp2 = encoded()
    end = 12 + int.from_bytes(jp2[12:16], "big")
    return jp2[:end] + boxes + jp2[end:]


def in_a_file(frame: bytes, rows: int, columns: int) -> bytes:
    made = dicom_files.dataset(PIXELS, Rows=rows, Columns=columns)
    made.file_meta.TransferSyntaxUID = JPEG2000Lossless
    made.PixelData = encapsulate([frame])
    return dicom_files.to_bytes(made)


@pytest.mark.parametrize(
    "frame",
    [
        encoded(no_jp2=True),
        encoded(),
        with_boxes(box(b"free", bytes(9000))),
        with_boxes(box(b"free", FAKE)),
        with_boxes(struct.pack(">L4sQ", 1, b"free", 16 + len(FAKE)) + FAKE),
    ],
)
def test_the_codestream_behind_any_boxes_is_found(frame):
    assert codestream.read_header(frame) == (*SIZE, 1, 8)


def test_a_box_that_looks_like_a_small_codestream_hides_no_large_one():
    frame = with_boxes(box(b"free", FAKE))
    with pytest.raises(DecodeError, match="pixels are 56 x 40 x 1, its attributes say 8 x 8 x 1"):
        decoding.decode_bytes(in_a_file(frame, 8, 8), ImageFormat(image_size=SIZE, channels=1))


@pytest.mark.parametrize("name", ["zero", "short", "beyond", "many", "ahead", "absent"])
def test_anything_else_has_no_header(name):
    jp2 = encoded()
    frame = {
        "zero": with_boxes(struct.pack(">L4s", 0, b"free") + FAKE),
        "short": with_boxes(struct.pack(">L4s", 4, b"free") + FAKE),
        "beyond": with_boxes(struct.pack(">L4sQ", 1, b"free", (1 << 64) - 1) + FAKE),
        "many": with_boxes(box(b"free", b"") * 100_000),
        "ahead": bytes(8) + FAKE + encoded(no_jp2=True),
        "absent": jp2[: jp2.index(b"jp2c") - 4],
    }[name]
    with pytest.raises(DecodeError, match="its compressed pixels have no header"):
        codestream.read_header(frame)


def test_a_jp2_file_within_is_decoded():
    data = in_a_file(encoded(), *SIZE)
    found = decoding.decode_bytes(data, ImageFormat(image_size=SIZE, channels=1))
    np.testing.assert_array_equal(found[..., 0], PIXELS)
