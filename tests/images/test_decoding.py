"""The decoder: what comes out of each format, and what is refused."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.images import decoding
from engine.images.decoding import DecodeError
from engine.images.format import ImageFormat

SIZE = (48, 64)
COLOUR = ImageFormat(image_size=SIZE, channels=3)


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """A smooth RGB image of `SIZE`, different in every corner."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    return small.resize(SIZE[::-1], Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def noise() -> Image.Image:
    """A grey image that JPEG needs many bytes for."""
    rng = np.random.default_rng(1)
    return Image.fromarray(rng.integers(0, 256, (128, 128), dtype=np.uint8))


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decode(data: bytes, *, max_pixels: int = decoding.DEFAULT_MAX_PIXELS, **changes) -> np.ndarray:
    image_format = dataclasses.replace(COLOUR, **changes)
    return decoding.decode_bytes(data, image_format, max_pixels=max_pixels)


def difference(a: np.ndarray, b) -> float:
    return float(np.abs(a.astype(int) - np.asarray(b).reshape(a.shape).astype(int)).mean())


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF"])
def test_lossless_formats_give_their_pixels(picture, kind):
    np.testing.assert_array_equal(decode(encoded(picture, kind)), np.asarray(picture))


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"keep_rgb": True}]
)
def test_jpeg_of_the_wanted_size_equals_pillow(picture, options):
    data = encoded(picture, "JPEG", quality=90, **options)
    np.testing.assert_array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data))))


def test_grey_of_a_colour_jpeg_is_its_luminance(picture):
    data = encoded(picture, "JPEG", quality=95)
    image = Image.open(io.BytesIO(data))
    image.draft("L", image.size)
    np.testing.assert_array_equal(decode(data, channels=1)[..., 0], np.asarray(image))


def test_grey_jpeg_has_equal_channels(noise):
    data = encoded(noise, "JPEG")
    colour, grey = decode(data), decode(data, channels=1)
    np.testing.assert_array_equal(colour, np.repeat(grey, 3, axis=-1))


def test_cmyk_jpeg(picture):
    data = encoded(picture.convert("CMYK"), "JPEG", quality=95)
    assert difference(decode(data), picture) < 4


def test_alpha_is_laid_over_black(picture):
    image = picture.convert("RGBA")
    image.putalpha(Image.new("L", image.size, 0))
    assert decode(encoded(image, "PNG")).max() == 0
    image.putalpha(Image.new("L", image.size, 255))
    np.testing.assert_array_equal(decode(encoded(image, "PNG")), np.asarray(picture))


@pytest.mark.parametrize("mode", ["P", "1", "LA", "L"])
def test_other_png_modes_equal_pillow(picture, mode):
    image = picture.convert("L").convert(mode) if mode != "P" else picture.quantize(16)
    np.testing.assert_array_equal(decode(encoded(image, "PNG")), np.asarray(image.convert("RGB")))


def test_first_frame_of_a_gif(noise, picture):
    frames = [noise.resize(SIZE[::-1]), picture.convert("L")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode(data, channels=1)[..., 0], np.asarray(frames[0]))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_orientation_is_applied(picture, orientation, kind):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture, kind, exif=exif.tobytes())
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    pixels = decode(data, image_size=(upright.height, upright.width))
    np.testing.assert_array_equal(pixels, np.asarray(upright))


def test_exif_behind_other_segments_and_padding_is_found(picture):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(picture, "JPEG", exif=exif.tobytes())
    comment = b"\xff\xfe\x00\x06abcd" + b"\xff" * 3
    shifted = data[:2] + comment + data[2:]
    np.testing.assert_array_equal(decode(shifted), decode(data))
    without = encoded(picture, "JPEG")
    assert not np.array_equal(decode(without), decode(data))


@pytest.mark.parametrize("orientation", [1, 6])
def test_scaled_decoding_of_large_jpeg_is_near_the_full_way(picture, orientation):
    large = picture.resize((1024, 768), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(large, "JPEG", quality=95, exif=exif.tobytes())
    size = SIZE if orientation == 1 else SIZE[::-1]
    full = Image.open(io.BytesIO(data))
    full = full.resize(SIZE[::-1], Image.Resampling.BILINEAR)
    if orientation == 6:
        full = full.transpose(Image.Transpose.ROTATE_270)
    assert difference(decode(data, image_size=size), full) < 1


def test_resize_is_antialiased():
    stripes = np.zeros((512, 512), np.uint8)
    stripes[:, ::2] = 255
    pixels = decode(encoded(Image.fromarray(stripes), "PNG"), image_size=(64, 64), channels=1)
    assert np.abs(pixels.astype(int) - 127).max() <= 8


def test_keep_aspect_ratio_pads_with_black():
    data = encoded(Image.new("RGB", (100, 50), (200, 200, 200)), "PNG")
    pixels = decode(data, image_size=(64, 64), keep_aspect_ratio=True)
    assert (pixels[16:48] == 200).all()
    assert not pixels[:16].any() and not pixels[48:].any()


def test_content_decides_not_the_name(picture, tmp_path):
    path = tmp_path / "picture.jpg"
    path.write_bytes(encoded(picture, "PNG"))
    pixels = decoding.decode_file(path, COLOUR)
    np.testing.assert_array_equal(pixels, np.asarray(picture))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_truncated_files_are_refused(noise, kind, share):
    data = encoded(noise, kind)
    with pytest.raises(DecodeError):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_damage_inside_is_refused(noise, kind):
    data = bytearray(encoded(noise, kind))
    middle = len(data) // 2
    data[middle : middle + 512] = bytes(512)
    with pytest.raises(DecodeError):
        decode(bytes(data))


def test_progressive_and_cmyk_jpeg_are_checked_too(noise):
    for image, options in ((noise, {"progressive": True}), (noise.convert("CMYK"), {})):
        data = encoded(image, "JPEG", **options)
        with pytest.raises(DecodeError, match="truncated"):
            decode(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"these are my notes on the patients\n", "text"),
        (bytes(128) + b"DICM" + bytes(99), "DICOM"),
        (bytes(range(256)) * 4, "expected JPEG"),
        (b"\xff\xd8\xff\xe0" + bytes(64), "JPEG"),
    ],
)
def test_reasons_say_what_arrived(data, reason):
    with pytest.raises(DecodeError, match=reason) as caught:
        decode(data)
    assert "\n" not in caught.value.reason


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_bombs_are_refused_by_their_header(noise, kind):
    with pytest.raises(DecodeError, match="max-pixels 16,383"):
        decode(encoded(noise, kind), max_pixels=128 * 128 - 1)
    assert decode(encoded(noise, kind), max_pixels=128 * 128).shape == (*SIZE, 3)


