"""Encoded images to uint8 pixels of the wanted size, or the reason why not.

The one decoder that builder, predict and export share, so that a network sees at inference what
it saw in training. JPEG goes through libjpeg-turbo in strict mode, which refuses damaged files that
TensorFlow and Pillow turn into gray garbage without a word; everything else goes through Pillow.
Formats are recognised by content, never by name. No TensorFlow.

JPEG has no checksums, so strictness has a limit: of real X-rays with a sector (512 bytes)
overwritten inside, every one was refused, with 64 bytes overwritten 19 of 20, with 8 bytes only 2 of
3; the others decode to another valid image.

What comes out:
    grey        the luminance (JPEG's own Y channel; else ITU-R 601 weights)
    16-bit      scaled from the range that is asked for, see `engine.images.bit_depth` (Pillow's own
                conversion clips to white)
    alpha       laid over black, so that what is transparent looks like padding
    EXIF        orientation applied
    animations  the first frame

Pillow's warnings (of odd metadata, which does no harm, and of size, which is checked here) are left to
the process's filters, which are not for a library's threads to change; `command_line.run` drops them.
"""

import contextlib
import errno
import io
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from engine.images import bit_depth

DEFAULT_MAX_PIXELS = 80_000_000
RESIZE_METHOD = "antialiased bilinear (Pillow), after scaled DCT decoding of large JPEG"
FORMATS = ("PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # besides JPEG
MAX_FILE_BYTES = 1 << 30
NARROW_SPAN = 32  # grey levels, an eighth of the 256
# These are the process's trouble, not the file's: no file may be left out for them.
_PROCESS_ERRORS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)

# Large JPEG are decoded at 1/2, 1/4 or 1/8 of their size while at least this many times the target
# is left for the antialiased resize. Measured on 250 chest X-rays of 1.3 megapixels, to 224 x 224,
# against decoding in full (5.3 ms per image; decoding alone takes 3.2):
#     margin   ms per image  mean difference, grey levels   in the worst image
#       3         4.8                  0.04                        0.4
#       2         4.1                  0.14                        1.4
#       1.5       3.6                  0.26                        1.4
#       1.25      3.4                  0.40                        1.5
#       1         3.1                  0.57                        3.4
DCT_MARGIN = 1.25

SCRATCH_BYTES = 4 << 20
_thread = threading.local()

_MARKER, _APP1, _START_OF_SCAN = 0xFF, 0xE1, 0xDA  # JPEG segments
_ORIENTATION = 0x0112  # EXIF tag
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class DecodeError(Exception):
    """A file that gives no trustworthy pixels; `reason` is a line for the user, without the path."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def decode_file(
    path: Path | str,
    *,
    image_size: tuple[int, int],
    channels: int = 1,
    keep_aspect_ratio: bool = False,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    bits: int = bit_depth.DEFAULT,
    warn: Callable[[str], None] | None = None,
) -> np.ndarray:
    """Reads an image file as uint8[H, W, C] of exactly `image_size`; see `decode_bytes`.

    Raises:
        DecodeError: it cannot be read, or gives no trustworthy pixels.
    """
    return decode_bytes(
        read_file(path),
        image_size=image_size,
        channels=channels,
        keep_aspect_ratio=keep_aspect_ratio,
        max_pixels=max_pixels,
        bits=bits,
        warn=warn,
    )


def read_file(path: Path | str) -> bytes:
    """The contents of a regular file of bearable size.

    Raises:
        DecodeError: it cannot be read, is no regular file (a pipe would block for ever), or is huge.
        OSError: the process is out of file descriptors or memory.
    """
    with file_errors():
        if not file_size(path):
            return b""
        with open(path, "rb") as file:
            return file.read(MAX_FILE_BYTES)


def file_size(path: Path | str) -> int:
    """The size in bytes of a file, or of what a link leads to, that may be read.

    It is 0 also for the files that a kernel makes up while they are read, some of which
    (/proc/kmsg) block: nothing of size 0 needs to be opened.

    Raises:
        DecodeError, OSError: as `read_file`.
    """
    with file_errors():
        status = os.stat(path)  # noqa: PTH116 (pathlib takes 5 times as long)
    if not stat.S_ISREG(status.st_mode):
        raise DecodeError("is no regular file")
    if status.st_size > MAX_FILE_BYTES:
        raise DecodeError(f"{status.st_size:,} bytes, more than any image that is read")
    return status.st_size


@contextlib.contextmanager
def file_errors() -> Iterator[None]:
    """Errors of the system as `DecodeError`, but for those that are the process's own trouble."""
    try:
        yield
    except OSError as error:
        if error.errno in _PROCESS_ERRORS:
            raise
        raise DecodeError(f"cannot be read ({error.strerror or error})") from error


