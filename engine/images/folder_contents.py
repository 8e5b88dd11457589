"""What the files of an image folder contain: which are copies, empty, of more than 8 bits, or DICOM.

Every file is read once. None is decoded: files that are no images are detected later.
"""

import contextlib
import dataclasses
import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import google_crc32c

from engine.images import bit_depth, source_file
from engine.images.dicom import recognition
from engine.images.image_folder import ImageFolder


@dataclasses.dataclass(frozen=True)
class Contents:
    """What distinguishes the files of a folder.

    Attributes:
        keys: by path; equal for files of equal contents alone ('' where empty or unreadable).
        empty: the paths of those that are empty or unreadable.
        fingerprint: a SHA-256 (hex) over all paths, sizes and CRC-32C.
        deep: the paths of those that may have more than 8 bits per pixel, in order.
        dicom: the paths of those that are DICOM, in order.
    """

    keys: dict[str, str]
    empty: frozenset[str]
    fingerprint: str
    deep: tuple[str, ...] = ()
    dicom: tuple[str, ...] = ()


def hash_contents(folder: ImageFolder, *, workers: int) -> Contents:
    """Reads every file once, `workers` at a time; those that may be copies of one another, twice.

    Size and CRC-32C, which cost a twentieth of a SHA-256, tell files apart; where two agree in both,
    their SHA-256 decide.
    """
    paths = [example.path for example in folder.examples]
    root = str(folder.root)
    with ThreadPoolExecutor(workers) as pool:
        # By the batch: a task for each file costs as much as reading a small one.
        batches = [paths[start : start + 64] for start in range(0, len(paths), 64)]
        read = pool.map(lambda batch: [_look_at(f"{root}/{path}") for path in batch], batches)
        looks = dict(zip(paths, (look for batch in read for look in batch), strict=True))
        checksums = {path: look.checksum for path, look in looks.items()}
        counts = Counter(checksums.values())
        alike = [path for path in paths if checksums[path] and counts[checksums[path]] > 1]
        hashes = dict(
            zip(alike, pool.map(lambda path: _sha256(f"{root}/{path}"), alike), strict=True)
        )
    overall = hashlib.sha256()
    for path in paths:
        overall.update(os.fsencode(path) + b"\0" + checksums[path].encode() + b"\n")
    return Contents(
        keys={path: hashes.get(path, checksum) for path, checksum in checksums.items()},
        empty=frozenset(path for path, checksum in checksums.items() if not checksum),
        fingerprint=overall.hexdigest(),
        deep=tuple(path for path, look in looks.items() if look.deep),
        dicom=tuple(path for path, look in looks.items() if look.dicom),
    )


class _Look(NamedTuple):
    """Size and CRC-32C of a file, '' if it is empty, cannot be read, or is no regular file; and whether
    it may have more than 8 bits per pixel, or is DICOM."""

    checksum: str
    deep: bool
    dicom: bool


def _look_at(path: str) -> _Look:
    crc, size, deep, dicom = 0, 0, False, False
    for block in _blocks(path):
        if not size:
            deep = bit_depth.may_be_deep(block[:26])
            dicom = recognition.is_dicom(block[: recognition.START_BYTES])
        crc = google_crc32c.extend(crc, block)
        size += len(block)
    return _Look(f"{size}-{crc:08x}" if size else "", deep, dicom)


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    for block in _blocks(path):
        digest.update(block)
    return digest.hexdigest()


def _blocks(path: str) -> Iterator[bytes]:
    """The contents of a file that may be read; nothing of others, and from where it cannot be read on."""
    with contextlib.suppress(source_file.DecodeError), source_file.file_errors():
        if not source_file.file_size(path):
            return
        with open(path, "rb", buffering=0) as file:
            while block := file.read(1 << 20):
                yield block
