"""Files of named arrays and a JSON header, which are whole or not read at all.

An uncompressed NumPy archive holds the arrays and, as JSON, the header. Behind it stands a line
with the format's version and a CRC-32C over everything before it: the archive's own checksums leave
its headers out. (numpy.load passes over that line.) Files are written aside and renamed; nothing in
them is executed.
"""

import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import google_crc32c
import numpy as np

from engine.base import files

_HEADER = "state"
_LAST_LINE = re.compile(rb"checkpoint version (\d{3}) crc32c ([0-9a-f]{8})\n")
_LAST_LINE_BYTES = len("checkpoint version 000 crc32c ") + 8 + 1
_ARCHIVE_END = b"PK\x05\x06"  # 22 bytes before the end of a ZIP file
_BLOCK_BYTES = 1 << 20


def write(
    path: Path, *, arrays: Mapping[str, np.ndarray], header: Mapping[str, Any], version: int
) -> None:
    """Writes a file, or replaces it in one step.

    Args:
        arrays: by names other than `state`.
        header: JSON values.
        version: 0 to 999; `read` takes files of the same one only.
    """
    encoded = json.dumps(header).encode()
    members: dict[str, Any] = {_HEADER: np.frombuffer(encoded, np.uint8), **arrays}
    with files.written_aside(path) as aside, open(aside, "wb+") as file:
        np.savez(file, **members)
        _write_last_line(file, version)


def read(path: Path, *, version: int) -> tuple[dict[str, np.ndarray], Any] | None:
    """The arrays and the header; None if the file is missing, damaged or of another version."""
    try:
        content = path.read_bytes()
        if _version(content) != version:
            return None
        with np.load(io.BytesIO(content)) as archive:
            arrays = {name: archive[name] for name in archive.files}
        return arrays, json.loads(arrays.pop(_HEADER).tobytes())
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def is_of_another_version(path: Path, version: int) -> bool:
    """Whether a file that `read` refuses is whole, but of another version."""
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return _version(content) not in (None, version) or content[-22:-18] == _ARCHIVE_END


def _write_last_line(file: IO[bytes], version: int) -> None:
    file.seek(0)
    checksum = 0
    while block := file.read(_BLOCK_BYTES):
        checksum = google_crc32c.extend(checksum, block)
    beginning = f"checkpoint version {version:03d} crc32c ".encode()
    checksum = google_crc32c.extend(checksum, beginning)
    file.write(beginning + f"{checksum:08x}\n".encode())


def _version(content: bytes) -> int | None:
    """The version of a whole file; None of a damaged one."""
    line = _LAST_LINE.fullmatch(content[-_LAST_LINE_BYTES:])
    if line is None:
        return None
    checksum = google_crc32c.value(content[: line.start(2) - _LAST_LINE_BYTES])
    return int(line[1]) if int(line[2], 16) == checksum else None