def decode_bytes(
    data: bytes,
    *,
    image_size: tuple[int, int],
    channels: int = 1,
    keep_aspect_ratio: bool = False,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    bits: int = bit_depth.DEFAULT,
    warn: Callable[[str], None] | None = None,
) -> np.ndarray:
    """Decodes and resizes one image.

    Args:
        data: a whole file: JPEG, PNG, BMP, GIF, WebP, TIFF or PNM.
        image_size: (height, width) in pixels. An image of that size is not resampled.
        channels: 1 (grey) or 3 (RGB).
        keep_aspect_ratio: fit the image inside, centred, and pad with black; else stretch it.
        max_pixels: larger images are refused by their header, before anything is decoded.
        bits: values of 16-bit PNG and TIFF run from 0 to 2**bits - 1; larger ones become white.
        warn: told, in words that complete "an image ...", of what makes its brightness doubtful:
            values clipped, or less than an eighth of the grey levels in use.

    Returns:
        uint8[H, W, C].

    Raises:
        DecodeError: the data is no image, is truncated, damaged or over `max_pixels`.
        ValueError: `channels` is neither 1 nor 3.
    """
    if channels not in (1, 3):
        raise ValueError(f"channels: got {channels!r}, expected 1 or 3")
    if not data:
        raise DecodeError("empty file")
    warn = warn or _ignore
    if data.startswith(b"\xff\xd8\xff"):
        image = _decode_jpeg(data, image_size, channels, keep_aspect_ratio, max_pixels)
    else:
        image = _decode_with_pillow(data, channels, max_pixels, bits, warn)
    return _fit(image, image_size, channels, keep_aspect_ratio, warn)


def largest_deep_value(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> int | None:
    """The largest value of an image file with more than 8 bits; None of any other file."""
    if not bit_depth.may_be_deep(data[:26]):
        return None
    try:
        with _opened(data, max_pixels) as image:
            return bit_depth.largest_value(image)
    except DecodeError:
        return None


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


# ---------------------------------------------------------------------------- JPEG


def _decode_jpeg(
    data: bytes,
    image_size: tuple[int, int],
    channels: int,
    keep_aspect_ratio: bool,
    max_pixels: int,
) -> Image.Image:
    """A grey or RGB image, upright, perhaps already scaled down by a power of two."""
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data, strict=True)
        _check_pixels(height, width, max_pixels)
        if colorspace in ("CMYK", "YCCK"):
            return _upright(_decode_cmyk(data), _jpeg_orientation(data))
        orientation = _jpeg_orientation(data)
        grey = channels == 1 or colorspace == "Gray"
        min_height, min_width = _scaled_size(
            (height, width), image_size, keep_aspect_ratio, sideways=orientation >= 5
        )
        pixels = simplejpeg.decode_jpeg(
            data,
            "GRAY" if grey else "RGB",
            min_height=min_height,
            min_width=min_width,
            buffer=_scratch_buffer(min_height * min_width * (1 if grey else 3)),
            strict=True,
        )
    except ValueError as error:
        raise DecodeError(_jpeg_reason(str(error))) from error
    return _upright(Image.fromarray(pixels[..., 0] if grey else pixels), orientation)


