"""A DICOM file to a grey or RGB picture of 8 bits, with the shape of its pixels."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

from engine.images.dicom import frames, grey, header
from engine.images.dicom.header import DicomFile
from engine.images.source_file import DecodeError

SQUARE = 0.01  # pixels whose sides differ by less than this share are square
MOST_OBLONG = 10.0  # an aspect beyond this is an error of the file
MORE_BYTES = (
    "with more bytes of pixels than the file's attributes say, which may be wrong: look at them"
)
SEVERAL_FRAMES = "of several frames, of which the first is read"

_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")


class Picture(NamedTuple):
    """An image as the file shows it.

    Attributes:
        image: of mode `L` or `RGB`, at its own size.
        pixel_aspect: the height of a pixel over its width.
    """

    image: Image.Image
    pixel_aspect: float


def decode(data: bytes, max_pixels: int, warn: Callable[[str], None]) -> Picture:
    """The first frame of a file, of which overlays, annotations and orientation labels are not drawn.

    Raises:
        DecodeError: see `header.read`, `frames.first_frame` and `grey.to_eight_bits`.
    """
    with header.errors_named():
        file = header.read(data, max_pixels)
        values = frames.first_frame(file)
        if file.whole("NumberOfFrames", 1) > 1:
            warn(SEVERAL_FRAMES)
        if frames.has_more_bytes(file):
            warn(MORE_BYTES)
        kind = frames.photometric(file)
        if kind in frames.GREY:
            pixels = grey.to_eight_bits(values, file, warn)
        elif kind == frames.PALETTE:
            pixels = _palette_colours(values, file)
        else:
            pixels = _eight_bits(values, frames.stored_bits(file))
        return Picture(Image.fromarray(np.ascontiguousarray(pixels)), pixel_aspect(file))


def pixel_aspect(file: DicomFile) -> float:
    """The height of a pixel over its width; 1 of square pixels, and where the file does not say."""
    for keyword in ("PixelAspectRatio", *_SPACINGS):  # each is vertical, then horizontal
        sides = file.numbers(keyword)
        if len(sides) == 2 and min(sides) > 0:
            aspect = sides[0] / sides[1]
            if abs(aspect - 1) >= SQUARE and 1 / MOST_OBLONG <= aspect <= MOST_OBLONG:
                return aspect
            return 1.0
    return 1.0


def _palette_colours(values: np.ndarray, file: DicomFile) -> np.ndarray:
    """uint8[H, W, 3] of the upper 8 bits of the palette's entries."""
    from pydicom.pixels import processing

    if file.get("SegmentedRedPaletteColorLookupTableData") is not None:
        raise DecodeError("a DICOM file with a segmented palette, which is not read")
    colours = processing.apply_color_lut(values, file.dataset)[..., :3]
    return colours if colours.dtype == np.uint8 else (colours >> 8).astype(np.uint8)


def _eight_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Colours of up to 16 bits, scaled to 8."""
    if bits == 8:
        return values
    top = (1 << bits) - 1
    return ((255 * np.minimum(values, top).astype(np.uint32) + top // 2) // top).astype(np.uint8)
