"""Loads `model.joblib` and predicts image files; copied beside it as `classifier.py`.

    import classifier

    model = classifier.load("model.joblib")
    for found in model.predict(["a.jpeg", "b.png"]):
        print(found["path"], found["predicted"], found["probability"])

Needs joblib, Keras with TensorFlow, NumPy and Pillow, and nothing else. A joblib file is a pickle: load only one
that you made yourself or whose maker you trust. Research software; not for diagnosis.
"""

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

PathLike = str | os.PathLike[str]
_MARGIN = (
    1.25  # JPEG are scaled down while they are decoded, to so many times their final size or more
)


class Classifier:
    """A model with its classes and its threshold.

    Args:
        metadata: what `metadata.json` holds.
        model: from uint8[B, H, W, C] to calibrated probabilities, float32[B, K].
    """

    def __init__(self, metadata: dict[str, Any], model: Any) -> None:
        self.metadata, self.model = metadata, model
        self.class_names: list[str] = metadata["class_names"]
        self.threshold: float | None = metadata["threshold"]
        self.calibration: dict[str, Any] | None = metadata["calibration"]

    def predict_proba(self, images: np.ndarray, *, batch_size: int = 32) -> np.ndarray:
        """float32[N, K]: calibrated probabilities of uint8[N, H, W, C] images, a column for each class."""
        expected = (*self.metadata["image_format"]["image_size"], self._channels)
        if images.shape[1:] != expected or images.dtype != np.uint8:
            raise ValueError(
                f"got {images.dtype} images of shape {images.shape[1:]}, expected uint8 {expected}"
            )
        return np.asarray(self.model.predict(images, batch_size=batch_size, verbose=0))

    def predict(self, paths: "PathLike | Iterable[PathLike]") -> list[dict[str, Any]]:
        """What is predicted for image files, in their order.

        Args:
            paths: one file or several.

        Returns:
            For each `path`, `predicted` (the class), `probability` (of the second class of two, the
            largest of more) and `probabilities` by class.

        Raises:
            OSError, ValueError: a file cannot be read as an image.
        """
        several = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
        if not several:
            return []
        probabilities = self.predict_proba(np.stack([self.decode(path) for path in several]))
        return [
            self._described(path, row) for path, row in zip(several, probabilities, strict=True)
        ]

    def decode(self, path: "PathLike") -> np.ndarray:
        """An image file as the model takes it, uint8[H, W, C]: upright, resized, padded.

        Raises:
            OSError, ValueError: it cannot be read as an image.
        """
        with Image.open(path) as image:
            orientation = image.getexif().get(0x0112, 1)
            if image.format == "JPEG" and image.mode in ("L", "RGB"):
                self._draft(image, sideways=orientation in (5, 6, 7, 8))
            grey_or_colour = self._eight_bit(ImageOps.exif_transpose(image))
        return self._fitted(grey_or_colour)

    @property
    def _channels(self) -> int:
        return int(self.metadata["image_format"]["channels"])

    def _described(self, path: Any, row: np.ndarray) -> dict[str, Any]:
        if self.threshold is None or len(row) > 2:
            place, probability = int(row.argmax()), float(row.max())
        else:
            place, probability = int(row[1] >= self.threshold), float(row[1])
        return {
            "path": Path(path),
            "predicted": self.class_names[place],
            "probability": probability,
            "probabilities": dict(zip(self.class_names, map(float, row), strict=True)),
        }

    def _draft(self, image: Any, *, sideways: bool) -> None:
        """Has a large JPEG decoded at 1/2, 1/4 or 1/8 of its size."""
        stored = image.size
        target = self._inner_size(stored[::-1] if sideways else stored)
        target = target[::-1] if sideways else target
        fitting = [
            factor
            for factor in (8, 4, 2)
            if all(side >= _MARGIN * factor * to for side, to in zip(stored, target, strict=True))
        ]
        size = tuple(side // factor for factor in fitting[:1] for side in stored)
        image.draft("L" if self._channels == 1 else None, size or None)

    def _eight_bit(self, image: Any) -> Any:
        """Any mode to `L` or `RGB`; 16-bit grey scaled by the range of the training images."""
        if image.mode.startswith("I;16"):
            top = 2 ** self.metadata["image_format"]["bits"] - 1
            values = np.minimum(np.asarray(image).astype(np.int64), top)
            image = Image.fromarray(((255 * values + top // 2) // top).astype(np.uint8))
        elif image.mode in ("I", "F"):
            raise ValueError(f"{image.format} pixels of 32 bits; save the image with 8 or 16 bits")
        elif image.has_transparency_data:
            black = Image.new("RGBA", image.size, (0, 0, 0, 255))
            image = Image.alpha_composite(black, image.convert("RGBA"))
        if self._channels == 1:
            return image.convert("L")
        return image if image.mode in ("L", "RGB") else image.convert("RGB")

    def _fitted(self, image: Any) -> np.ndarray:
        width, height = self._inner_size(image.size)
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(image.convert("L" if self._channels == 1 else "RGB"))
        pixels = pixels.reshape(height, width, self._channels)
        rows, columns = self.metadata["image_format"]["image_size"]
        canvas = np.zeros((rows, columns, self._channels), np.uint8)
        top, left = (rows - height) // 2, (columns - width) // 2
        canvas[top : top + height, left : left + width] = pixels
        return canvas

    def _inner_size(self, size: Sequence[int]) -> tuple[int, int]:
        """(width, height) that an image of this width and height takes inside the model's input."""
        rows, columns = self.metadata["image_format"]["image_size"]
        if not self.metadata["image_format"]["keep_aspect_ratio"]:
            return columns, rows
        scale = min(rows / size[1], columns / size[0])
        return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def load(path: "PathLike") -> Classifier:
    """The classifier in a joblib file, which must come from somebody you trust."""
    import joblib
    import keras

    content = joblib.load(path)
    with tempfile.TemporaryDirectory() as place:
        file = Path(place, "model.keras")
        file.write_bytes(content["model.keras"])
        return Classifier(content["metadata"], keras.models.load_model(file, compile=False))
