"""DICOM files through the decoder: each kind of pixels equals the array that it was made from."""

import io
import warnings
from pathlib import Path

import dicom_files
import numpy as np
import pytest
from PIL import Image
from pydicom import uid
from pydicom.data import get_testdata_file

from engine.images import decoding
from engine.images.decoding import DecodeError
from engine.images.dicom import header, picture
from engine.images.format import ImageFormat

SIZE = (40, 56)
GREY = ImageFormat(image_size=SIZE, channels=1)
COLOUR = ImageFormat(image_size=SIZE, channels=3)
LOSSLESS = [
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.RLELossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
]


@pytest.fixture(scope="module")
def twelve_bits() -> np.ndarray:
    """uint16[H, W] noise that has 0 and 4095."""
    values = np.random.default_rng(0).integers(0, 4096, SIZE).astype(np.uint16)
    values[0, :2] = 0, 4095
    return values


@pytest.fixture(scope="module")
def colours() -> np.ndarray:
    """uint8[H, W, 3] noise."""
    return np.random.default_rng(1).integers(0, 256, (*SIZE, 3)).astype(np.uint8)


def decode(data: bytes, image_format: ImageFormat = GREY, **options) -> np.ndarray:
    pixels = decoding.decode_bytes(data, image_format, **options)
    return pixels[..., 0] if image_format.channels == 1 else pixels


def scaled(values: np.ndarray, bits: int = 12) -> np.ndarray:
    """What 0 to 2**bits - 1 is in 8 bits, as PNG has it."""
    return np.round(values / (2**bits - 1) * 255).astype(np.uint8)


def doubts_of(data: bytes, image_format: ImageFormat = GREY) -> list[str]:
    found: list[str] = []
    decode(data, image_format, warn=found.append)
    return found


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword)
def test_twelve_bits_in_every_lossless_syntax(twelve_bits, syntax):
    data = dicom_files.encoded(twelve_bits, bits=12, syntax=syntax)
    np.testing.assert_array_equal(decode(data), scaled(twelve_bits))


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword)
def test_eight_bits_are_left_as_they_are(twelve_bits, syntax):
    values = (twelve_bits >> 4).astype(np.uint8)
    np.testing.assert_array_equal(decode(dicom_files.encoded(values, syntax=syntax)), values)


@pytest.mark.parametrize(
    "syntax", [s for s in LOSSLESS if s != uid.JPEGLosslessSV1], ids=lambda syntax: syntax.keyword
)
def test_colours_in_every_lossless_syntax(colours, syntax):
    data = dicom_files.encoded(colours, syntax=syntax)
    np.testing.assert_array_equal(decode(data, COLOUR), colours)


def test_monochrome1_is_inverted(twelve_bits):
    data = dicom_files.encoded(twelve_bits, bits=12, photometric="MONOCHROME1")
    np.testing.assert_array_equal(decode(data), 255 - scaled(twelve_bits))


def test_grey_in_colour_has_equal_channels_and_colour_in_grey_its_luminance(twelve_bits, colours):
    grey = decode(dicom_files.encoded(twelve_bits, bits=12), COLOUR)
    np.testing.assert_array_equal(grey, np.repeat(scaled(twelve_bits)[..., None], 3, axis=-1))
    expected = np.asarray(Image.fromarray(colours).convert("L"))
    np.testing.assert_array_equal(decode(dicom_files.encoded(colours)), expected)


def test_pixels_equal_those_of_a_png(twelve_bits):
    """Also where they are resized and padded."""
    small = ImageFormat(image_size=(24, 24), channels=1, keep_aspect_ratio=True, bits=12)
    png = io.BytesIO()
    Image.fromarray(twelve_bits).save(png, "PNG")
    data = dicom_files.encoded(twelve_bits, bits=12)
    np.testing.assert_array_equal(decode(data, small), decode(png.getvalue(), small))


@pytest.mark.parametrize("quality", [75, 95])
def test_jpeg_baseline_equals_pillow(twelve_bits, quality):
    smooth = Image.fromarray((twelve_bits[::8, ::8] >> 4).astype(np.uint8)).resize(SIZE[::-1])
    jpeg = io.BytesIO()
    smooth.save(jpeg, "JPEG", quality=quality)
    data = with_frame(np.asarray(smooth), jpeg.getvalue(), uid.JPEGBaseline8Bit)
    np.testing.assert_array_equal(decode(data), np.asarray(Image.open(jpeg)))


