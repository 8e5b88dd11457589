"""The attributes of a DICOM file and the bytes of its pixels, read without decoding or executing anything.

Only the attributes named here are kept, so that a file of many does not take many times its size in
memory. The deflated transfer syntax is inflated no further than the first frame of its image.
"""

import contextlib
import dataclasses
import io
import itertools
import math
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from engine.base.config import UserError
from engine.base.files import one_line
from engine.images import geometry
from engine.images.dicom import recognition
from engine.images.source_file import DecodeError

DEFLATED_HEADER_BYTES = 16 << 20  # inflated to find the image's size
SAMPLES, ALLOCATED_BITS = (1, 3), (1, 8, 16)  # per pixel and per sample, of images that are read

UNDEFINED_LENGTH = 0xFFFFFFFF  # of compressed pixels, which end with a mark

_DEFLATED, _EXPLICIT = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.1"
_LONG_FORM = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT")
_PIXEL_DATA, _FLOATS = (0x7FE0, 0x0010), ((0x7FE0, 0x0008), (0x7FE0, 0x0009))

# The pixels, how they are shown, and what `description` says of the image.
_PIXELS = (
    "SamplesPerPixel PhotometricInterpretation PlanarConfiguration NumberOfFrames Rows Columns "
    "BitsAllocated BitsStored HighBit PixelRepresentation PixelPaddingValue PixelPaddingRangeLimit "
    "ExtendedOffsetTable ExtendedOffsetTableLengths "
    "RedPaletteColorLookupTableDescriptor GreenPaletteColorLookupTableDescriptor "
    "BluePaletteColorLookupTableDescriptor RedPaletteColorLookupTableData "
    "GreenPaletteColorLookupTableData BluePaletteColorLookupTableData "
    "SegmentedRedPaletteColorLookupTableData "
)
_DISPLAY = (
    "RescaleSlope RescaleIntercept ModalityLUTSequence WindowCenter WindowWidth VOILUTFunction "
    "VOILUTSequence PixelAspectRatio PixelSpacing ImagerPixelSpacing NominalScannedPixelSpacing "
    "SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence "
)
_DESCRIPTION = (
    "SOPClassUID Modality PatientID StudyInstanceUID PatientAge PatientBirthDate StudyDate PatientSex "
    "ViewPosition ViewCodeSequence ImageLaterality Laterality BodyPartExamined Manufacturer "
    "ManufacturerModelName BurnedInAnnotation"
)
KEYWORDS = tuple((_PIXELS + _DISPLAY + _DESCRIPTION).split())

_TABLES = ("LUTData", *(f"{name}PaletteColorLookupTableData" for name in ("Red", "Green", "Blue")))

# In multi-frame files these lie in a sequence per frame, or in one that all frames share.
_FRAME_GROUPS = ("PixelValueTransformationSequence", "FrameVOILUTSequence", "PixelMeasuresSequence")


@dataclasses.dataclass(frozen=True)
class DicomFile:
    """What a file holds.

    Attributes:
        dataset: the attributes in `KEYWORDS` that are present, a `pydicom.Dataset`; of several frames,
            those of the first one are at the top.
        transfer_syntax: a `pydicom.uid.UID`.
        pixels: the value of Pixel Data, from its first byte to the end of the file; not a copy.
        length: that the file states for this value; `UNDEFINED_LENGTH` for compressed pixels.
        in_words: whether the file calls them words of 16 bits (`OW`), whatever the size of its values.
    """

    dataset: Any
    transfer_syntax: Any
    pixels: memoryview
    length: int
    in_words: bool = False

    def get(self, keyword: str) -> Any:
        """An attribute's value; None where it is absent or empty.

        Raises:
            Exception: whatever pydicom raises for a damaged one, see `errors_named`.
        """
        value = self.dataset.get(keyword)
        return None if value is None or (hasattr(value, "__len__") and not len(value)) else value

    def numbers(self, keyword: str) -> list[float]:
        """A numeric attribute's finite values; none where one of them is no number."""
        value = self.get(keyword)
        if value is None:
            return []
        try:
            several = value if hasattr(value, "__iter__") else [value]
            numbers = [float(one) for one in several]
        except (TypeError, ValueError):
            return []
        return numbers if all(map(math.isfinite, numbers)) else []

    def whole(self, keyword: str, default: int | None = None) -> int:
        """A whole number.

        Raises:
            DecodeError: it is absent, and has no default.
        """
        numbers = self.numbers(keyword)
        if not numbers and default is None:
            raise DecodeError(f"damaged DICOM file: has no {keyword}")
        return int(numbers[0]) if numbers else int(default or 0)


def read(data: bytes, max_pixels: int) -> DicomFile:
    """Reads the attributes of a file, and finds its pixels.

    Raises:
        DecodeError: pydicom is not installed, or the file is damaged, holds no image, or one of more
            than `max_pixels` in a frame.
    """
    if not recognition.is_readable():
        raise DecodeError(recognition.MISSING)
    with errors_named():
        meta_end, syntax = _file_meta(data)
        if syntax == _DEFLATED:
            return _inflated(data, meta_end, max_pixels)
        return _read(data, max_pixels)


@contextlib.contextmanager
def errors_named() -> Iterator[None]:
    """Whatever pydicom and its plugins raise, as `DecodeError` of one printable line."""
    try:
        yield
    except UserError:
        raise
    except DecodeError as error:
        raise DecodeError(one_line(error.reason)) from error
    except MemoryError:
        raise DecodeError("too large for the memory at hand; lower --max-pixels") from None
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DecodeError(f"damaged DICOM file: {one_line(reason)}") from error


