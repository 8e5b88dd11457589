"""Which way up an image stands, how large it may be, and how large it becomes inside a target size."""

from PIL import Image

from engine.images.format import ImageFormat
from engine.images.source_file import DecodeError

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


def check_pixels(height: int, width: int, max_pixels: int) -> None:
    """Raises `DecodeError` where an image has more than `max_pixels`."""
    if height * width > max_pixels:
        raise DecodeError(
            f"{width} x {height} is {height * width:,} pixels, more than --max-pixels {max_pixels:,}"
        )


def known_orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none, or none that is defined."""
    value = image.getexif().get(_ORIENTATION, 1)
    return value if value in _TRANSPOSE else 1


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """The image turned and mirrored as its EXIF orientation says."""
    method = _TRANSPOSE.get(orientation)
    return image if method is None else image.transpose(method)


def inner_size(size: tuple[float, float], image_format: ImageFormat) -> tuple[int, int]:
    """(height, width) that an image of `size` takes inside the format's size."""
    image_size = image_format.image_size
    if not image_format.keep_aspect_ratio:
        return image_size
    scale = min(image_size[0] / size[0], image_size[1] / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
