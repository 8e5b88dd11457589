"""Folders of files that stand for images, for tests that do not decode them."""

from pathlib import Path


def make(root: Path, *paths: str, content: bytes | None = None) -> Path:
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(path.encode() if content is None else content)
    return root
