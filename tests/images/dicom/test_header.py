"""What is refused by its header, with the reason, and that reading it takes bounded memory."""

import tracemalloc
import zlib
from pathlib import Path

import dicom_files
import numpy as np
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate

from engine.images import decoding
from engine.images.decoding import DecodeError
from engine.images.dicom import description, header
from engine.images.format import ImageFormat

PIXELS = np.random.default_rng(0).integers(0, 256, (48, 48)).astype(np.uint8)
FORMAT = ImageFormat(image_size=(48, 48), channels=1)


def reason(data: bytes, **options) -> str:
    with pytest.raises(DecodeError) as caught:
        decoding.decode_bytes(data, FORMAT, **options)
    assert "\n" not in caught.value.reason
    return caught.value.reason


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"SOPClassUID": uid.BasicTextSRStorage}, "without an image (Basic Text SR Storage)"),
        (
            {"SOPClassUID": uid.EncapsulatedPDFStorage},
            "without an image (Encapsulated PDF Storage)",
        ),
        ({"SOPClassUID": "1.2.3.4", "Modality": "PR"}, "without an image"),
    ],
)
def test_files_without_an_image(attributes, expected):
    absent = dict.fromkeys(("PixelData", "Rows", "Columns"))
    assert expected in reason(dicom_files.encoded(PIXELS, **attributes, **absent))


def test_directories_of_files_have_no_image():
    from pydicom.data import get_testdata_file

    data = Path(get_testdata_file("DICOMDIR", download=False)).read_bytes()
    assert "without an image (Media Storage Directory Storage)" in reason(data)


def test_pixels_of_numbers_with_a_point():
    made = dicom_files.dataset(PIXELS, PixelData=None, BitsAllocated=32)
    made.FloatPixelData = np.zeros((48, 48), "<f4").tobytes()
    assert "floating-point" in reason(dicom_files.to_bytes(made))


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.99])
@pytest.mark.parametrize(
    "syntax",
    [
        uid.ExplicitVRLittleEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.RLELossless,
        uid.JPEGLSLossless,
        uid.JPEG2000Lossless,
    ],
    ids=lambda syntax: syntax.keyword,
)
def test_files_cut_off_within_their_pixels(syntax, kept):
    data = dicom_files.encoded(PIXELS, syntax=syntax)
    assert "truncated" in reason(data[: -int((1 - kept) * PIXELS.size)])


def test_pixels_without_a_length_are_no_uncompressed_ones():
    """Compressed pixels whose header says that they are not would be shown as noise."""
    stated = b"OB\0\0" + PIXELS.size.to_bytes(4, "little")
    data = dicom_files.encoded(PIXELS)
    assert data.count(stated) == 1
    assert "pixels without a length" in reason(data.replace(stated, b"OB\0\0\xff\xff\xff\xff"))


@pytest.mark.parametrize("length", [132, 140, 200, 300])
def test_files_cut_off_within_their_attributes(length):
    assert "DICOM file" in reason(dicom_files.encoded(PIXELS)[:length])


@pytest.mark.parametrize("syntax", [uid.MPEG4HP41, uid.UID("1.2.840.10008.1.2.4.999")])
def test_syntaxes_that_are_not_read_are_named(syntax):
    made = dicom_files.dataset(PIXELS)
    made.file_meta.TransferSyntaxUID = uid.MPEG4HP41
    made.PixelData = encapsulate([b"frame!"])
    data = dicom_files.to_bytes(made)
    data = data.replace(uid.MPEG4HP41.encode().ljust(24, b"\0"), syntax.encode().ljust(24, b"\0"))
    found = reason(data)
    assert syntax.name in found and "is not read" in found


def test_a_syntax_whose_decoder_is_missing_says_how_to_install_it(monkeypatch):
    from pydicom.pixels.decoders import JPEG2000LosslessDecoder

    monkeypatch.setattr(JPEG2000LosslessDecoder, "_available", {})
    found = reason(dicom_files.encoded(PIXELS, syntax=uid.JPEG2000Lossless))
    assert "JPEG 2000" in found and "pip install -e '.[dicom]'" in found


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.JPEGLSLossless, uid.JPEGLosslessSV1])
def test_a_codestream_of_another_size_is_refused_before_it_is_decoded(syntax):
    """A small image by its attributes may be a decompression bomb within."""
    data = dicom_files.encoded(np.zeros((64, 64), np.uint8), syntax=syntax, Rows=48, Columns=48)
    assert "compressed pixels are 64 x 64 x 1, its attributes say 48 x 48 x 1" in reason(data)


