"""The stored values of a DICOM file's first frame, as the file holds them.

Uncompressed and run-length encoded pixels need pydicom alone, 8-bit JPEG goes through libjpeg-turbo in
strict mode; everything else through the plugins of the extra `[dicom]`, in a process of their own.
"""

from typing import Any

import numpy as np
import simplejpeg

from engine.images.dicom import codestream, header, plugin_process, recognition, rle
from engine.images.dicom.header import DicomFile
from engine.images.source_file import DecodeError

GREY = ("MONOCHROME1", "MONOCHROME2")
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
LUMINANCE_FIRST = ("YBR_FULL", "YBR_FULL_422")  # ITU-R 601 over the full range, as in JPEG
PALETTE = "PALETTE COLOR"

# (luminance, blue and red difference) to (red, green, blue), PS3.3 C.7.6.3.1.2.
_TO_RGB = np.array([[1, 1, 1], [0, -0.344136, 1.772], [1.402, -0.714136, 0]], np.float32)


def first_frame(file: DicomFile) -> np.ndarray:
    """The values of the first frame, with the bits that do not belong to them removed.

    Returns:
        Integers[H, W] of grey and palette images, signed as the file says; unsigned[H, W, 3] of colour
        images, in RGB.

    Raises:
        DecodeError: the pixels are of a kind that is not read, damaged or truncated, or their
            compression has no decoder here.
        Exception: whatever pydicom raises for damaged attributes, see `header.errors_named`.
    """
    _require_readable(file)
    _decoder(file.transfer_syntax)  # raises, where there is none
    return _decompressed(file) if file.transfer_syntax.is_encapsulated else _native(file)


def stored_bits(file: DicomFile) -> int:
    """Bits Stored: how many bits of each value count."""
    return file.whole("BitsStored", file.whole("BitsAllocated"))


def is_signed(file: DicomFile) -> bool:
    """Whether values are in two's complement."""
    return file.whole("PixelRepresentation", 0) == 1


def has_more_bytes(file: DicomFile) -> bool:
    """Whether uncompressed pixels take more bytes than their attributes say, by more than a byte to an even
    number: one of Rows, Columns, Bits Allocated and Photometric Interpretation may be wrong."""
    if file.transfer_syntax.is_encapsulated:
        return False
    stated = header.frame_bytes(file) * max(1, file.whole("NumberOfFrames", 1))
    return file.length > stated + stated % 2


def photometric(file: DicomFile) -> str:
    """Photometric Interpretation."""
    return str(file.get("PhotometricInterpretation") or "").strip().upper()


def _require_readable(file: DicomFile) -> None:
    """Raises `DecodeError` for pixels of a kind that no image classifier is given."""
    kind, samples = photometric(file), file.whole("SamplesPerPixel", 1)
    expected = {**dict.fromkeys((*GREY, PALETTE), 1), **dict.fromkeys(COLOURS, 3)}
    if expected.get(kind) != samples:
        raise DecodeError(
            f"DICOM pixels of kind {kind or 'unknown'} with {samples} samples; expected "
            f"{', '.join((*GREY, PALETTE, *COLOURS))}"
        )
    allocated, stored = file.whole("BitsAllocated"), stored_bits(file)
    if allocated not in header.ALLOCATED_BITS or not 1 <= stored <= allocated:
        raise DecodeError(f"DICOM pixels of {stored} bits in {allocated}; expected 1 to 16 bits")
    if file.whole("HighBit", stored - 1) != stored - 1:
        raise DecodeError(
            f"DICOM pixels of {stored} bits that end at bit {file.whole('HighBit')}; expected "
            f"bit {stored - 1}"
        )
    if samples == 3 and is_signed(file):
        raise DecodeError("signed DICOM colours")
    if file.whole("Rows") < 1 or file.whole("Columns") < 1:
        raise DecodeError("damaged DICOM file: an image without rows or columns")


def _native(file: DicomFile) -> np.ndarray:
    if file.length == header.UNDEFINED_LENGTH:
        raise DecodeError(
            "damaged DICOM file: pixels without a length, as compressed ones have none, in the "
            f"syntax {file.transfer_syntax.name}"
        )
    size, present = header.frame_bytes(file), min(file.length, len(file.pixels))
    if present < size:
        raise DecodeError(f"truncated DICOM file: {present:,} of {size:,} bytes of pixels")
    return _by_pydicom(file, file.pixels[: size + size % 2], file.transfer_syntax)


