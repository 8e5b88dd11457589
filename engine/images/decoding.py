"""Encoded images to uint8 pixels of the wanted size, or the reason why they cannot be decoded.

The one decoder that builder, predict and export share, so that a network sees at inference what
it saw in training. JPEG goes through libjpeg-turbo in strict mode, which refuses damaged files that
TensorFlow and Pillow turn into gray garbage silently; DICOM through pydicom, which is imported when
the first such file is met; everything else through Pillow.
Formats are recognised by content, never by name. No TensorFlow.

JPEG has no checksums, so strictness has a limit: of real X-rays with a sector (512 bytes)
overwritten inside, every one was refused, with 64 bytes overwritten 19 of 20, with 8 bytes only 2 of
3; the others decode to another valid image.

What comes out:
    grey        the luminance (JPEG's own Y channel; else ITU-R 601 weights)
    16-bit      scaled from the range that is given, see `engine.images.bit_depth` (Pillow's own
                conversion clips to white)
    alpha       laid over black, so that what is transparent looks like padding
    EXIF        orientation applied
    animations  the first frame
    DICOM       as a viewer shows it, see `engine.images.dicom.grey`

Pillow's warnings (of unusual metadata, which is harmless, and of size, which is checked here) are left to
the process's filters, which are not for a library's threads to change; `command_line.run` drops them.
"""

import io
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image

from engine.images import bit_depth, geometry, jpeg, pillow_formats
from engine.images.dicom import picture, recognition
from engine.images.format import LARGEST_SIDE, ImageFormat
from engine.images.source_file import DecodeError, read_file

DEFAULT_MAX_PIXELS = 80_000_000
RESIZE_METHOD = "antialiased bilinear (Pillow), after scaled DCT decoding of large JPEG"


def decode_file(
    path: Path | str,
    image_format: ImageFormat,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    warn: Callable[[str], None] | None = None,
) -> np.ndarray:
    """Reads an image file as uint8[H, W, C] of exactly the format's size; see `decode_bytes`.

    Raises:
        DecodeError: it cannot be read, or gives no trustworthy pixels.
    """
    return decode_bytes(read_file(path), image_format, max_pixels=max_pixels, warn=warn)


def decode_bytes(
    data: bytes,
    image_format: ImageFormat,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    warn: Callable[[str], None] | None = None,
) -> np.ndarray:
    """Decodes and resizes one image.

    Args:
        data: a whole file: JPEG, PNG, BMP, GIF, WebP, TIFF, PNM or DICOM.
        image_format: what comes out. An image of its size is not resampled; values of 16-bit PNG and
            TIFF above 2**bits - 1 become white.
        max_pixels: larger images are refused by their header, before anything is decoded.
        warn: called, with words that complete "an image ...", where its brightness is doubtful:
            values clipped, or less than an eighth of the grey levels in use.

    Returns:
        uint8[H, W, C].

    Raises:
        DecodeError: the data is no image, is truncated, damaged or over `max_pixels`.
    """
    warn = warn or _ignore
    image, pixel_aspect = _decoded(data, image_format, max_pixels, warn)
    return _fit(image, image_format, warn, pixel_aspect)


def decode_whole(
    path: Path | str, *, channels: int, bits: int, max_pixels: int = DEFAULT_MAX_PIXELS
) -> np.ndarray:
    """Reads an image file at its own size, upright, as uint8[H, W, C]; see `decode_bytes`.

    Pixels that are no squares become squares, by their height.

    Raises:
        DecodeError: it cannot be read, or gives no trustworthy pixels.
    """
    # As if for the largest format there is, JPEG is decoded in full.
    largest = ImageFormat(image_size=(LARGEST_SIDE, LARGEST_SIDE), channels=channels, bits=bits)
    image, pixel_aspect = _decoded(read_file(path), largest, max_pixels, _ignore)
    image = image.convert("L" if channels == 1 else "RGB")
    if pixel_aspect != 1:
        height = max(1, round(image.height * pixel_aspect))
        image = image.resize((image.width, height), Image.Resampling.BILINEAR)
    return np.array(image).reshape(image.height, image.width, channels)


def largest_deep_value(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> int | None:
    """The largest value of an image file with more than 8 bits; None of any other file."""
    if not bit_depth.may_be_deep(data[:26]):
        return None
    try:
        with pillow_formats.opened(data, max_pixels) as image:
            return bit_depth.largest_value(image)
    except DecodeError:
        return None


def largest_deep_values(
    paths: Iterable[str], root: str, max_pixels: int = DEFAULT_MAX_PIXELS
) -> list[int | None]:
    """As `largest_deep_value`, of files in the folder `root`; None also of those that cannot be read, which
    are named when they are decoded."""
    found: list[int | None] = []
    for path in paths:
        try:
            found.append(largest_deep_value(read_file(Path(root, path)), max_pixels=max_pixels))
        except DecodeError:
            found.append(None)
    return found


def encode(pixels: np.ndarray, encoding: str, *, jpeg_quality: int = 95) -> bytes:
    """uint8[H, W, C] to the bytes a shard holds: `raw`, `png` (both lossless) or `jpeg`."""
    if encoding == "raw":
        return pixels.tobytes()
    if encoding == "png":
        buffer = io.BytesIO()
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
        return buffer.getvalue()
    grey = pixels.shape[-1] == 1
    return simplejpeg.encode_jpeg(
        np.ascontiguousarray(pixels),
        quality=jpeg_quality,
        colorspace="GRAY" if grey else "RGB",
        colorsubsampling="Gray" if grey else "444",
    )


def _decoded(
    data: bytes, image_format: ImageFormat, max_pixels: int, warn: Callable[[str], None]
) -> tuple[Image.Image, float]:
    """A grey or RGB image, upright, at its own size or, where that is much more than needed, less; and the
    height of its pixels over their width."""
    if not data:
        raise DecodeError("empty file")
    if data.startswith(b"\xff\xd8\xff"):
        return jpeg.decode(data, image_format, max_pixels), 1.0
    if recognition.is_dicom(data[: recognition.START_BYTES]):
        return picture.decode(data, max_pixels, warn)
    channels, bits = image_format.channels, image_format.bits
    return pillow_formats.decode(data, channels, max_pixels, bits, warn), 1.0


def _fit(
    image: Image.Image,
    image_format: ImageFormat,
    warn: Callable[[str], None],
    pixel_aspect: float,
) -> np.ndarray:
    """A grey or RGB image of any size to uint8[H, W, C].

    Args:
        pixel_aspect: the height of its pixels over their width.
    """
    channels, image_size = image_format.channels, image_format.image_size
    if channels == 1 and image.mode != "L":
        image = image.convert("L")
    inner = geometry.inner_size((image.height * pixel_aspect, image.width), image_format)
    if (image.height, image.width) != inner:
        image = image.resize(inner[::-1], Image.Resampling.BILINEAR)
    pixels = np.array(image if channels == 1 else image.convert("RGB"))
    if int(pixels.max()) - int(pixels.min()) < bit_depth.NARROW_SPAN:
        warn("with less than an eighth of the grey levels in use")
    if inner != image_size:
        pixels = _padded(pixels, image_size)
    return pixels.reshape(*image_size, channels)


def _padded(pixels: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """uint8[h, w, ...] centred on black, to uint8[H, W, ...]."""
    canvas = np.zeros((*image_size, *pixels.shape[2:]), np.uint8)
    top, left = geometry.inner_corner(pixels.shape[:2], image_size)
    canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return canvas


def _ignore(warning: str) -> None:
    """The default `warn`: does nothing."""
