"""Plugins in a process of their own: what becomes of a frame that ends it, or never comes to an end."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import dicom_files
import numpy as np
import pytest
from pydicom import uid

from engine.base.config import UserError
from engine.images import decoding
from engine.images.decoding import DecodeError
from engine.images.dicom import plugin_process
from engine.images.format import ImageFormat

FORMAT = ImageFormat(image_size=(48, 48), channels=1)
PIXELS = np.random.default_rng(0).integers(0, 256, (48, 48)).astype(np.uint8)
SYNTAX = uid.JPEG2000Lossless


@pytest.fixture
def no_processes():
    """None before and none after."""
    plugin_process._end_idle()
    yield
    plugin_process._end_idle()


def decode(data: bytes) -> np.ndarray:
    return decoding.decode_bytes(data, FORMAT)[..., 0]


def test_one_process_answers_one_question_after_another(no_processes):
    data = dicom_files.encoded(PIXELS, syntax=SYNTAX)
    for _ in range(3):
        np.testing.assert_array_equal(decode(data), PIXELS)
    assert len(plugin_process._idle) == 1


def test_threads_ask_one_process_each(no_processes):
    arrays = [np.roll(PIXELS, shift) for shift in range(6)]
    files = [dicom_files.encoded(array, syntax=SYNTAX) for array in arrays]
    with ThreadPoolExecutor(2) as pool:
        for array, found in zip(arrays, pool.map(decode, files), strict=True):
            np.testing.assert_array_equal(found, array)
    assert 1 <= len(plugin_process._idle) <= 2


def test_a_decoder_that_ends_its_process_costs_one_image(no_processes, monkeypatch):
    data = dicom_files.encoded(PIXELS, syntax=SYNTAX)
    with monkeypatch.context() as patch:
        patch.setattr(plugin_process, "_START", "import os; os.abort()")
        with pytest.raises(DecodeError, match="its decoder broke off"):
            decode(data)
    np.testing.assert_array_equal(decode(data), PIXELS)


def test_a_process_that_is_killed_is_no_fault_of_the_file(no_processes, monkeypatch):
    program = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    monkeypatch.setattr(plugin_process, "_START", program)
    with pytest.raises(UserError, match="ran out of memory"):
        decode(dicom_files.encoded(PIXELS, syntax=SYNTAX))


def test_it_ends_with_the_process_that_asks():
    """Whose end closes the pipe."""
    program = plugin_process._START.format(path=sys.path, module=plugin_process.__name__)
    done = subprocess.run([sys.executable, "-c", program], input=b"", capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_frame_without_end_is_given_up(no_processes, monkeypatch):
    monkeypatch.setattr(plugin_process, "_START", "import sys; sys.stdin.read()")
    with pytest.raises(DecodeError, match=r"not decoded in 0\.1 s"):
        plugin_process.decode(b"frame", SYNTAX, {}, limit=0.1)
    assert not plugin_process._idle
    assert threading.active_count() < 50


def test_what_a_plugin_refuses_is_one_line(no_processes):
    data = bytearray(dicom_files.encoded(PIXELS, syntax=uid.JPEGLSLossless))
    data[-1200:-200] = bytes(1000)
    with pytest.raises(DecodeError, match="its pixels cannot be decoded") as caught:
        decode(bytes(data))
    assert "\n" not in caught.value.reason
    assert len(plugin_process._idle) == 1  # which can be asked again
