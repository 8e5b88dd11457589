"""A run as a LiteRT (TensorFlow Lite) model, in float32 or in int8.

    image uint8[1, H, W, C] -> probabilities float32[1, K]

One image at a time, as devices take them. The file ends in a ZIP archive with `metadata.json` and `labels.txt`:
the interpreter takes no notice of it, and any unzip reads it (the convention of TensorFlow Lite for files that
belong to a model).
"""

import json
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from engine.base import command_line
from engine.images.format import ImageFormat
from engine.inference.export.calibrated_model import IMAGE, PROBABILITIES
from engine.inference.export.metadata import NAME as METADATA
from engine.networks import pooling

NAME = "model.tflite"


def described(image_format: ImageFormat, num_classes: int) -> dict[str, Any]:
    """`inputs` and `outputs` of `metadata.json`."""
    return {
        "inputs": {IMAGE: ["uint8", [1, *image_format.image_shape]]},
        "outputs": {PROBABILITIES: ["float32", [1, num_classes]]},
    }


def write(
    model: Any,
    directory: Path,
    *,
    metadata: dict[str, Any],
    representative: np.ndarray | None = None,
) -> None:
    """Writes `model.tflite` into a directory.

    Args:
        model: see `calibrated_model`.
        representative: uint8[N, H, W, C], from which the ranges of an int8 model are taken; None for one in
            float32.
    """
    shape = (1, *model.input_shape[1:])
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serving_default",
        lambda image: {PROBABILITIES: model(image, training=False)},
        input_signature=[tf.TensorSpec(shape, tf.uint8, name=IMAGE)],
    )
    with tempfile.TemporaryDirectory() as place, command_line.quiet_imports():
        archive.write_out(place, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(place)
        content = (
            converter.convert()
            if representative is None
            else _int8(converter, model, representative)
        )
    path = directory / NAME
    path.write_bytes(content)
    with zipfile.ZipFile(path, "a") as attached:
        attached.writestr(METADATA, json.dumps(metadata, indent=2, ensure_ascii=False))
        attached.writestr("labels.txt", "\n".join(metadata["class_names"]) + "\n")


def run(directory: Path, images: np.ndarray) -> np.ndarray:
    """float32[N, K]: what the model gives for uint8[N, H, W, C], one at a time."""
    from ai_edge_litert.interpreter import Interpreter

    with command_line.quiet_imports():
        interpreter = Interpreter(model_path=str(directory / NAME))
        classify = interpreter.get_signature_runner()
        return np.concatenate([classify(**{IMAGE: image[None]})[PROBABILITIES] for image in images])


def _int8(converter: Any, model: Any, representative: np.ndarray) -> bytes:
    """An int8 model whose convolutions compute in whole numbers; what `_in_float` names stays in float32."""
    converter.optimizations = [tf.lite.Optimize.DEFAULT]

    def examples() -> Iterator[Sequence[np.ndarray]]:
        for image in representative:
            yield [image[None]]

    converter.representative_dataset = examples
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter,
        debug_dataset=examples,
        debug_options=tf.lite.experimental.QuantizationDebugOptions(
            denylisted_ops=_in_float(model)
        ),
    )
    return bytes(debugger.get_nondebug_quantized_model())


def _in_float(model: Any) -> list[str]:
    """The operations that 8 bits would harm, and that hardly take space or time.

    An image standardized by its own deviation, and the deviations of feature maps, are differences of large
    numbers and their squares; a softmax of 8 bits gives no probability below 1/256, and so many ties. With
    them in float32 a default network trained on chest X-rays had the same size, its probabilities of 200
    images differed by 0.13 at most and 0.007 on average (all in 8 bits: 0.76 and 0.07), and no two were tied
    (all in 8 bits: 56 different values).
    """
    names = ["SOFTMAX", "MEAN", "SQUARED_DIFFERENCE", "SQRT", "RSQRT", "SUB", "DIV"]
    layers = list(model._flatten_layers())
    if sum(isinstance(layer, keras.layers.Dense) for layer in layers) == 1:
        names.append("FULLY_CONNECTED")  # the head's, small; hidden ones are large
    if any(layer.name == pooling.STATISTICS for layer in layers):
        names.append("CONCATENATION")  # of means with deviations
    return names
