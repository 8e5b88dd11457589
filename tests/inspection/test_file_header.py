"""Headers of files: size, mode and quality as they were written; damaged ones have none."""

import io

import inspected_images
import numpy as np
import pytest
from PIL import Image

from engine.inspection.file_header import read_header
from engine.inspection.jpeg_quality import estimated_quality


def data_of(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def header_of(image, kind, **options):
    return read_header(data_of(image, kind, **options), max_pixels=1_000_000)


GREY = inspected_images.smooth(0, (60, 40))


@pytest.mark.parametrize("quality", [1, 5, 24, 49, 50, 51, 75, 90, 95, 100])
def test_the_quality_of_a_jpeg_is_read_from_its_table(quality):
    assert header_of(GREY, "JPEG", quality=quality).jpeg_quality == quality
    assert header_of(GREY.convert("RGB"), "JPEG", quality=quality).jpeg_quality == quality


def test_another_table_gives_the_nearest_quality():
    table = np.clip(np.full(64, 17), 1, 255).tolist()
    assert 80 <= estimated_quality(table) <= 90


@pytest.mark.parametrize(
    ("mode", "kind", "expected"),
    [
        ("L", "PNG", "grey"),
        ("RGB", "JPEG", "colour"),
        ("CMYK", "JPEG", "CMYK"),
        ("RGBA", "PNG", "colour, alpha"),
        ("P", "GIF", "palette"),
        ("1", "TIFF", "1-bit"),
        ("I;16", "PNG", "16-bit grey"),
    ],
)
def test_modes_are_named_as_files_store_them(mode, kind, expected):
    image = Image.new(mode, (9, 5)) if mode == "I;16" else GREY.convert(mode)
    found = header_of(image, kind)
    assert found.mode == expected
    assert (found.width, found.height) == image.size


def test_sizes_are_those_of_the_upright_image():
    exif = Image.Exif()
    exif[0x0112] = 6
    found = header_of(GREY, "JPEG", exif=exif)
    assert (found.width, found.height, found.orientation) == (40, 60, 6)


def test_progressive_and_animated_files_are_known_as_such():
    assert header_of(GREY, "JPEG", progressive=True).is_progressive
    assert not header_of(GREY, "JPEG").is_progressive
    frames = [inspected_images.smooth(seed).convert("RGB") for seed in range(3)]
    assert header_of(frames[0], "GIF", save_all=True, append_images=frames[1:]).is_animated
    assert not header_of(frames[0], "GIF").is_animated


@pytest.mark.parametrize("data", [b"", b"text", b"\xff\xd8\xff\xe0" + bytes(20)])
def test_what_is_no_image_has_no_header(data):
    assert read_header(data, max_pixels=1000) is None
