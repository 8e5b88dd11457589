"""A run as a joblib file: a dictionary of stock objects, with a module beside it that uses it.

    warning      why a file from others is not to be loaded
    metadata     as in `metadata.json`
    model.keras  the bytes of a Keras file, which gives calibrated probabilities

joblib stores classes by their names, so an object with a method `predict` would need this project where it is
loaded. `classifier.py` is copied beside it instead: it imports NumPy, Pillow, joblib and Keras, nothing else.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from engine.images.format import ImageFormat
from engine.inference.export import joblib_classifier
from engine.inference.export.calibrated_model import IMAGE, PROBABILITIES

NAME, LOADER = "model.joblib", "classifier.py"
WARNING = (
    "joblib files are pickles: loading one runs whatever code it holds. Load only files that you made "
    "yourself or whose maker you trust, and check their SHA-256; to hand a model on, prefer "
    "--format saved_model, litert or onnx, which hold no code"
)


def described(image_format: ImageFormat, num_classes: int) -> dict[str, Any]:
    """`inputs` and `outputs` of `metadata.json`, those of the Keras model."""
    return {
        "inputs": {IMAGE: ["uint8", [-1, *image_format.image_shape]]},
        "outputs": {PROBABILITIES: ["float32", [-1, num_classes]]},
    }


def write(model: Any, directory: Path, *, metadata: dict[str, Any]) -> None:
    """Writes `model.joblib` and `classifier.py` into a directory. Args: model: see `calibrated_model`."""
    import joblib

    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "model.keras")
        model.save(path)
        content = {"warning": WARNING, "metadata": metadata, "model.keras": path.read_bytes()}
    joblib.dump(content, directory / NAME)
    shutil.copyfile(joblib_classifier.__file__, directory / LOADER)


def run(directory: Path, images: np.ndarray, *, batch_size: int) -> np.ndarray:
    """float32[N, K]: what the model gives for uint8[N, H, W, C]."""
    return joblib_classifier.load(directory / NAME).predict_proba(images, batch_size=batch_size)
