"""DICOM files are known by their first bytes, and nothing else is taken for one."""

import io

import dicom_files
import numpy as np
import pytest
from PIL import Image

from engine.base.config import UserError
from engine.images.dicom import recognition

PIXELS = np.zeros((4, 4), np.uint8)


def test_files_with_and_without_a_preamble_are_recognised():
    data = dicom_files.encoded(PIXELS)
    for start in (data, data[132:], data[data.index(b"\x08\x00\x16\x00") :]):
        assert recognition.is_dicom(start[: recognition.START_BYTES])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_other_images_are_not(kind):
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, kind)
    assert not recognition.is_dicom(file.getvalue()[: recognition.START_BYTES])


@pytest.mark.parametrize(
    "start",
    [b"", b"DICM", bytes(200), b"\x08\x00", b"\x08\x00\x05\x00" + b"\xff" * 40, b"a text" * 30],
)
def test_nor_is_anything_else(start):
    assert not recognition.is_dicom(start)


def test_a_folder_of_dicom_alone_needs_pydicom(monkeypatch):
    recognition.require_readable(3, 3)
    monkeypatch.setattr(recognition, "is_readable", lambda: False)
    recognition.require_readable(2, 3)
    with pytest.raises(UserError, match=r"all 3 files are DICOM.*pip install -e '\.\[dicom\]'"):
        recognition.require_readable(3, 3)