def _scratch_buffer(num_bytes: int) -> np.ndarray | None:
    """Memory for pixels that live until `_fit` copies them; one per thread. Fresh pages for each image
    cost 5 % of its decoding."""
    if num_bytes > SCRATCH_BYTES:
        return None
    if not hasattr(_thread, "scratch"):
        _thread.scratch = np.empty(SCRATCH_BYTES, np.uint8)
    return _thread.scratch


def _decode_cmyk(data: bytes) -> Image.Image:
    """Four inks to RGB. Adobe, which wrote nearly all such files, stores them inverted."""
    inks = simplejpeg.decode_jpeg(data, "CMYK", strict=True)
    return Image.fromarray(255 - inks, "CMYK").convert("RGB")


def _scaled_size(
    stored: tuple[int, int],
    image_size: tuple[int, int],
    keep_aspect_ratio: bool,
    *,
    sideways: bool,
) -> tuple[int, int]:
    """(height, width) to decode at: the stored size over 1, 2, 4 or 8, well above the target."""
    height, width = stored
    upright = (width, height) if sideways else stored
    target = _inner_size(upright, image_size, keep_aspect_ratio)
    target_height, target_width = target[::-1] if sideways else target
    factor = 8
    while factor > 1 and (
        height < DCT_MARGIN * target_height * factor or width < DCT_MARGIN * target_width * factor
    ):
        factor //= 2
    return -(-height // factor), -(-width // factor)


def _jpeg_orientation(data: bytes) -> int:
    """The EXIF orientation, 1 to 8. Only files with an EXIF block pay for parsing it (0.05 ms)."""
    if not _has_exif(data):
        return 1
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            return _known_orientation(image)
    except (
        Exception
    ):  # Pillow raises anything at all on damaged EXIF; the pixels are none the worse
        return 1


def _has_exif(data: bytes) -> bool:
    """Whether a segment before the image data is EXIF; a search of the bytes takes 30 times as long."""
    start = 2
    while start + 4 <= len(data) and data[start] == _MARKER and data[start + 1] != _START_OF_SCAN:
        if data[start + 1] == _MARKER:  # padding
            start += 1
            continue
        if data[start + 1] == _APP1 and data[start + 4 : start + 10] == b"Exif\x00\x00":
            return True
        start += 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    return False


def _jpeg_reason(error: str) -> str:
    error = error.strip().rstrip(".").rpartition("(): ")[2]
    if "remature end" in error:
        return "truncated JPEG: the file ends before the image does"
    if "subsampling" in error:  # what libjpeg-turbo says of a header without components
        return "truncated or damaged JPEG: its header cannot be read"
    return f"damaged JPEG: {error}"


# ---------------------------------------------------------------------------- everything else


def _decode_with_pillow(
    data: bytes, channels: int, max_pixels: int, bits: int, warn: Callable[[str], None]
) -> Image.Image:
    """A grey or RGB image, upright, at its own size."""
    with _opened(data, max_pixels) as image:
        if bits < 16 and bit_depth.is_deep_colour(image):
            raise DecodeError(
                f"16-bit colour, of which the upper 8 bits alone can be read, not {bits}-bit values; "
                "save it as 16-bit grey or as 8-bit colour"
            )
        return _upright(_eight_bit(image, channels, bits, warn), _known_orientation(image))


@contextlib.contextmanager
def _opened(data: bytes, max_pixels: int) -> Iterator[Image.Image]:
    """An image whose header was read and is within bounds; whatever is wrong with it later on is
    raised as `DecodeError` too."""
    _lift_pillow_limit(max_pixels)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_pixels(image.height, image.width, max_pixels)
            yield image
    except DecodeError:
        raise
    except UnidentifiedImageError:
        raise DecodeError(_unknown_format(data)) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DecodeError(f"larger than --max-pixels {max_pixels:,}") from None
    except MemoryError:
        raise DecodeError("too large for the memory at hand; lower --max-pixels") from None
    except Exception as error:  # Pillow's plugins raise SyntaxError, struct.error, zlib.error, ...
        kind = "truncated" if "truncated" in str(error).lower() else "damaged"
        raise DecodeError(f"{kind} image: {error or type(error).__name__}") from error


def _eight_bit(
    image: Image.Image, channels: int, bits: int, warn: Callable[[str], None]
) -> Image.Image:
    """Any mode to `L`, or to `RGB` where the image has colour and `channels` asks for it."""
    image.load()
    mode = image.mode
    if bit_depth.is_deep_grey(image):
        bits = bit_depth.stated_bits(image) or bits
        pixels, clipped = bit_depth.to_eight_bits(image, bits)
        if clipped:
            warn(f"with values above {2**bits - 1:,}, clipped to white: read as {bits}-bit")
        return Image.fromarray(pixels)
    if mode in ("I", "F"):
        kind = "floating-point" if mode == "F" else "signed or 32-bit"
        raise DecodeError(f"{kind} {image.format} pixels; save the image with 8 or 16 bits")
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image.convert("RGBA"))
        return image.convert("L" if channels == 1 or mode == "LA" else "RGB")
    return image.convert("L" if channels == 1 or mode in ("1", "L") else "RGB")


