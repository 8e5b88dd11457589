"""Plugins in a process of their own: what becomes of a frame that ends it, or never comes to an end."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import dicom_files
import numpy as np
import pytest
from pydicom import uid

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


def test_a_process_that_is_killed_once_costs_nothing(no_processes, tmp_path, monkeypatch):
    """The kernel may end it for what others take."""
    mark = tmp_path / "killed"
    program = (
        "import os, signal\n"
        f"if not os.path.exists({str(mark)!r}):\n"
        f"    open({str(mark)!r}, 'w').close()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    monkeypatch.setattr(plugin_process, "_START", program + plugin_process._START)
    np.testing.assert_array_equal(decode(dicom_files.encoded(PIXELS, syntax=SYNTAX)), PIXELS)
    assert mark.exists()


def test_a_frame_whose_process_is_killed_twice_costs_one_image(no_processes, monkeypatch):
    data = dicom_files.encoded(PIXELS, syntax=SYNTAX)
    program = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with monkeypatch.context() as patch:
        patch.setattr(plugin_process, "_START", program)
        with pytest.raises(DecodeError, match=r"killed twice, most likely .* ran out of memory"):
            decode(data)
    np.testing.assert_array_equal(decode(data), PIXELS)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory on Linux only")
def test_memory_is_limited_by_the_size_of_the_image(no_processes):
    import resource

    limits = []
    for side in (48, 480, 48):
        pixels = np.zeros((side, side), np.uint8)
        decoding.decode_bytes(dicom_files.encoded(pixels, syntax=SYNTAX), FORMAT)
        (process,) = plugin_process._idle
        limits.append(resource.prlimit(process._child.pid, resource.RLIMIT_AS)[0])
    small, large, again = limits
    assert plugin_process.SPARE_BYTES < small < large < 2 << 30
    assert again < large  # raised for one image only
    ours = resource.getrlimit(resource.RLIMIT_AS)
    assert ours[0] == ours[1] or ours[0] == resource.RLIM_INFINITY  # this process is not limited


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory on Linux only")
def test_more_memory_than_such_an_image_takes_is_refused(no_processes, monkeypatch):
    """By a decoder that asks for 4 GiB."""
    program = (
        "import sys; sys.path[:] = {path!r}; import {module} as m\n"
        "m.decode_here = lambda *given: bytearray(4 << 30)\n"
        "m.serve()"
    )
    monkeypatch.setattr(plugin_process, "_START", program)
    with pytest.raises(DecodeError, match="more memory than such an image needs"):
        decode(dicom_files.encoded(PIXELS, syntax=SYNTAX))
    assert len(plugin_process._idle) == 1  # which can be asked again


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
