"""A folder of a few small phantoms in the layout of Kaggle's set."""

from pathlib import Path

from engine.base.build_settings import PhantomConfig
from engine.phantoms.phantom_folder import make_phantoms


def make(directory: Path, *, train_images: int, max_size: int) -> Path:
    """Draws them, half of them sick, besides 8 for `val` and 24 to test; returns the directory."""
    config = PhantomConfig(
        train_images=train_images,
        val_images=8,
        test_images=24,
        pneumonia_share=0.5,
        min_size=64,
        max_size=max_size,
        workers=1,
    )
    make_phantoms(config, directory)
    return directory
