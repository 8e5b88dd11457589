"""Image files other than JPEG through Pillow: any mode and depth to 8-bit grey or RGB."""

import contextlib
import io
from collections.abc import Callable, Iterator

from PIL import Image, UnidentifiedImageError

from engine.images import bit_depth, geometry
from engine.images.source_file import DecodeError

FORMATS = ("PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # besides JPEG


def decode(
    data: bytes, channels: int, max_pixels: int, bits: int, warn: Callable[[str], None]
) -> Image.Image:
    """A grey or RGB image, upright, at its own size."""
    with opened(data, max_pixels) as image:
        if bits < 16 and bit_depth.is_deep_colour(image):
            raise DecodeError(
                f"16-bit colour, of which the upper 8 bits alone can be read, not {bits}-bit values; "
                "save it as 16-bit grey or as 8-bit colour"
            )
        return geometry.upright(
            _eight_bit(image, channels, bits, warn), geometry.known_orientation(image)
        )


@contextlib.contextmanager
def opened(data: bytes, max_pixels: int) -> Iterator[Image.Image]:
    """An image whose header was read and is within bounds; whatever is wrong with it later on is
    raised as `DecodeError` too."""
    lift_pillow_limit(max_pixels)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            geometry.check_pixels(image.height, image.width, max_pixels)
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
    if data[:4096].isascii() and b"\x00" not in data[:4096]:
        return "text, not an image"
    return "no image: expected JPEG, PNG, BMP, GIF, WebP, TIFF, PNM or DICOM"


def lift_pillow_limit(max_pixels: int) -> None:
    """Pillow refuses images over twice its own limit whatever ours is. Only ever raises that limit."""
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels
