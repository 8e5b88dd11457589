"""A run as an ONNX model in float32.

    image uint8[B, H, W, C] -> probabilities float32[B, K]

Its `metadata_props` hold what `metadata.json` holds, as JSON under the key `metadata`.
"""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from engine.base import command_line
from engine.images.format import ImageFormat
from engine.inference.export.calibrated_model import IMAGE, PROBABILITIES

NAME = "model.onnx"
OPSET = 17  # of 2022: ONNX Runtime 1.12 and later


def described(image_format: ImageFormat, num_classes: int) -> dict[str, Any]:
    """`inputs` and `outputs` of `metadata.json`."""
    return {
        "inputs": {IMAGE: ["uint8", [-1, *image_format.image_shape]]},
        "outputs": {PROBABILITIES: ["float32", [-1, num_classes]]},
    }


def write(model: Any, directory: Path, *, metadata: dict[str, Any]) -> None:
    """Writes `model.onnx` into a directory. Args: model: see `calibrated_model`."""
    import onnx
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    signature = [tf.TensorSpec([None, *model.input_shape[1:]], tf.uint8, name=IMAGE)]
    function = tf.function(
        lambda image: {PROBABILITIES: model(image, training=False)}, input_signature=signature
    )
    with command_line.quiet_imports():
        converted, _ = tf2onnx.convert.from_function(
            function, input_signature=signature, opset=OPSET
        )
    properties = {"metadata": json.dumps(metadata, ensure_ascii=False)}
    onnx.helper.set_model_props(converted, properties)
    onnx.checker.check_model(converted)
    onnx.save(converted, str(directory / NAME))


def run(directory: Path, images: np.ndarray, *, batch_size: int) -> np.ndarray:
    """float32[N, K]: what the model gives for uint8[N, H, W, C]."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(directory / NAME), providers=["CPUExecutionProvider"]
    )
    starts = range(0, len(images), batch_size)
    parts = [session.run([PROBABILITIES], {IMAGE: images[at : at + batch_size]}) for at in starts]
    return np.concatenate([part[0] for part in parts])
