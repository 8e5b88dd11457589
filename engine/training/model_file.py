"""The model file of a run, written completely or not at all."""

from pathlib import Path

import keras

from engine.base import files


def save_model(model: keras.Model, path: Path) -> None:
    """Writes a `.keras` file, completely or not at all."""
    with files.written_aside(path) as aside:
        model.save(aside)