def _decompressed(file: DicomFile) -> np.ndarray:
    from pydicom import encaps, uid

    syntax, samples = file.transfer_syntax, file.whole("SamplesPerPixel", 1)
    frame = codestream.first_frame(file.pixels, file.whole("NumberOfFrames", 1))
    if syntax == uid.RLELossless:
        return _by_pydicom(file, _run_lengths(file, frame, samples), uid.ExplicitVRLittleEndian)
    stated = codestream.read_header(frame)
    _require_size(stated, (file.whole("Rows"), file.whole("Columns"), samples))
    if syntax == uid.JPEGExtended12Bit and stated.bits > 8:
        _require_plugin(
            syntax, "pylibjpeg", install="pip install pylibjpeg pylibjpeg-libjpeg (GPL)"
        )
    elif syntax in (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit):
        pixels = simplejpeg.decode_jpeg(frame, "GRAY" if samples == 1 else "RGB", strict=True)
        if samples == 1:
            return pixels[..., 0]
        # Whether colours are converted depends on the attributes too, which pydicom knows.
        return _by_pydicom(file, encaps.encapsulate([frame]), syntax)
    return _by_pydicom(file, encaps.encapsulate([frame]), syntax, apart=True)


def _decoder(syntax: Any) -> Any:
    """pydicom's decoder of a transfer syntax.

    Raises:
        DecodeError: there is none, or what it needs is not installed.
    """
    from pydicom import pixels

    try:
        decoder = pixels.get_decoder(syntax)
    except NotImplementedError:
        raise DecodeError(f"a DICOM file of syntax {syntax.name}, which is not read") from None
    if syntax.is_encapsulated and not decoder.available_plugins:
        raise DecodeError(
            f"a DICOM file compressed as {syntax.name}, for which no decoder is installed; "
            f"{recognition.INSTALL}"
        )
    return decoder


def _require_plugin(syntax: Any, plugin: str, *, install: str) -> None:
    if plugin not in _decoder(syntax).available_plugins:
        raise DecodeError(
            f"a DICOM file compressed as 12-bit JPEG, for which no decoder is installed; {install}"
        )


def _require_size(stated: codestream.Stated, expected: tuple[int, int, int]) -> None:
    if stated[:3] != expected:
        shown = [f"{width} x {height} x {parts}" for height, width, parts in (stated[:3], expected)]
        raise DecodeError(
            f"damaged DICOM file: its compressed pixels are {shown[0]}, its attributes say {shown[1]}"
        )


def _run_lengths(file: DicomFile, frame: bytes, samples: int) -> bytes:
    """A run-length encoded frame as the bytes of an uncompressed one."""
    itemsize = -(-file.whole("BitsAllocated") // 8)
    return rle.decode(
        frame,
        height=file.whole("Rows"),
        width=file.whole("Columns"),
        samples=samples,
        itemsize=itemsize,
    ).tobytes()


def _by_pydicom(
    file: DicomFile, pixels: bytes | memoryview, syntax: Any, *, apart: bool = False
) -> np.ndarray:
    """One frame through pydicom: unused bits removed, colours in RGB.

    Args:
        apart: decode it in another process.
    """
    from pydicom.pixels import utils

    options = utils.as_pixel_options(
        file.dataset,
        number_of_frames=1,
        photometric_interpretation=photometric(file),
        pixel_keyword="PixelData",
        pixel_vr="OW" if file.in_words or file.whole("BitsAllocated") > 8 else "OB",
    )
    options.pop("extended_offsets", None)
    if file.transfer_syntax.is_encapsulated:  # decoders put the colours of a pixel side by side
        options["planar_configuration"] = 0
    if apart:
        return _in_rgb(*plugin_process.decode(bytes(pixels), str(syntax), options))
    return _in_rgb(*plugin_process.decode_here(pixels, str(syntax), options))


def _in_rgb(values: np.ndarray, kind: str) -> np.ndarray:
    """Colours in RGB, rounded (pydicom and Pillow cut off); other values as they are."""
    if kind not in LUMINANCE_FIRST:
        return values
    if values.dtype != np.uint8:
        raise DecodeError(f"DICOM pixels of kind {kind} with more than 8 bits")
    shown = values @ _TO_RGB + (0.5 - 128 * _TO_RGB[1:].sum(axis=0))
    return np.clip(shown, 0, 255).astype(np.uint8)
