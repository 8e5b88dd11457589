"""Windows and look-up tables, against the formulas of PS3.3 C.11 written out value by value."""

import math

import dicom_files
import numpy as np
import pytest
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from engine.images import decoding
from engine.images.decoding import DecodeError
from engine.images.dicom import grey
from engine.images.format import ImageFormat

VALUES = np.arange(4096, dtype=np.uint16).reshape(64, 64)
HOUNSFIELD = np.arange(-1024, 3072, dtype=np.int16).reshape(64, 64)
FORMAT = ImageFormat(image_size=(64, 64), channels=1)


def shown(values: np.ndarray = VALUES, *, doubts: list[str] | None = None, **options) -> np.ndarray:
    """uint8[H, W] of a file made from values."""
    data = dicom_files.encoded(values, **{"bits": 12, **options})
    warn = None if doubts is None else doubts.append
    return decoding.decode_bytes(data, FORMAT, warn=warn)[..., 0]


def linear(value: float, center: float, width: float) -> float:
    """PS3.3 C.11.2.1.2.1, with an output from 0 to 255."""
    if value <= center - 0.5 - (width - 1) / 2:
        return 0
    if value > center - 0.5 + (width - 1) / 2:
        return 255
    return ((value - (center - 0.5)) / (width - 1) + 0.5) * 255


def linear_exact(value: float, center: float, width: float) -> float:
    """PS3.3 C.11.2.1.3.2."""
    if value <= center - width / 2:
        return 0
    if value > center + width / 2:
        return 255
    return ((value - center) / width + 0.5) * 255


def sigmoid(value: float, center: float, width: float) -> float:
    """PS3.3 C.11.2.1.3.1."""
    return 255 / (1 + math.exp(min(-4 * (value - center) / width, 700)))


def by(function, values: np.ndarray, center: float, width: float) -> np.ndarray:
    levels = [math.floor(function(float(value), center, width) + 0.5) for value in values.ravel()]
    return np.array(levels, np.uint8).reshape(values.shape)


@pytest.mark.parametrize(
    ("name", "function"),
    [(None, linear), ("LINEAR", linear), ("LINEAR_EXACT", linear_exact), ("SIGMOID", sigmoid)],
)
@pytest.mark.parametrize(("center", "width"), [(2048, 4096), (1000, 500), (10.5, 3.25), (3000, 1)])
def test_windows(name, function, center, width):
    if width == 1 and function is linear:

        def function(value, center, width):
            return 255 * (value > center - 0.5)

    found = shown(
        WindowCenter=center, WindowWidth=width, **({"VOILUTFunction": name} if name else {})
    )
    np.testing.assert_array_equal(found, by(function, VALUES, center, width))


def test_of_several_windows_the_first_is_used():
    found = shown(WindowCenter=[1000, 3000], WindowWidth=[500, 100])
    np.testing.assert_array_equal(found, by(linear, VALUES, 1000, 500))


