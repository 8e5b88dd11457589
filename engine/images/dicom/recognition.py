"""Whether a file is DICOM, by its first bytes, and whether this installation can read it. No pydicom.

PS3.10 puts 128 bytes that mean nothing and then `DICM` in front. Files that were stored without them
begin with their first element: one of group 0002 or 0008, little endian, which starts no other format.
"""

import functools
import importlib.metadata

from engine.base.config import UserError
from engine.base.wording import counted

PREFIX, PREFIX_AT = b"DICM", 128
START_BYTES = PREFIX_AT + len(PREFIX)  # that `is_dicom` looks at
INSTALL = "pip install -e '.[dicom]'"
OLDEST = 3  # pydicom's major version
MISSING = f"a DICOM file, and pydicom {OLDEST} is not installed; {INSTALL}"

_LONGEST_FIRST_VALUE = 64  # bytes; the first element is a length, a character set or an identifier
_REPRESENTATIONS = (b"UL", b"OB", b"CS", b"DA", b"TM", b"UI", b"LO", b"SH")


def is_dicom(start: bytes) -> bool:
    """Whether a file's first bytes (`START_BYTES`, or all that there are) are those of DICOM."""
    if start[PREFIX_AT:START_BYTES] == PREFIX:
        return True
    group, element = start[:2], int.from_bytes(start[2:4], "little")
    if group not in (b"\x02\x00", b"\x08\x00") or len(start) < 16 or element > 0x60:
        return False
    explicit = start[4:6] in _REPRESENTATIONS
    length = start[6:8] if explicit else start[4:8]
    return 0 < int.from_bytes(length, "little") <= _LONGEST_FIRST_VALUE or start[4:6] == b"OB"


@functools.cache
def is_readable() -> bool:
    """Whether pydicom is installed."""
    try:
        return int(importlib.metadata.version("pydicom").partition(".")[0]) >= OLDEST
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return False


def require_readable(num_dicom: int, num_files: int) -> None:
    """Raises `UserError` where all files are DICOM and none of them can be read."""
    if num_dicom and num_dicom == num_files and not is_readable():
        raise UserError(
            f"all {counted(num_files, 'file')} are DICOM, and pydicom {OLDEST} is not installed; {INSTALL}"
        )