def _read(data: bytes, max_pixels: int) -> DicomFile:
    import pydicom

    file = io.BytesIO(data)
    dataset = pydicom.dcmread(
        file, stop_before_pixels=True, force=True, specific_tags=list(KEYWORDS)
    )
    start = file.tell()
    implicit, little_endian = dataset.original_encoding
    syntax = _transfer_syntax(dataset, bool(implicit), bool(little_endian))
    tag, value_at, length = _element(data, start, bool(little_endian))
    if tag in _FLOATS:
        raise DecodeError("floating-point DICOM pixels; expected whole numbers of 8 to 16 bits")
    if tag != _PIXEL_DATA:
        raise DecodeError(_without_image(dataset))
    _raise_frame_groups(dataset)
    if not little_endian:
        _swap_tables(dataset)
    in_words = data[start + 4 : start + 6] == b"OW"
    found = DicomFile(dataset, syntax, memoryview(data)[value_at:], length, in_words)
    geometry.check_pixels(found.whole("Rows"), found.whole("Columns"), max_pixels)
    return found


def _transfer_syntax(dataset: Any, implicit: bool, little_endian: bool) -> Any:
    from pydicom import uid

    stated = dataset.file_meta.get("TransferSyntaxUID")
    if stated:
        return uid.UID(stated)
    if not little_endian:
        return uid.ExplicitVRBigEndian
    return uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian


def _element(
    data: bytes, start: int, little_endian: bool
) -> tuple[tuple[int, int] | None, int, int]:
    """The tag of the element at `start`, where its value begins, and the stated length of that.

    Whether elements name their representation is seen from this one, since some files say the wrong thing.
    """
    order = "<" if little_endian else ">"
    if len(data) < start + 12:
        return None, start, 0
    tag = struct.unpack_from(f"{order}HH", data, start)
    explicit = data[start + 4 : start + 8] in [name + b"\0\0" for name in _LONG_FORM]
    at = start + (8 if explicit else 4)
    (length,) = struct.unpack_from(f"{order}L", data, at)
    return (tag[0], tag[1]), at + 4, length


def _without_image(dataset: Any) -> str:
    """Why a file without Pixel Data is refused, with what it holds instead."""
    if "Rows" in dataset:
        return "truncated DICOM file: ends before its pixels"
    kind = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID")
    if not kind and not any(keyword in dataset for keyword in KEYWORDS):
        return "damaged DICOM file: none of its attributes can be read"
    name = getattr(kind, "name", "") or f"modality {dataset.get('Modality', 'unknown')}"
    return f"a DICOM file without an image ({name})"


def _raise_frame_groups(dataset: Any) -> None:
    """Copies how the first frame is shown to the top, where single-frame files have it."""
    for groups in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        for item in list(dataset.get(groups) or [])[:1]:
            for name in _FRAME_GROUPS:
                for inner in list(item.get(name) or [])[:1]:
                    for element in inner:
                        if element.tag not in dataset:
                            dataset[element.tag] = element


def _swap_tables(dataset: Any) -> None:
    """Look-up tables of a big endian file as others have them; pydicom leaves the bytes of words alone."""
    sequences = (dataset.get(name) or [] for name in ("ModalityLUTSequence", "VOILUTSequence"))
    for item in (dataset, *itertools.chain(*sequences)):
        for keyword in _TABLES:
            value = item.get(keyword)
            if isinstance(value, bytes):
                item[keyword].value = np.frombuffer(value, np.uint16).byteswap().tobytes()


# ---------------------------------------------------------------------------- deflated


def _file_meta(data: bytes) -> tuple[int, str]:
    """Where the elements of group 0002 end, and the transfer syntax among them ('' where none is)."""
    at = recognition.START_BYTES if data[128:132] == recognition.PREFIX else 0
    syntax = ""
    while data[at : at + 2] == b"\x02\x00" and len(data) >= at + 12:
        is_long = data[at + 4 : at + 6] in _LONG_FORM
        form, width = ("<L", 12) if is_long else ("<H", 8)
        (length,) = struct.unpack_from(form, data, at + width - struct.calcsize(form))
        if data[at + 2 : at + 4] == b"\x10\x00":
            syntax = data[at + width : at + width + min(length, 64)].rstrip(b"\0 ").decode("latin1")
        at += width + length
    return at, syntax


def _inflated(data: bytes, meta_end: int, max_pixels: int) -> DicomFile:
    """A deflated file, as far as the end of its first frame."""
    # The same file in the plain syntax, whose name is padded to the length of this one's.
    plain = _EXPLICIT.encode().ljust(len(_DEFLATED), b"\0")
    head = data[:meta_end].replace(_DEFLATED.encode(), plain)
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    start = stream.decompress(data[meta_end:], DEFLATED_HEADER_BYTES)
    file = _read(head + start, max_pixels)
    missing = frame_bytes(file) - len(file.pixels)
    if missing <= 0:
        return file
    more = stream.decompress(stream.unconsumed_tail, missing)
    return dataclasses.replace(file, pixels=memoryview(bytes(file.pixels) + more))


def frame_bytes(file: DicomFile) -> int:
    """The size of one uncompressed frame, by the header.

    Raises:
        DecodeError: its samples are more or larger than those of an image, and its size means nothing.
    """
    samples, allocated = file.whole("SamplesPerPixel", 1), file.whole("BitsAllocated")
    if samples not in SAMPLES or allocated not in ALLOCATED_BITS:
        raise DecodeError(
            f"DICOM pixels of {samples} samples with {allocated} bits; expected 1 or 3 samples with 1, 8 "
            "or 16 bits"
        )
    bits = file.whole("Rows") * file.whole("Columns") * samples * allocated
    if file.get("PhotometricInterpretation") == "YBR_FULL_422":
        bits = bits * 2 // 3
    return -(-bits // 8)
