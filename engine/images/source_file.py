"""The bytes of one image file, or the reason why they cannot be used.

Only regular files of bearable size are opened: a pipe or a device could block indefinitely.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

MAX_FILE_BYTES = 1 << 30
# These are the process's trouble, not the file's: no file may be left out for them.
_PROCESS_ERRORS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class DecodeError(Exception):
    """A file that gives no trustworthy pixels; `reason` is a line for the user, without the path."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def read_file(path: Path | str) -> bytes:
    """The contents of a regular file of bearable size.

    Raises:
        DecodeError: it cannot be read, is no regular file (a pipe would block indefinitely), or is huge.
        OSError: the process is out of file descriptors or memory.
    """
    with file_errors():
        if not file_size(path):
            return b""
        with open(path, "rb") as file:
            return file.read(MAX_FILE_BYTES)


def file_size(path: Path | str) -> int:
    """The size in bytes of a file, or of what a link leads to, that may be read.

    It is also 0 for files that the kernel generates while they are read, some of which (/proc/kmsg)
    block: nothing of size 0 needs to be opened.

    Raises:
        DecodeError, OSError: as `read_file`.
    """
    with file_errors():
        status = os.stat(path)  # noqa: PTH116 (pathlib takes 5 times as long)
    if not stat.S_ISREG(status.st_mode):
        raise DecodeError("is no regular file")
    if status.st_size > MAX_FILE_BYTES:
        raise DecodeError(f"{status.st_size:,} bytes, more than any image that is read")
    return status.st_size


@contextlib.contextmanager
def file_errors() -> Iterator[None]:
    """Errors of the system as `DecodeError`, except those that are the process's own trouble."""
    try:
        yield
    except OSError as error:
        if error.errno in _PROCESS_ERRORS:
            raise
        raise DecodeError(f"cannot be read ({error.strerror or error})") from error
