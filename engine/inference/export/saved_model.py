"""A run as a SavedModel that takes image files: decoded, turned upright, resized and classified in the graph.

    serving_default  image_bytes string[B]            -> probabilities, labels, scores, valid
    images           image       uint8[B, H, W, C]    -> probabilities, labels, scores

It lies as TensorFlow Serving expects models, `NAME/VERSION/saved_model.pb`, with requests that warm it up.
See `encoded_images` for the files that it decodes, and for what a damaged one does.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from engine.base import command_line
from engine.images import decoding
from engine.images.format import ImageFormat
from engine.inference.export import encoded_images, serving_warmup
from engine.inference.export.calibrated_model import IMAGE, PROBABILITIES

IMAGE_BYTES = "image_bytes"
FILES, ARRAYS = "serving_default", "images"  # signatures
_LABELS, _SCORES, _VALID = "labels", "scores", "valid"


def described(image_format: ImageFormat, num_classes: int) -> dict[str, Any]:
    """`inputs` and `outputs` of `metadata.json`, those of `serving_default`."""
    return {
        "inputs": {IMAGE_BYTES: ["string", [-1]]},
        "outputs": {
            PROBABILITIES: ["float32", [-1, num_classes]],
            _LABELS: ["string", [-1]],
            _SCORES: ["float32", [-1]],
            _VALID: ["bool", [-1]],
        },
    }


def write(
    model: Any,
    directory: Path,
    *,
    image_format: ImageFormat,
    class_names: Sequence[str],
    threshold: float | None,
    max_pixels: int | None = None,
) -> None:
    """Writes the SavedModel into a directory, with requests that warm up both signatures.

    Args:
        model: see `calibrated_model`.
        threshold: the least probability of the second class of two that is called so; None with more.
        max_pixels: larger files are not valid; None for the decoder's own bound.
    """
    most = decoding.DEFAULT_MAX_PIXELS if max_pixels is None else max_pixels

    def of_arrays(image: Any) -> dict[str, Any]:
        # A signature's shape binds no caller, and most networks take images of any size.
        image = tf.ensure_shape(image, [None, *image_format.image_shape])
        return _decided(model(image, training=False), class_names, threshold)

    def of_files(image_bytes: Any) -> dict[str, Any]:
        images, valid = encoded_images.decode_batch(image_bytes, image_format, max_pixels=most)
        found = of_arrays(images)
        blank = {name: tf.zeros_like(value) for name, value in found.items()}
        kept = {
            name: tf.where(valid[:, None] if value.shape.rank == 2 else valid, value, blank[name])
            for name, value in found.items()
        }
        return {**kept, _VALID: valid}

    archive = keras.export.ExportArchive()
    archive.track(model)
    text = tf.TensorSpec([None], tf.string, name=IMAGE_BYTES)
    archive.add_endpoint(FILES, of_files, input_signature=[text])
    pixels = tf.TensorSpec([None, *image_format.image_shape], tf.uint8, name=IMAGE)
    archive.add_endpoint(ARRAYS, of_arrays, input_signature=[pixels])
    with command_line.quiet_imports():
        archive.write_out(str(directory), verbose=False)
    serving_warmup.write(directory, image_format, {FILES: IMAGE_BYTES, ARRAYS: IMAGE})


def run(
    directory: Path, images: np.ndarray, files: Sequence[bytes], *, batch_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the SavedModel gives for uint8[N, H, W, C] and for M encoded files.

    Returns:
        float32[N, K], float32[M, K], and bool[M], which of the files are valid.
    """
    loaded = tf.saved_model.load(str(directory))

    def outputs(signature: str, values: Any) -> dict[str, np.ndarray]:
        starts = range(0, len(values), batch_size)
        classify = loaded.signatures[signature]
        parts = [classify(tf.constant(values[at : at + batch_size])) for at in starts]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    of_files = outputs(FILES, files)
    of_arrays = outputs(ARRAYS, images)
    return of_arrays[PROBABILITIES], of_files[PROBABILITIES], of_files[_VALID]


def _decided(
    probabilities: Any, class_names: Sequence[str], threshold: float | None
) -> dict[str, Any]:
    """The outputs for probabilities, float32[B, K].

    `scores` is the probability of the second class of two, or the largest of more, as `engine.predict`
    prints it.
    """
    if threshold is None:
        label, scores = tf.argmax(probabilities, axis=1), tf.reduce_max(probabilities, axis=1)
    else:
        scores = probabilities[:, 1]
        label = tf.cast(tf.cast(scores, tf.float64) >= threshold, tf.int64)
    return {
        PROBABILITIES: probabilities,
        _LABELS: tf.gather(tf.constant(list(class_names)), label),
        _SCORES: scores,
    }
