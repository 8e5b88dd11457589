"""One image measured: its file's header, what its pixels are like on the whole, and its perceptual hash.

Pixels are looked at as a network would see them: decoded by `engine.images.decoding`, stretched to a square,
128 x 128 here. JPEG is decoded at a reduced scale for that, but every byte of it is read, so that what the
builder would leave out as damaged is found here too.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from engine.images import decoding
from engine.images.format import ImageFormat
from engine.images.source_file import DecodeError
from engine.inspection import perceptual_hash
from engine.inspection.file_header import FileHeader, read_header

SIDE = 128  # pixels; a multiple of perceptual_hash.SIDE
THUMBNAIL = 64
BLANK_CONTRAST = 2.0  # grey levels; images with less have no waves whose signs mean anything

_BORDER = SIDE // 16
_CORNERS = np.r_[: SIDE // 5, SIDE - SIDE // 5 : SIDE]  # rows, and columns
_BLACK, _WHITE, _MARK = 8, 247, 230  # grey levels
_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601

# Name -> what it is, in the order of `pixel_values`.
PIXEL_MEASURES = {
    "brightness": "mean grey level, 0 to 255",
    "contrast": "standard deviation of the grey levels",
    "border brightness": "mean grey level of the outer sixteenth",
    "black share": "share of pixels that are nearly black",
    "white share": "share of pixels that are nearly white",
    "corner marks": "share of bright pixels in the four corners",
    "sharpness": "mean difference of neighbouring pixels over the contrast",
    "colourfulness": "mean difference of the largest and the smallest channel",
}


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What is known of one image.

    Attributes:
        header: None where there is no file (of shards), or Pillow does not read it.
        file_bytes: its size; None where there is no file.
        values: float32[8], those of `PIXEL_MEASURES`.
        bits: uint8[32], its perceptual hash.
        thumbnail: uint8[64, 64], grey, stretched to a square.
        is_blank: whether all of it is one grey level, nearly.
        doubts: what `decoding.decode_bytes` warned of.
        key: equal for images of equal pixels; '' where it was not asked for.
    """

    header: FileHeader | None
    file_bytes: int | None
    values: np.ndarray
    bits: np.ndarray
    thumbnail: np.ndarray
    is_blank: bool
    doubts: tuple[str, ...] = ()
    key: str = ""


def measure_files(
    paths: Sequence[str], root: str, max_pixels: int, bits: int
) -> list[Measurement | str]:
    """Of each file its measurement, or the reason why it cannot be read; for `OrderedPool`.

    Args:
        paths: relative to `root`.
        bits: how 16-bit files are read; see `engine.images.bit_depth`.
    """
    return [_measure_file(Path(root, path), max_pixels, bits) for path in paths]


def _measure_file(path: Path, max_pixels: int, bits: int) -> Measurement | str:
    doubts: list[str] = []
    try:
        data = decoding.read_file(path)
        header = read_header(data, max_pixels=max_pixels)
        is_grey = header is not None and header.is_grey
        pixels = decoding.decode_bytes(
            data,
            ImageFormat(image_size=(SIDE, SIDE), channels=1 if is_grey else 3, bits=bits),
            max_pixels=max_pixels,
            warn=doubts.append,
        )
    except DecodeError as error:
        return error.reason
    return _measured(pixels, header, len(data), tuple(doubts))


def measure_pixels(image: np.ndarray) -> Measurement:
    """An image without a file, uint8[H, W, C]; its `key` is a hash of its pixels."""
    shown = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    shown = shown.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    pixels = np.asarray(shown).reshape(SIDE, SIDE, -1)
    key = hashlib.sha256(image.tobytes()).hexdigest()
    return dataclasses.replace(_measured(pixels, None, None, ()), key=key)


def _measured(
    pixels: np.ndarray, header: FileHeader | None, file_bytes: int | None, doubts: tuple[str, ...]
) -> Measurement:
    grey = _grey(pixels)
    contrast = float(grey.std())
    step = SIDE // THUMBNAIL
    small = grey.reshape(THUMBNAIL, step, THUMBNAIL, step).mean(axis=(1, 3))
    return Measurement(
        header=header,
        file_bytes=file_bytes,
        values=pixel_values(pixels, grey),
        bits=perceptual_hash.hash_of(grey),
        thumbnail=np.rint(small).astype(np.uint8),
        is_blank=contrast < BLANK_CONTRAST,
        doubts=doubts,
    )


def _grey(pixels: np.ndarray) -> np.ndarray:
    """uint8[H, W, C] -> float32[H, W]."""
    planes: np.ndarray = np.moveaxis(pixels, -1, 0).astype(np.float32)
    if len(planes) == 1:
        return planes[0]
    return sum(plane * np.float32(weight) for plane, weight in zip(planes, _LUMA, strict=True))


def _colourfulness(pixels: np.ndarray) -> float:
    """The mean difference of the largest and the smallest channel of uint8[H, W, C]."""
    if pixels.shape[-1] == 1:
        return 0.0
    red, green, blue = np.moveaxis(pixels, -1, 0)
    largest = np.maximum(np.maximum(red, green), blue)
    return float((largest - np.minimum(np.minimum(red, green), blue)).mean())


def pixel_values(pixels: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """float32[8], the values of `PIXEL_MEASURES`.

    Args:
        pixels: uint8[128, 128, C].
        grey: float[128, 128], of the same image.
    """
    contrast = grey.std()
    inside = grey[_BORDER:-_BORDER, _BORDER:-_BORDER]
    border = (grey.sum() - inside.sum()) / (grey.size - inside.size)
    corners = grey[np.ix_(_CORNERS, _CORNERS)]
    steps = np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean()
    return np.array(
        [
            grey.mean(),
            contrast,
            border,
            (grey <= _BLACK).mean(),
            (grey >= _WHITE).mean(),
            (corners >= _MARK).mean(),
            steps / max(contrast, BLANK_CONTRAST),
            _colourfulness(pixels),
        ],
        np.float32,
    )
