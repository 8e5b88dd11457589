"""Image files made in memory, of many kinds, whole and damaged, for tests of decoders."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

_ORIENTATION = 0x0112


def pattern(height, width, channels=None, *, top=255, dtype=np.uint8):
    """Waves under noise, [height, width] or [height, width, channels]."""
    random = np.random.default_rng(height * width)
    rows, columns = np.mgrid[:height, :width]
    waves = (np.sin(columns / 17) + np.cos(rows / 23) + 2) / 4
    parts = [waves * (0.6 + 0.1 * place) for place in range(channels or 1)]
    values = np.stack(parts, -1) + random.normal(0, 0.03, (height, width, channels or 1))
    values = (np.clip(values, 0, 1) * top).astype(dtype)
    return values if channels else values[..., 0]


def encoded(pixels, kind, *, orientation=None, **options):
    """The bytes of a file of this kind; `pixels` is an array or a Pillow image."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    if orientation is not None:
        options["exif"] = Image.Exif()
        options["exif"][_ORIENTATION] = orientation
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(pixels, *, colour, extra=b"", crc_error=False):
    """A PNG that Pillow does not write: uint16[h, w, C] of a colour type, and further chunks."""
    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    data = chunk(b"IDAT", zlib.compress(rows))
    if crc_error:
        data = data[:-1] + bytes([data[-1] ^ 1])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + data + chunk(b"IEND", b"")


def chunk(name, content):
    """A chunk of a PNG file."""
    check = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + check


def whole():
    """Files by what they are, all of which the engine decodes and TensorFlow's operations can."""
    grey, colour = pattern(90, 70), pattern(90, 70, 3)
    large = pattern(500, 333, 3)
    few = Image.fromarray(colour).quantize(64)
    found = {
        f"{kind} orientation {value}": encoded(colour, kind, orientation=value)
        for kind in ("JPEG", "PNG")
        for value in range(10)
    }
    found |= {
        f"JPEG {subsampling} {progressive}": encoded(
            large, "JPEG", subsampling=subsampling, progressive=progressive, orientation=6
        )
        for subsampling in (0, 1, 2)
        for progressive in (False, True)
    }
    found |= {f"{kind} grey": encoded(grey, kind) for kind in ("JPEG", "PNG", "BMP", "GIF")}
    found |= {f"{kind} colour": encoded(colour, kind) for kind in ("BMP", "GIF")}
    found |= {f"{kind} palette": encoded(few, kind) for kind in ("PNG", "BMP", "GIF")}
    found |= {f"{kind} transparent": encoded(few, kind, transparency=3) for kind in ("PNG", "GIF")}
    found |= {
        f"{kind} one bit": encoded(Image.fromarray(grey > 99), kind) for kind in ("PNG", "BMP")
    }
    found |= {
        "JPEG large and grey": encoded(large[..., 0], "JPEG"),
        "JPEG tall": encoded(pattern(900, 90), "JPEG"),
        "PNG alpha": encoded(pattern(90, 70, 4), "PNG"),
        "PNG grey alpha": encoded(Image.fromarray(pattern(90, 70, 2), "LA"), "PNG"),
        "PNG grey transparent": encoded(grey, "PNG", transparency=100),
        "PNG four colours": encoded(Image.fromarray(colour).quantize(4), "PNG", bits=2),
        "PNG 16 bit": encoded(pattern(90, 70, top=65535, dtype=np.uint16), "PNG"),
        "PNG 12 bit": encoded(pattern(90, 70, top=4095, dtype=np.uint16), "PNG"),
        "PNG one pixel": encoded(grey[:1, :1], "PNG"),
        "PNG one row": encoded(pattern(1, 900), "PNG"),
        "PNG orientation behind the pixels": _late_orientation(colour),
        "BMP alpha": encoded(pattern(90, 70, 4), "BMP"),
        "BMP top row first": _flipped_bmp(colour),
        "GIF animation": encoded(colour, "GIF", save_all=True, append_images=[few]),
    }
    return found


def damaged():
    """Bytes by what is wrong with them; none of them is an image that can be trusted."""
    grey = pattern(90, 70)
    jpeg, png_file, bmp, gif = (encoded(grey, kind) for kind in ("JPEG", "PNG", "BMP", "GIF"))
    found = {
        "empty": b"",
        "one byte": b"\xff",
        "text": b"no image",
        "random": np.random.default_rng(0).bytes(4000),
        "JPEG cut": jpeg[: len(jpeg) // 2],
        "PNG cut": png_file[: len(png_file) // 2],
        "BMP cut": bmp[: len(bmp) // 2],
        "GIF cut": gif[: len(gif) // 2],
        "PNG without pixels": png(np.zeros((0, 4, 1)), colour=0),
        "PNG wrong checksum": png(np.zeros((4, 4, 1)), colour=0, crc_error=True),
        "PNG of another length": png_file[:20] + b"\0\0\1\0" + png_file[24:],
        "PNG bomb": b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 0, 0, 0, 0)),
        "BMP bomb": bmp[:18] + struct.pack("<ii", 2**31 - 1, -(2**31)) + bmp[26:],
    }
    for name, whole_file in (("JPEG", jpeg), ("PNG", png_file), ("BMP", bmp), ("GIF", gif)):
        found |= {f"{name} first {count} bytes": whole_file[:count] for count in (3, 8, 12, 30)}
    return found


def _late_orientation(pixels):
    """A PNG whose EXIF chunk comes behind the image data."""
    with_exif = encoded(pixels, "PNG", orientation=6)
    start = with_exif.index(b"eXIf") - 4
    length = 12 + int.from_bytes(with_exif[start : start + 4], "big")
    moved = with_exif[start : start + length]
    rest = with_exif[:start] + with_exif[start + length :]
    return rest[:-12] + moved + rest[-12:]


def _flipped_bmp(pixels):
    """A BMP whose height is negative, so that its first row is the top one."""
    content = encoded(pixels[::-1], "BMP")
    height = int.from_bytes(content[22:26], "little")
    return content[:22] + (-height).to_bytes(4, "little", signed=True) + content[26:]
