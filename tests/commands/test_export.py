"""`engine.export` writes each format whole, checked, and usable where this project is not."""

import base64
import json
import os
import shutil
import subprocess
import sys
import zipfile

import fake_run
import grey_files
import numpy as np
import pytest
from PIL import Image
from refused_imports import PROJECT, without

import engine
from engine import export
from engine.base.config import UserError
from engine.inference.export import joblib_classifier, metadata, verification
from engine.metrics.temperature import Calibration

LEVELS = (30, 220, 100, 200, 60, 160)
EVEN = Calibration(1.5, (0.5, 0.5))
IMAGES = fake_run.grey_images(LEVELS)
# Uses every export as its documentation says, where this project cannot be imported.
PROGRAM = """
import json, pathlib, sys
import numpy as np
exports, images = pathlib.Path(sys.argv[1]), np.load(sys.argv[2])
found = {}
from ai_edge_litert.interpreter import Interpreter
assert "tensorflow" not in sys.modules
for name in ("litert", "litert-int8"):
    interpreter = Interpreter(model_path=str(exports / name / "model.tflite"))
    classify = interpreter.get_signature_runner()
    rows = [classify(image=image[None])["probabilities"][0] for image in images]
    found[name] = np.array(rows).tolist()
import onnxruntime
session = onnxruntime.InferenceSession(str(exports / "onnx" / "model.onnx"))
assert "tensorflow" not in sys.modules
found["onnx"] = session.run(["probabilities"], {"image": images})[0].tolist()
found["onnx one"] = session.run(["probabilities"], {"image": images[:1]})[0].tolist()
found["onnx metadata"] = session.get_modelmeta().custom_metadata_map["metadata"]
import tensorflow as tf
model = tf.saved_model.load(str(exports / "saved_model/two/1"))
found["saved_model"] = model.signatures["images"](tf.constant(images))["probabilities"].numpy().tolist()
sys.path.insert(0, str(exports / "joblib"))
import classifier
found["joblib"] = classifier.load(exports / "joblib/model.joblib").predict_proba(images).tolist()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    levels = list(range(10, 250, 8))
    images = fake_run.grey_images(levels, seed=1)
    labels = [int(level > 127) for level in levels]
    directory = tmp_path_factory.mktemp("shards")
    patients = [str(place) for place in range(len(images))]
    return fake_run.make_shards(directory, images, labels, patients, split="validation")


@pytest.fixture(scope="module")
def run(tmp_path_factory, shards):
    directory = tmp_path_factory.mktemp("runs") / "two"
    return fake_run.make_run(directory, threshold=0.4, calibration=EVEN, shards=str(shards))


@pytest.fixture(scope="module")
def exports(run):
    """The directory of a run's exports, one of each format."""
    for format_name in ("saved_model", "litert", "onnx", "joblib"):
        assert export.main([str(run), "--format", format_name]) == 0
    assert export.main([str(run), "--format", "litert", "--quantize", "int8"]) == 0
    return run / "exports"


@pytest.fixture(scope="module")
def expected(run):
    return verification.both_columns(engine.load(run).predict(IMAGES))


def read(path):
    return json.loads((path / metadata.NAME).read_text(encoding="utf-8"))


@pytest.mark.slow
def test_each_is_used_without_the_project(exports, expected, tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    done = subprocess.run(
        [sys.executable, "-c", without(PROJECT, PROGRAM), exports, tmp_path / "images.npy"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for name in ("saved_model", "litert", "onnx", "joblib"):
        np.testing.assert_allclose(found[name], expected, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(found["onnx one"], expected[:1], atol=1e-5)
    np.testing.assert_allclose(found["litert-int8"], expected, atol=0.05)
    assert json.loads(found["onnx metadata"])["threshold"] == 0.4


@pytest.mark.slow
def test_metadata_says_what_belongs_to_the_model(exports, run):
    for path in ("litert", "onnx", "joblib", "saved_model/two/1/assets.extra"):
        found = read(exports / path)
        assert found["class_names"] == ["NORMAL", "PNEUMONIA"]
        assert found["positive_class"] == "PNEUMONIA"
        assert found["threshold"] == 0.4 and found["threshold_rule"] == "youden"
        assert found["calibration"] == {"temperature": 1.5, "prior": [0.5, 0.5]}
        assert found["image_format"]["image_size"] == [12, 16]
        checked = found["verification"]
        assert checked["num_images"] == 30 and "split validation" in checked["images"]
        assert 0 <= checked["largest_difference"] < 1e-5
        assert checked["auroc"] == checked["auroc_exported"] == 1
    assert read(exports / "litert-int8")["quantize"] == "int8"
    with zipfile.ZipFile(exports / "litert/model.tflite") as attached:
        assert attached.read("labels.txt") == b"NORMAL\nPNEUMONIA\n"
        assert json.loads(attached.read("metadata.json"))["threshold"] == 0.4


@pytest.mark.slow
def test_the_requests_of_tensorflow_serving_are_answered(exports, run, tmp_path):
    """As its server does it: `b64` is decoded, and each instance gets a row of every output."""
    import tensorflow as tf

    model = tf.saved_model.load(str(exports / "saved_model/two/1"))
    predict = model.signatures["serving_default"]
    paths = grey_files.write_all(tmp_path, LEVELS, (40, 30))
    contents = [path.read_bytes() for path in paths] + [b"no image"]
    body = {"instances": [{"b64": base64.b64encode(data).decode()} for data in contents]}
    decoded = [
        base64.b64decode(instance["b64"]) for instance in json.loads(json.dumps(body))["instances"]
    ]
    outputs = {
        name: value.numpy().tolist() for name, value in predict(tf.constant(decoded)).items()
    }
    rows = [
        dict(zip(outputs, values, strict=True)) for values in zip(*outputs.values(), strict=True)
    ]
    for row, wanted in zip(rows, engine.predict(run, paths), strict=False):
        assert row["valid"] and row["labels"].decode() == wanted.predicted
        assert row["scores"] == pytest.approx(wanted.probability, abs=1e-5)
        assert row["probabilities"] == pytest.approx(list(wanted.probabilities.values()), abs=1e-5)
    assert rows[-1] == {"valid": False, "labels": b"", "scores": 0, "probabilities": [0, 0]}
    assert predict.structured_input_signature[1].keys() == {"image_bytes"}


@pytest.mark.slow
def test_a_session_as_in_the_server_loads_it_by_its_tensors(exports):
    import tensorflow as tf

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.load(
            session, ["serve"], str(exports / "saved_model/two/1")
        )
        signature = loaded.signature_def["serving_default"]
        fetched = {name: info.name for name, info in signature.outputs.items()}
        feed = {signature.inputs["image_bytes"].name: [b"", b"text"]}
        found = session.run(fetched, feed)
    assert found["probabilities"].shape == (2, 2) and not found["valid"].any()


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 31, 32, 1), (1, 64, 64, 1), (1, 32, 32, 3)])
def test_pixels_of_another_size_are_refused(exports, shape):
    """Most networks would take them, and answer for images that they were not trained on."""
    import onnxruntime
    import tensorflow as tf

    assert shape[1:] != IMAGES.shape[1:]
    pixels = np.zeros(shape, np.uint8)
    loaded = tf.saved_model.load(str(exports / "saved_model/two/1"))
    with pytest.raises(tf.errors.InvalidArgumentError):
        loaded.signatures["images"](tf.constant(pixels))
    session = onnxruntime.InferenceSession(str(exports / "onnx/model.onnx"))
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument):
        session.run(None, {"image": pixels})
    classifier = joblib_classifier.load(exports / "joblib/model.joblib")
    with pytest.raises(ValueError, match="expected uint8"):
        classifier.predict_proba(pixels)