def peak_bytes(data: bytes, **options) -> int:
    reason(data, **options)  # imports are done
    tracemalloc.start()
    try:
        reason(data, **options)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def with_zeros(data: bytes, count: int) -> bytes:
    """A deflated file with so many zeros at its end."""
    start = data.index(uid.DeflatedExplicitVRLittleEndian.encode()) + 22
    start = data.index(b"\x02\x00\x12\x00", start)
    start += 8 + int.from_bytes(data[start + 6 : start + 8], "little")
    rest = data[start:]
    while rest[:2] == b"\x02\x00":  # what follows in group 0002
        size = 8 + int.from_bytes(rest[6:8], "little")
        start, rest = start + size, rest[size:]
    plain = zlib.decompress(rest, -15)
    packer = zlib.compressobj(9, wbits=-15)
    return data[:start] + packer.compress(plain + bytes(count)) + packer.flush()


def test_a_deflated_file_is_inflated_no_further_than_its_image(monkeypatch):
    """16 MB of zeros in 16 KB, behind a header that asks for more pixels than are allowed."""
    monkeypatch.setattr(header, "DEFLATED_HEADER_BYTES", 1 << 18)
    data = dicom_files.encoded(PIXELS, syntax=uid.DeflatedExplicitVRLittleEndian, Rows=9000)
    bomb = with_zeros(data, 16 << 20)
    assert "max-pixels 100,000" in reason(bomb, max_pixels=100_000)
    assert peak_bytes(bomb, max_pixels=100_000) < 2 << 20


@pytest.mark.parametrize(
    "attributes",
    [{"SamplesPerPixel": 65_535}, {"BitsAllocated": 65_528}, {"BitsAllocated": 64}],
)
def test_a_deflated_file_of_samples_that_no_image_has_is_not_inflated(attributes, monkeypatch):
    monkeypatch.setattr(header, "DEFLATED_HEADER_BYTES", 1 << 12)
    syntax = uid.DeflatedExplicitVRLittleEndian
    data = with_zeros(dicom_files.encoded(PIXELS, syntax=syntax, **attributes), 16 << 20)
    assert "expected 1 or 3 samples with 1, 8 or 16 bits" in reason(data)
    assert peak_bytes(data) < 2 << 20
    assert description.describe(data, 10**6) is None


def test_run_lengths_are_expanded_no_further_than_the_image():
    """1 MB of codes that would expand to 64 MB."""
    made = dicom_files.dataset(PIXELS)
    made.file_meta.TransferSyntaxUID = uid.RLELossless
    segments = (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56)
    made.PixelData = encapsulate([segments + b"\x81\x07" * (1 << 19)])
    data = dicom_files.to_bytes(made)
    tracemalloc.start()
    try:
        assert not np.ptp(decoding.decode_bytes(data, FORMAT))
        assert tracemalloc.get_traced_memory()[1] < 3 * len(data)
    finally:
        tracemalloc.stop()


def test_sequences_within_sequences_end_in_a_refusal_or_an_image():
    item, end = b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\xfe\xff\x0d\xe0" + bytes(4)
    sequence = b"\x28\x00\x10\x30SQ\0\0\xff\xff\xff\xff"
    depth = 5000
    nested = (sequence + item) * depth + (end + b"\xfe\xff\xdd\xe0" + bytes(4)) * depth
    data = dicom_files.encoded(PIXELS)
    at = data.index(b"\xe0\x7f\x10\x00")
    assert "damaged DICOM file" in reason(data[:at] + nested + data[at:])


def test_nothing_in_a_file_is_executed(tmp_path, monkeypatch):
    """No attribute leads to another file or to code: paths and addresses in it are not opened."""
    monkeypatch.chdir(tmp_path)
    import builtins

    opened = []
    monkeypatch.setattr(builtins, "open", lambda *given, **kw: opened.append(given))
    data = dicom_files.encoded(PIXELS, RetrieveURL="file:///etc/passwd", PixelDataProviderURL="x")
    np.testing.assert_array_equal(decoding.decode_bytes(data, FORMAT)[..., 0], PIXELS)
    assert not opened