def test_signed_values_with_a_rescale_and_a_window():
    """As in computed tomography: stored as x + 24, window in Hounsfield units."""
    stored = (HOUNSFIELD // 2).astype(np.int16)
    found = shown(
        stored, RescaleSlope=2, RescaleIntercept=-24, WindowCenter=40, WindowWidth=400, bits=16
    )
    np.testing.assert_array_equal(found, by(linear, 2.0 * stored - 24, 40, 400))


def test_a_negative_slope_inverts():
    np.testing.assert_array_equal(shown(RescaleSlope=-1, RescaleIntercept=4095), 255 - shown())


def test_a_window_and_monochrome1():
    window = {"WindowCenter": 1000, "WindowWidth": 500}
    inverted = shown(**window, photometric="MONOCHROME1")
    np.testing.assert_array_equal(inverted, 255 - by(linear, VALUES, 1000, 500))


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_voi_lut_goes_before_a_window(bits):
    """Values before its first entry and behind its last take those."""
    entries = np.round(np.linspace(0, 1, 1000) ** 2 * (2**bits - 1)).astype(np.uint16)
    table = dicom_files.lut(entries, first=500, bits=bits)
    found = shown(VOILUTSequence=table, WindowCenter=1, WindowWidth=1)
    looked_up = entries[np.clip(VALUES.astype(int) - 500, 0, 999)].astype(float)
    np.testing.assert_array_equal(found, np.floor(looked_up / (2**bits - 1) * 255 + 0.5))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("name", ["VOILUTSequence", "ModalityLUTSequence"])
def test_look_up_tables_of_big_endian_files(name, bits):
    """pydicom swaps the bytes of numbers, and leaves those of words (OW) as they are."""
    entries = np.arange(4096, dtype=np.uint16)[::-1] >> 12 - min(bits, 12)
    table = dicom_files.lut(entries, bits=min(bits, 12))
    stored = entries.astype(np.uint8 if bits == 8 else np.uint16).tobytes()
    table[0].LUTData = np.frombuffer(stored, np.uint16).byteswap().tobytes()
    window = {"WindowCenter": 100, "WindowWidth": 60} if name == "ModalityLUTSequence" else {}
    options = {name: table, **window}
    little = dicom_files.lut(entries, bits=min(bits, 12))
    expected = shown(**{**options, name: little})
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(shown(syntax=ExplicitVRBigEndian, **options), expected)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_a_voi_lut_that_begins_below_zero_where_stored_values_are_unsigned(syntax):
    """Of implicit files pydicom takes 64512 for -1024, as the stored values have no sign."""
    entries = np.round(np.linspace(0, 4095, 4096)).astype(np.uint16)
    table = dicom_files.lut(entries, first=-1024 & 0xFFFF, bits=12)
    rescale = {"RescaleSlope": 1, "RescaleIntercept": -1024}
    found = shown(syntax=syntax, VOILUTSequence=table, **rescale)
    np.testing.assert_array_equal(found, np.floor(VALUES / 4095 * 255 + 0.5))


def test_a_modality_lut_goes_before_the_window():
    entries = np.arange(4096, dtype=np.uint16)[::-1].copy()
    found = shown(ModalityLUTSequence=dicom_files.lut(entries), WindowCenter=900, WindowWidth=300)
    np.testing.assert_array_equal(found, by(linear, 4095.0 - VALUES, 900, 300))


def test_without_a_window_the_stored_range_is_shown():
    doubts: list[str] = []
    np.testing.assert_array_equal(shown(doubts=doubts), np.round(VALUES / 4095 * 255))
    assert not doubts


def test_an_image_of_few_of_its_possible_values_is_stretched_and_doubted():
    doubts: list[str] = []
    found = shown(HOUNSFIELD, bits=16, doubts=doubts)
    np.testing.assert_array_equal(found, np.round((HOUNSFIELD + 1024) / 4095 * 255))
    assert doubts == [grey.STRETCHED]


def test_eight_bits_are_never_stretched():
    flat = np.full((64, 64), 100, np.uint8)
    flat[0] = 110
    np.testing.assert_array_equal(shown(flat, bits=8), flat)


def test_a_constant_image_is_decoded():
    assert np.ptp(shown(np.full((64, 64), 7, np.uint16))) == 0


def test_padding_is_black_whatever_the_photometric_interpretation():
    values = VALUES.copy()
    values[:, :8] = 4000
    for kind in ("MONOCHROME1", "MONOCHROME2"):
        found = shown(values, photometric=kind, PixelPaddingValue=4000)
        assert not found[:, :8].any()
        expected = shown(values, photometric=kind)
        np.testing.assert_array_equal(found[:60, 8:], expected[:60, 8:])


def test_padding_may_be_a_range_and_does_not_count_as_the_image_s_range():
    values = (HOUNSFIELD // 4).astype(np.int16)
    values[:, 0] = -2000
    values[:, 1] = -1990
    found = shown(values, bits=16, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1900, doubts=[])
    assert not found[:, :2].any()
    low, high = values[:, 2:].min(), values[:, 2:].max()
    expected = np.floor((values[:, 2:] - low) / (high - low) * 255 + 0.5)
    np.testing.assert_array_equal(found[:, 2:], expected)


def test_a_window_without_width_is_ignored_and_doubted():
    doubts: list[str] = []
    found = shown(WindowCenter=10, WindowWidth=0, doubts=doubts)
    np.testing.assert_array_equal(found, shown())
    assert doubts == [grey.NO_WINDOW]


def test_a_window_of_a_frame_is_used():
    """Multi-frame files hold it in a sequence per frame, or in one that frames share."""
    from pydicom.dataset import Dataset

    window, rescale, frame, shared = Dataset(), Dataset(), Dataset(), Dataset()
    window.WindowCenter, window.WindowWidth = 1000, 500
    rescale.RescaleSlope, rescale.RescaleIntercept = 2, -100
    frame.FrameVOILUTSequence = [window]
    shared.PixelValueTransformationSequence = [rescale]
    found = shown(PerFrameFunctionalGroupsSequence=[frame], SharedFunctionalGroupsSequence=[shared])
    np.testing.assert_array_equal(found, by(linear, 2.0 * VALUES - 100, 1000, 500))


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"WindowCenter": 1, "WindowWidth": 9, "VOILUTFunction": "CUBIC"}, "VOI LUT Function"),
        ({"VOILUTSequence": dicom_files.lut(np.arange(3), bits=32)}, "look-up table of 3"),
        ({"HighBit": 15}, "end at bit 15"),
        ({"BitsStored": 20}, "20 bits in 16"),
        ({"PhotometricInterpretation": "ARGB"}, "kind ARGB"),
        ({"PhotometricInterpretation": None}, "kind unknown"),
        ({"Rows": None}, "no Rows"),
        ({"Rows": 65}, "truncated"),
    ],
)
def test_attributes_that_contradict_themselves(attributes, reason):
    with pytest.raises(DecodeError, match=reason):
        shown(**attributes)