def test_colour_jpeg_is_converted_as_its_attributes_say(colours):
    smooth = Image.fromarray(colours[::8, ::8]).resize(SIZE[::-1])
    jpeg = io.BytesIO()
    smooth.save(jpeg, "JPEG", quality=95)
    data = with_frame(
        np.asarray(smooth), jpeg.getvalue(), uid.JPEGBaseline8Bit, photometric="YBR_FULL_422"
    )
    difference = decode(data, COLOUR).astype(int) - np.asarray(Image.open(jpeg))
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("planes", [0, 1, None])
@pytest.mark.parametrize("kind", ["JPEG", "JPEG 2000"])
def test_planar_configuration_says_nothing_of_compressed_colours(colours, kind, planes):
    """Decoders give a pixel's colours side by side; some writers leave another value, or none, behind."""
    smooth = np.asarray(Image.fromarray(colours[::8, ::8]).resize(SIZE[::-1]))
    if kind == "JPEG":
        jpeg = io.BytesIO()
        Image.fromarray(smooth).save(jpeg, "JPEG", quality=95)
        data = with_frame(
            smooth,
            jpeg.getvalue(),
            uid.JPEGBaseline8Bit,
            photometric="YBR_FULL_422",
            PlanarConfiguration=planes,
        )
        expected = np.asarray(Image.open(jpeg))
    else:
        data = dicom_files.encoded(smooth, syntax=uid.JPEG2000Lossless, PlanarConfiguration=planes)
        expected = smooth
    assert np.abs(decode(data, COLOUR).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("shape", [(40, 56), (39, 55)])
def test_bytes_that_a_big_endian_file_stores_as_words(shape):
    """PS3.5 A.3: the first of two bytes is the lower one of a word, and so comes second."""
    values = np.random.default_rng(2).integers(0, 256, shape).astype(np.uint8)
    made = dicom_files.dataset(values, syntax=uid.ExplicitVRBigEndian)
    padded = values.tobytes() + b"\0" * (values.size % 2)
    made.PixelData = np.frombuffer(padded, np.uint16).byteswap().tobytes()
    made["PixelData"].VR = "OW"
    image_format = ImageFormat(image_size=shape, channels=1)
    np.testing.assert_array_equal(decode(dicom_files.to_bytes(made), image_format), values)


def test_a_kind_of_pixels_in_small_letters(twelve_bits):
    data = dicom_files.encoded(twelve_bits, bits=12, photometric="MONOCHROME1")
    data = data.replace(b"MONOCHROME1", b"monochrome1")
    np.testing.assert_array_equal(decode(data), 255 - scaled(twelve_bits))


def with_frame(pixels: np.ndarray, frame: bytes, syntax: uid.UID, **options) -> bytes:
    """A file of one compressed frame that was made elsewhere."""
    from pydicom.encaps import encapsulate

    made = dicom_files.dataset(pixels, **options)
    made.file_meta.TransferSyntaxUID = syntax
    made.PixelData = encapsulate([frame])
    return dicom_files.to_bytes(made)


def test_full_range_luminance_and_chrominance(colours):
    """YBR_FULL, ITU-R 601 over the full range, back to the colours within rounding."""
    forward = [[0.299, -0.1687, 0.5], [0.587, -0.3313, -0.4187], [0.114, 0.5, -0.0813]]
    ycc = np.round(np.clip(colours @ np.array(forward) + [0, 128, 128], 0, 255)).astype(np.uint8)
    data = dicom_files.encoded(ycc, photometric="YBR_FULL")
    assert np.abs(decode(data, COLOUR).astype(int) - colours).max() <= 2


def test_colours_of_sixteen_bits(colours):
    data = dicom_files.encoded(colours.astype(np.uint16) * 257)
    np.testing.assert_array_equal(decode(data, COLOUR), colours)


@pytest.mark.parametrize("factor", [256, 257])
def test_palette(colours, factor):
    """Whether 8-bit colours were shifted or stretched to the 16 bits of a palette."""
    table = colours.reshape(-1, 3)[:256]
    index = np.random.default_rng(2).integers(0, 256, SIZE).astype(np.uint8)
    entries = dicom_files.palette(table.astype(np.uint16) * factor)
    data = dicom_files.encoded(index, photometric="PALETTE COLOR", **entries)
    np.testing.assert_array_equal(decode(data, COLOUR), table[index])


def test_the_palette_of_a_big_endian_file():
    table = np.arange(768, dtype=np.uint16).reshape(256, 3) % 256 * 256 + 7
    index = np.random.default_rng(3).integers(0, 256, SIZE).astype(np.uint8)
    entries = dicom_files.palette(table.byteswap())
    data = dicom_files.encoded(
        index, syntax=uid.ExplicitVRBigEndian, photometric="PALETTE COLOR", **entries
    )
    np.testing.assert_array_equal(decode(data, COLOUR), (table >> 8)[index])


def test_of_several_frames_the_first_is_read_and_said(twelve_bits):
    frames = np.stack([twelve_bits, 4095 - twelve_bits, twelve_bits // 2])
    for syntax in (uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEG2000Lossless):
        data = dicom_files.encoded(frames, bits=12, syntax=syntax, NumberOfFrames=3)
        np.testing.assert_array_equal(decode(data), scaled(twelve_bits))
        assert doubts_of(data) == [picture.SEVERAL_FRAMES]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"Rows": SIZE[0] // 2}, [picture.MORE_BYTES]),
        ({"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, [picture.MORE_BYTES]),
        ({}, []),
    ],
)
def test_more_bytes_than_the_attributes_say_are_doubted(twelve_bits, attributes, expected):
    data = dicom_files.encoded(twelve_bits, bits=12, **attributes)
    assert doubts_of(data) == expected


def test_the_byte_that_makes_a_length_even_is_not_doubted(twelve_bits):
    values = (twelve_bits[:-1, :-1] >> 4).astype(np.uint8)
    made = dicom_files.dataset(values)
    made.PixelData += b"\0"
    assert doubts_of(dicom_files.to_bytes(made)) == []


def test_binary_pixels(twelve_bits):
    binary = twelve_bits > 2000
    made = dicom_files.dataset(binary.astype(np.uint8))
    made.BitsAllocated, made.BitsStored, made.HighBit = 1, 1, 0
    made.PixelData = np.packbits(binary.ravel(), bitorder="little").tobytes()
    np.testing.assert_array_equal(decode(dicom_files.to_bytes(made)), binary * 255)


def test_bits_beyond_those_stored_are_ignored(twelve_bits):
    """They once held overlays."""
    data = dicom_files.encoded(twelve_bits | 0x7000, bits=12)
    np.testing.assert_array_equal(decode(data), scaled(twelve_bits))


@pytest.mark.parametrize(
    ("attributes", "aspect"),
    [
        ({}, 1.0),
        ({"PixelSpacing": [0.4, 0.2]}, 2.0),
        ({"ImagerPixelSpacing": [0.2, 0.4]}, 0.5),
        ({"PixelAspectRatio": ["2", "1"], "PixelSpacing": [0.2, 0.2]}, 2.0),
        ({"PixelSpacing": [0.2, 0.2001]}, 1.0),
        ({"PixelSpacing": [0.2, 0.0]}, 1.0),
        ({"PixelSpacing": [100, 0.1]}, 1.0),
    ],
)
def test_pixels_that_are_not_square(twelve_bits, attributes, aspect):
    """The image keeps the shape of what it shows; the padding says how it was fitted."""
    data = dicom_files.encoded(np.maximum(twelve_bits, 200), bits=12, **attributes)
    assert picture.pixel_aspect(header.read(data, 10**6)) == aspect
    fitted = decode(data, ImageFormat(image_size=(112, 112), channels=1, keep_aspect_ratio=True))
    rows, columns = (int(fitted.any(axis=axis).sum()) for axis in (1, 0))
    assert rows / columns == pytest.approx(aspect * SIZE[0] / SIZE[1], rel=0.02)


def test_files_are_found_by_content_and_decoded_without_a_name(tmp_path, twelve_bits):
    data = dicom_files.encoded(twelve_bits, bits=12)
    (tmp_path / "IM0001").write_bytes(data)
    found = decoding.decode_file(tmp_path / "IM0001", GREY)[..., 0]
    np.testing.assert_array_equal(found, scaled(twelve_bits))


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
def test_files_without_a_preamble(twelve_bits, syntax):
    data = dicom_files.encoded(twelve_bits, bits=12, syntax=syntax)
    np.testing.assert_array_equal(decode(data[132:]), scaled(twelve_bits))
    without_meta = data[data.index(b"\x08\x00\x16\x00") :]
    np.testing.assert_array_equal(decode(without_meta), scaled(twelve_bits))


@pytest.mark.parametrize(
    "names",
    [
        ("MR_small", "MR_small_RLE", "MR_small_bigendian", "MR_small_expb", "MR_small_implicit"),
        ("MR_small", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "MR_small_padded"),
        ("SC_rgb_rle", "SC_rgb_rle_16bit", "SC_rgb_rle_16bit_2frame", "SC_rgb_rle_2frame"),
        ("liver_1frame", "liver_expb_1frame"),
    ],
)
def test_files_of_other_writers_agree_over_syntaxes(names):
    """Those that come with pydicom."""
    data = [Path(get_testdata_file(f"{name}.dcm", download=False)).read_bytes() for name in names]
    first, *others = (decode(one, COLOUR) for one in data)
    assert np.ptp(first) > 100
    for other in others:
        np.testing.assert_array_equal(other, first)


@pytest.mark.parametrize(
    "name", ["SC_rgb_jpeg_dcmtk", "SC_rgb_jpeg_gdcm", "SC_ybr_full_422_uncompressed"]
)
def test_colours_of_other_writers(name):
    """Bars of known colours."""
    data = Path(get_testdata_file(f"{name}.dcm", download=False)).read_bytes()
    pixels = decode(data, ImageFormat(image_size=(100, 100), channels=3))
    for row, colour in ((5, (255, 0, 0)), (25, (0, 255, 0)), (45, (0, 0, 255)), (65, (0, 0, 0))):
        assert np.abs(pixels[row, 50].astype(int) - colour).max() <= 6


@pytest.mark.filterwarnings("ignore:Expected explicit VR")
def test_elements_that_do_not_name_their_representation_as_the_syntax_says():
    data = Path(get_testdata_file("SC_rgb_jpeg.dcm", download=False)).read_bytes()
    assert decode(data, COLOUR).mean() > 200


def test_jpeg_of_twelve_bits_names_the_plugin_that_reads_it():
    with pytest.raises(DecodeError, match=r"12-bit JPEG.*pip install pylibjpeg"):
        decode(Path(get_testdata_file("JPGExtended.dcm", download=False)).read_bytes())


def test_larger_images_are_refused_by_their_header(twelve_bits):
    for syntax in (uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian):
        data = dicom_files.encoded(twelve_bits, bits=12, syntax=syntax, Rows=60_000, Columns=60_000)
        with pytest.raises(DecodeError, match="more than --max-pixels 80,000,000"):
            decode(data)


def test_without_pydicom_the_reason_says_how_to_install_it(twelve_bits, monkeypatch):
    monkeypatch.setattr("engine.images.dicom.recognition.is_readable", lambda: False)
    with pytest.raises(DecodeError, match=r"pip install -e '\.\[dicom\]'"):
        decode(dicom_files.encoded(twelve_bits))


def test_damaged_files_are_refused_or_decoded_but_never_break(twelve_bits):
    """Bytes changed at random, and files cut off, of every syntax."""
    rng = np.random.default_rng(3)
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for syntax in LOSSLESS:
            data = dicom_files.encoded(twelve_bits, bits=12, syntax=syntax)
            for trial in range(6):
                changed = bytearray(data)
                if trial % 3 == 0:
                    changed = changed[: rng.integers(150, len(data) - 1)]
                else:
                    first = 150 if trial % 3 == 1 else len(data) // 2
                    for at in rng.integers(first, len(data) - 1, 4):
                        changed[at] = rng.integers(256)
                try:
                    assert decode(bytes(changed)).shape == SIZE
                except DecodeError as error:
                    refused += 1
                    assert len(error.reason) < 600 and error.reason.isprintable()
    assert refused >= 2 * len(LOSSLESS)  # at least those that were cut off
