"""Small image folders with known contents, for tests of what is found out about them."""

import io
from pathlib import Path

import numpy as np
from PIL import Image


def smooth(seed: int, size: tuple[int, int] = (64, 48), level: float = 128) -> Image.Image:
    """A grey picture (width, height) of broad random waves, different for every seed."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.normal(level, 45, (12, 12)).clip(0, 255).astype(np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


def save(image: Image.Image, path: Path, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def reencoded(image: Image.Image, quality: int) -> Image.Image:
    """As a JPEG of that quality shows it."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue()))


def two_classes(root: Path, *, splits: tuple[str, ...] = ("train", "test"), each: int = 8) -> Path:
    """`each` images of either class in each split; those of `b` are wider and lighter than those of `a`."""
    seed = 0
    for split in splits:
        for name, width, level in (("a", 48, 110), ("b", 96, 150)):
            for number in range(each):
                seed += 1
                size = (width + number, 40)
                file = root / split / name / f"person{seed}_virus_{number}.png"
                save(smooth(seed, size, level), file)
    return root
