"""The requests that warm TensorFlow Serving up are what its own definitions write."""

import numpy as np
import pytest
import tensorflow as tf

from engine.images.format import ImageFormat
from engine.inference.export import serving_warmup

FORMAT = ImageFormat(image_size=(12, 16), channels=1)


def test_a_small_request_has_the_bytes_that_the_definitions_give():
    tensor = tf.make_tensor_proto([b"x"])
    content = tensor.SerializeToString()
    entry = b"\x0a\x01a\x12" + bytes([len(content)]) + content
    spec = b"\x1a\x03sig"
    request = b"\x0a" + bytes([len(spec)]) + spec + b"\x12" + bytes([len(entry)]) + entry
    log = b"\x0a" + bytes([len(request)]) + request
    assert serving_warmup.prediction_log("sig", {"a": tensor}) == b"2" + bytes([len(log)]) + log


def test_every_request_is_read_by_the_package_of_tensorflow_serving(tmp_path):
    messages = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    serving_warmup.write(tmp_path, FORMAT, {"serving_default": "image_bytes", "images": "image"})
    shapes = []
    for record in tf.data.TFRecordDataset(str(tmp_path / serving_warmup.PLACE)).as_numpy_iterator():
        log = messages.PredictionLog.FromString(record)
        assert log.SerializeToString(deterministic=True) == record
        request = log.predict_log.request
        ((name, tensor),) = request.inputs.items()
        shapes.append((request.model_spec.signature_name, name, tf.make_ndarray(tensor).shape))
    assert shapes == [
        ("serving_default", "image_bytes", (1,)),
        ("serving_default", "image_bytes", (8,)),
        ("images", "image", (1, 12, 16, 1)),
        ("images", "image", (8, 12, 16, 1)),
    ]


def test_lengths_above_127_take_several_bytes():
    tensor = tf.make_tensor_proto(np.zeros(1000, np.uint8))
    assert len(serving_warmup.prediction_log("s", {"x": tensor})) > 1000
