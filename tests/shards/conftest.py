"""A folder of small images of all kinds, and the shards built of it undisturbed."""

from pathlib import Path

import pytest
from tiny_builds import build, save


@pytest.fixture(scope="session")
def source(tmp_path_factory) -> Path:
    """30 patients per class, two images each, in formats of all kinds, and one bad file per class."""
    root = tmp_path_factory.mktemp("source") / "images"
    for index in range(60):
        kind = ("JPEG", "PNG", "BMP")[index % 3]
        save(root / "NORMAL" / f"IM-{index // 2:04d}-{index}.jpeg", index, kind)
        save(root / "PNEUMONIA" / f"person{index // 2}_virus_{index}.jpeg", 1000 + index)
    (root / "NORMAL" / "IM-9000-1.jpeg").write_text("not an image, whatever the name says")
    whole = (root / "PNEUMONIA" / "person0_virus_0.jpeg").read_bytes()
    (root / "PNEUMONIA" / "person9000_virus_1.jpeg").write_bytes(whole[: len(whole) // 2])
    return root


@pytest.fixture(scope="session")
def undisturbed(source, tmp_path_factory) -> Path:
    """The finished shards of `source`. Read only."""
    directory = tmp_path_factory.mktemp("undisturbed") / "shards"
    build(source, directory)
    return directory
