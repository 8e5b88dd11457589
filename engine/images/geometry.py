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


def inner_corner(inner: tuple[int, int], image_size: tuple[int, int]) -> tuple[int, int]:
    """(top, left) of an image of the size `inner` that is centred inside `image_size`."""
    return (image_size[0] - inner[0]) // 2, (image_size[1] - inner[1]) // 2


def part_of(
    shape: tuple[int, int], image_format: ImageFormat, size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Which part of an array of `shape` (rows, columns), that lies evenly over a network's input, shows an image
    of `size` (height, width): (left, top, right, bottom) in columns and rows; the rest is padding."""
    height, width = image_format.image_size
    inner = inner_size(size, image_format)
    top, left = inner_corner(inner, image_format.image_size)
    across, down = shape[1] / width, shape[0] / height
    return left * across, top * down, (left + inner[1]) * across, (top + inner[0]) * down