def _unknown_format(data: bytes) -> str:
    if data[128:132] == b"DICM":
        return "a DICOM file; convert it to 8- or 16-bit PNG first"
    if data[:4096].isascii() and b"\x00" not in data[:4096]:
        return "text, not an image"
    return "no image: expected JPEG, PNG, BMP, GIF, WebP, TIFF or PNM"


def _lift_pillow_limit(max_pixels: int) -> None:
    """Pillow refuses images over twice its own limit whatever ours is. Only ever raises that limit."""
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels


# ---------------------------------------------------------------------------- shared


def _check_pixels(height: int, width: int, max_pixels: int) -> None:
    if height * width > max_pixels:
        raise DecodeError(
            f"{width} x {height} is {height * width:,} pixels, more than --max-pixels {max_pixels:,}"
        )


def _known_orientation(image: Image.Image) -> int:
    value = image.getexif().get(_ORIENTATION, 1)
    return value if value in _TRANSPOSE else 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    method = _TRANSPOSE.get(orientation)
    return image if method is None else image.transpose(method)


def _inner_size(
    size: tuple[int, int], image_size: tuple[int, int], keep_aspect_ratio: bool
) -> tuple[int, int]:
    """(height, width) that an image of `size` takes inside `image_size`."""
    if not keep_aspect_ratio:
        return image_size
    scale = min(image_size[0] / size[0], image_size[1] / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _fit(
    image: Image.Image,
    image_size: tuple[int, int],
    channels: int,
    keep_aspect_ratio: bool,
    warn: Callable[[str], None],
) -> np.ndarray:
    """A grey or RGB image of any size to uint8[H, W, C]."""
    if channels == 1 and image.mode != "L":
        image = image.convert("L")
    inner = _inner_size((image.height, image.width), image_size, keep_aspect_ratio)
    if (image.height, image.width) != inner:
        image = image.resize(inner[::-1], Image.Resampling.BILINEAR)
    pixels = np.array(image if channels == 1 else image.convert("RGB"))
    if int(pixels.max()) - int(pixels.min()) < NARROW_SPAN:
        warn("with less than an eighth of the grey levels in use")
    if inner != image_size:
        pixels = _padded(pixels, image_size)
    return pixels.reshape(*image_size, channels)


def _padded(pixels: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """uint8[h, w, ...] centred on black, to uint8[H, W, ...]."""
    canvas = np.zeros((*image_size, *pixels.shape[2:]), np.uint8)
    top, left = ((size - inner) // 2 for size, inner in zip(image_size, pixels.shape, strict=False))
    canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return canvas


def _ignore(warning: str) -> None:
    """Where nobody asked to be warned."""
