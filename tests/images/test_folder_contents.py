"""Files are told apart by their contents, each is read once, and what must not be opened is not."""

import errno
import os
from pathlib import Path

import google_crc32c
import pytest
from image_trees import make

from engine.images import folder_contents, image_folder, source_file


def test_the_fingerprint_is_over_names_and_contents(tmp_path):
    make(tmp_path, "a/1", "b/2")

    def fingerprint() -> str:
        return folder_contents.hash_contents(image_folder.scan(tmp_path), workers=1).fingerprint

    before = fingerprint()
    assert fingerprint() == before
    (tmp_path / "a" / "1").rename(tmp_path / "a" / "9")
    renamed = fingerprint()
    make(tmp_path, "a/9", content=b"other")
    assert len({before, renamed, fingerprint()}) == 3


def test_only_equal_contents_have_equal_keys(tmp_path):
    contents = {"a.png": b"x" * 5000, "b.png": b"y" * 5000, "c.png": b"x" * 5000, "d.png": b""}
    contents["e.png"] = with_the_same_crc(contents["a.png"])
    for name, content in contents.items():
        path = tmp_path / ("one" if name < "c" else "two") / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    folder = image_folder.scan(tmp_path)
    keys = {
        Path(p).name: k for p, k in folder_contents.hash_contents(folder, workers=2).keys.items()
    }
    assert keys["a.png"] == keys["c.png"] != ""
    assert keys["d.png"] == ""
    assert len({keys["a.png"], keys["b.png"], keys["e.png"]}) == 3


def with_the_same_crc(content):
    """Other bytes of the same length and CRC-32C: flips a pattern that the CRC is blind to."""
    zero = bytes(len(content))
    base = google_crc32c.value(zero)

    def effect(bit):
        flipped = bytearray(zero)
        flipped[bit // 8] ^= 1 << bit % 8
        return google_crc32c.value(bytes(flipped)) ^ base

    # 33 flips of single bits cannot be independent in 32 bits of CRC: some of them cancel out.
    basis = {}
    for bit in range(33):
        value, bits = effect(bit), 1 << bit
        while value:
            top = value.bit_length()
            if top not in basis:
                basis[top] = value, bits
                break
            value, bits = value ^ basis[top][0], bits ^ basis[top][1]
        else:
            break
    changed = bytearray(content)
    for bit in range(33):
        if bits >> bit & 1:
            changed[bit // 8] ^= 1 << bit % 8
    assert bytes(changed) != content
    assert google_crc32c.value(bytes(changed)) == google_crc32c.value(content)
    return bytes(changed)


def test_files_that_the_kernel_makes_up_are_not_opened(tmp_path, monkeypatch):
    """/proc/kmsg is a regular file of size 0 that blocks whoever reads it."""
    make(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "a" / "link.png").symlink_to("/proc/self/status")
    (tmp_path / "a" / "device.png").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    opened = []
    monkeypatch.setattr(
        "builtins.open",
        lambda path, *_, real=open, **options: (
            opened.append(Path(path).name) or real(path, *_, **options)
        ),
    )
    contents = folder_contents.hash_contents(image_folder.scan(tmp_path), workers=1)
    assert contents.empty == {"a/link.png", "a/device.png", "a/pipe.png"}
    assert sorted(opened) == ["1.png", "2.png"]
    assert source_file.read_file("/proc/self/status") == b""


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_too_few_file_descriptors_leave_no_file_out(tmp_path, monkeypatch, number):
    """Else a build would go on, with every image rejected."""
    make(tmp_path, "a/1.png", "b/2.png")
    folder = image_folder.scan(tmp_path)

    def refusing(*arguments, **options):
        raise OSError(number, os.strerror(number), "1.png")

    monkeypatch.setattr("builtins.open", refusing)
    with pytest.raises(OSError, match="Too many open files"):
        folder_contents.hash_contents(folder, workers=1)
    with pytest.raises(OSError, match="Too many open files"):
        source_file.read_file(tmp_path / "a" / "1.png")
