"""DICOM files made of arrays, as pydicom writes them; for tests."""

import io
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEGLosslessSV1,
    generate_uid,
)

DIGITAL_XRAY = "1.2.840.10008.5.1.4.1.1.1.1"


def dataset(
    pixels: np.ndarray,
    *,
    syntax: str = ExplicitVRLittleEndian,
    bits: int | None = None,
    photometric: str | None = None,
    **attributes: Any,
) -> Dataset:
    """A data set whose pixels are uint8, uint16 or int16 of shape [H, W], [H, W, 3] or, with
    `NumberOfFrames`, [N, H, W].

    Args:
        syntax: the UID of the transfer syntax; pixels are compressed by it.
        bits: Bits Stored; None for all that are allocated.
        attributes: set last, by their keywords; None removes one.
    """
    colour = pixels.shape[-1] == 3
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = DIGITAL_XRAY
    made.SOPInstanceUID = generate_uid(entropy_srcs=[pixels.tobytes().hex()[:999], str(attributes)])
    made.Rows, made.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    made.SamplesPerPixel = 3 if colour else 1
    made.PhotometricInterpretation = photometric or ("RGB" if colour else "MONOCHROME2")
    if colour:
        made.PlanarConfiguration = 0
    made.BitsAllocated = 8 * pixels.itemsize
    made.BitsStored = bits or made.BitsAllocated
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    made.PixelData = pixels.tobytes()
    if "NumberOfFrames" in attributes:
        made.NumberOfFrames = attributes.pop("NumberOfFrames")
    if syntax in (pydicom.uid.ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian):
        made.file_meta.TransferSyntaxUID = syntax
    elif syntax == ExplicitVRBigEndian:
        made.file_meta.TransferSyntaxUID = syntax
        made.PixelData = pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
    elif syntax == JPEGLosslessSV1:
        made.PixelData = encapsulate([_lossless_jpeg(pixels, made.BitsStored)])
        made.file_meta.TransferSyntaxUID = syntax
    elif syntax != ExplicitVRLittleEndian:
        made.compress(syntax)
    made["PixelData"].VR = "OW" if made.BitsAllocated > 8 else "OB"
    for keyword, value in attributes.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    return made


def encoded(pixels: np.ndarray, **options: Any) -> bytes:
    """The bytes of a file; arguments as for `dataset`."""
    return to_bytes(dataset(pixels, **options))


def to_bytes(made: Dataset) -> bytes:
    """The bytes of a file with preamble."""
    file = io.BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()


def lut(entries: np.ndarray, *, first: int = 0, bits: int = 16) -> list[Dataset]:
    """A Modality or VOI LUT Sequence of one table."""
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item.LUTData = entries.astype("<u2").tobytes()
    item["LUTData"].VR = "OW"
    return [item]


def palette(colours: np.ndarray) -> dict[str, Any]:
    """The attributes of a palette of uint16[N, 3] colours."""
    found: dict[str, Any] = {}
    for index, name in enumerate(("Red", "Green", "Blue")):
        keyword = f"{name}PaletteColorLookupTable"
        found[f"{keyword}Descriptor"] = [len(colours), 0, 16]
        found[f"{keyword}Data"] = colours[:, index].astype("<u2").tobytes()
    return found


def _lossless_jpeg(pixels: np.ndarray, bits: int) -> bytes:
    """Grey pixels as JPEG lossless, process 14 with the first predictor (ITU-T T.81, annex H).

    One Huffman table that gives each of the 17 difference classes a code of 5 bits.
    """
    values = pixels.astype(np.int64)
    predicted = np.empty_like(values)
    predicted[:, 1:] = values[:, :-1]
    predicted[1:, 0] = values[:-1, 0]
    predicted[0, 0] = 1 << bits - 1
    stream = []
    for difference in (values - predicted).ravel().tolist():
        size = abs(difference).bit_length()
        stream.append(f"{size:05b}")
        if size:
            code = difference if difference > 0 else difference + (1 << size) - 1
            stream.append(f"{code:0{size}b}")
    text = "".join(stream)
    text += "1" * (-len(text) % 8)
    data = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\x00")
    height, width = pixels.shape

    def segment(marker: int, body: bytes) -> bytes:
        return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body

    frame = bytes([bits]) + height.to_bytes(2, "big") + width.to_bytes(2, "big")
    counts = bytes(17 if length == 5 else 0 for length in range(1, 17))
    return (
        b"\xff\xd8"
        + segment(0xC3, frame + bytes([1, 1, 0x11, 0]))
        + segment(0xC4, b"\0" + counts + bytes(range(17)))
        + segment(0xDA, bytes([1, 1, 0, 1, 0, 0]))
        + data
        + b"\xff\xd9"
    )
