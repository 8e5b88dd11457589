"""Requests that TensorFlow Serving sends to a model as it loads it, so that the first user need not wait.

`assets.extra/tf_serving_warmup_requests` is a TFRecord file of `PredictionLog` messages
(https://www.tensorflow.org/tfx/serving/saved_model_warmup). The package with their definitions,
tensorflow-serving-api, exists for one version of TensorFlow at a time; the few fields that are needed are
encoded here, in the wire format of protocol buffers.

    PredictionLog.predict_log = 6   PredictLog.request = 1   PredictRequest.model_spec = 1, .inputs = 2 (a map)
    ModelSpec.signature_name = 3    map entry: key = 1, value = 2

The images are made by a formula: no patient's image goes along with a model.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from engine.base.wire_format import field
from engine.images import decoding
from engine.images.format import ImageFormat
from engine.inference.export import checked_images

PLACE = Path("assets.extra", "tf_serving_warmup_requests")
_BATCH_SIZES = (1, 8)


def write(directory: Path, image_format: ImageFormat, inputs: Mapping[str, str]) -> None:
    """Writes the requests into the directory of a SavedModel.

    Args:
        inputs: the name of the one input of each signature: of strings that name ends in `_bytes`.
    """
    path = directory / PLACE
    path.parent.mkdir(parents=True, exist_ok=True)
    images = checked_images.generated(image_format, seed=0, count=max(_BATCH_SIZES))
    files = np.array([decoding.encode(image, "jpeg") for image in images], object)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, name in inputs.items():
            values = files if name.endswith("_bytes") else images
            for batch_size in _BATCH_SIZES:
                tensor = tf.make_tensor_proto(values[:batch_size])
                writer.write(prediction_log(signature, {name: tensor}))


def prediction_log(signature: str, inputs: Mapping[str, Any]) -> bytes:
    """An encoded `PredictionLog` of a request.

    Args:
        inputs: `TensorProto` by name.
    """
    model_spec = field(3, signature.encode())
    entries = [
        field(2, field(1, name.encode()) + field(2, tensor.SerializeToString()))
        for name, tensor in inputs.items()
    ]
    request = field(1, model_spec) + b"".join(entries)
    return field(6, field(1, request))
