"""Tiny images, and shards built of them."""

from pathlib import Path

import numpy as np
from PIL import Image

from engine.base.build_settings import BuildConfig
from engine.shards import builder

ROOT = Path(__file__).resolve().parents[2]
SIZE = (16, 20)
FLAGS = {
    "image_size": SIZE,
    "validation_fraction": 0.2,
    "test_fraction": 0.2,
    "shard_size_mb": 0.004,
    "workers": 1,
}


def save(path: Path, seed: int, kind: str = "JPEG", size: tuple[int, int] = (40, 32)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (4, 4), dtype=np.uint8)
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(path, kind)


def build(source: Path, directory: Path, **flags) -> builder.BuildResult:
    return builder.run(BuildConfig(**{**FLAGS, **flags}), source, directory)


def contents(directory: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in directory.iterdir()}