def test_a_png_that_claims_to_be_huge_is_refused(noise):
    data = bytearray(encoded(noise, "PNG"))
    data[16:24] = (200_000).to_bytes(4, "big") * 2
    import zlib

    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    with pytest.raises(DecodeError, match="max-pixels"):
        decode(bytes(data))


def test_unreadable_paths_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "absent.png"):
        with pytest.raises(DecodeError):
            decoding.decode_file(path, COLOUR)


def test_channels_must_be_1_or_3(picture):
    with pytest.raises(ValueError, match="got 2"):
        decode(encoded(picture, "PNG"), channels=2)


@pytest.mark.parametrize("channels", [1, 3])
def test_encode_png_and_raw_are_lossless(picture, channels):
    pixels = decode(encoded(picture, "PNG"), channels=channels)
    again = decode(decoding.encode(pixels, "png"), channels=channels)
    np.testing.assert_array_equal(again, pixels)
    assert decoding.encode(pixels, "raw") == pixels.tobytes()
    near = decode(decoding.encode(pixels, "jpeg", jpeg_quality=98), channels=channels)
    assert difference(near, pixels) < 2


def test_pillow_limits_do_not_stand_in_the_way(noise, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert decode(encoded(noise, "PNG"), max_pixels=1 << 20).shape == (*SIZE, 3)


def test_reading_a_pipe_does_not_block(tmp_path):
    import os

    path = Path(tmp_path) / "pipe.png"
    os.mkfifo(path)
    with pytest.raises(DecodeError, match="regular"):
        decoding.decode_file(path, COLOUR)


@pytest.mark.parametrize("size", [SIZE, (24, 32)])
def test_results_do_not_share_memory(picture, noise, size):
    """Pixels are decoded into one buffer per thread; what is handed out is a copy."""
    first, second = encoded(picture.convert("L"), "JPEG"), encoded(noise.resize((64, 48)), "JPEG")
    pixels = decode(first, image_size=size, channels=1)
    before = pixels.copy()
    decode(second, image_size=size, channels=1)
    np.testing.assert_array_equal(pixels, before)


def test_threads_do_not_disturb_one_another(picture, noise):
    from concurrent.futures import ThreadPoolExecutor

    files = [encoded(image.convert("L"), "JPEG") for image in (picture, noise)] * 200
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda data: decode(data, image_size=(32, 32)), files))
    for pixels, data in zip(found, files, strict=True):
        np.testing.assert_array_equal(pixels, decode(data, image_size=(32, 32)))


def test_warning_filters_are_left_alone(picture, monkeypatch):
    """They are the process's: what a pool's thread changes, all others see (and may never be undone)."""
    import warnings

    data = encoded(picture, "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\x00\x00") + bytes(9)
    before = list(warnings.filters)
    seen = []
    opened = Image.open
    monkeypatch.setattr(
        Image, "open", lambda *a, **o: seen.append(list(warnings.filters)) or opened(*a, **o)
    )
    for image in (data, encoded(picture, "PNG"), encoded(picture, "TIFF")):
        decode(image)
    assert len(seen) == 3 and all(one == before for one in seen)


def test_pillows_warnings_are_dropped_at_the_start_of_a_process(picture):
    import subprocess
    import sys

    program = (
        "import warnings\nfrom engine.base import command_line\n"
        "command_line.run('sample', lambda: exec(\"warnings.warn_explicit('odd', UserWarning, "
        "'x.py', 1, module='PIL.TiffImagePlugin')\") or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert not done.stderr


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_whole_file_keeps_its_size_and_stands_upright(tmp_path, kind, channels):
    large = Image.new("RGB", (3000, 900), (200, 40, 40))
    large.paste((20, 20, 250), (0, 0, 300, 300))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right
    large.save(tmp_path / "a", kind, exif=exif)
    found = decoding.decode_whole(tmp_path / "a", channels=channels, bits=8)
    assert found.shape == (3000, 900, channels) and found.dtype == np.uint8
    corner, other = found[100, 850].astype(int), found[2900, 100].astype(int)
    if channels == 3:
        assert corner[2] > 200 and other[0] > 150
    else:
        assert corner[0] < other[0]


def test_a_whole_file_is_bounded_and_refused_when_damaged(tmp_path):
    Image.new("L", (100, 100)).save(tmp_path / "a.png")
    with pytest.raises(DecodeError, match="more than --max-pixels"):
        decoding.decode_whole(tmp_path / "a.png", channels=1, bits=8, max_pixels=5000)
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(DecodeError, match="empty file"):
        decoding.decode_whole(tmp_path / "b.png", channels=1, bits=8)