@pytest.mark.slow
def test_the_copied_classifier_reads_files_as_the_engine_does(exports, run, tmp_path):
    model = joblib_classifier.load(exports / "joblib/model.joblib")
    path = tmp_path / "large.jpeg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)).save(path)
    deep = tmp_path / "deep.png"
    Image.fromarray(np.full((40, 30), 30000, np.uint16)).save(deep)
    for found, wanted in zip(
        model.predict([path, deep]), engine.predict(run, [path, deep]), strict=True
    ):
        assert found["predicted"] == wanted.predicted
        assert found["probability"] == pytest.approx(wanted.probability, abs=1e-5)
    assert model.predict(path)[0]["path"] == path
    assert model.predict([]) == []
    with pytest.raises(ValueError, match="expected uint8"):
        model.predict_proba(IMAGES[:, :5])
    source = (exports / "joblib/classifier.py").read_text(encoding="utf-8")
    assert "engine" not in source.replace("TensorFlow", "")


@pytest.mark.slow
def test_pickles_are_warned_of_in_words_and_in_the_file(run, exports, tmp_path, capsys):
    import joblib

    assert export.main([str(run), "--format", "joblib", "--output", str(tmp_path / "new")]) == 0
    assert "pickles" in capsys.readouterr().out
    assert "pickles" in joblib.load(tmp_path / "new/model.joblib")["warning"]


@pytest.mark.slow
def test_an_earlier_export_is_replaced_only_if_asked(run, exports, capsys):
    before = (exports / "joblib/metadata.json").read_bytes()
    assert export.main([str(run), "--format", "joblib"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    arguments = [str(run), "--format", "joblib", "--overwrite", "--prevalence", "0.2"]
    try:
        assert export.main(arguments) == 0
        assert read(exports / "joblib")["prevalence"] == [0.8, 0.2]
        assert read(exports / "joblib")["threshold"] < 0.4
        assert sorted(path.name for path in exports.iterdir()) == [
            "joblib",
            "litert",
            "litert-int8",
            "onnx",
            "saved_model",
        ]
    finally:
        shutil.rmtree(exports / "joblib")
        assert export.main([str(run), "--format", "joblib"]) == 0
    assert json.loads(before)["threshold"] == 0.4


def test_an_export_that_disagrees_is_removed(run, tmp_path, monkeypatch, capsys):
    from engine.inference.export import joblib

    monkeypatch.setattr(joblib, "run", lambda place, images, **_: np.full((len(images), 2), 0.5))
    assert export.main([str(run), "--format", "joblib", "--output", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "differs from the run by" in said and "Traceback" not in said
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_files_of_a_folder_are_checked_too(run, tmp_path, capsys):
    for place, level in enumerate(LEVELS):
        suffix = ("png", "jpeg", "tiff")[place % 3]
        grey_files.write(tmp_path / f"{place}.{suffix}", level, (40, 30))
    found = engine.export(run, tmp_path / "out", images=tmp_path, name="chest", version=7)
    assert found.path == tmp_path / "out" / "chest" / "7"
    assert found.verification.num_files_not_valid == 2  # TIFF
    assert found.verification.largest_file_difference < 1e-5
    assert found.verification.auroc is None


def test_a_missing_package_is_named_with_its_command(run, monkeypatch):
    from engine.inference.export import exporting

    monkeypatch.setitem(exporting._PACKAGES, "onnx", {"absent_package": "tf2onnx"})
    with pytest.raises(
        UserError, match=r"needs tf2onnx; install with: pip install -e '\.\[export\]'"
    ):
        engine.export(run, format="onnx")
