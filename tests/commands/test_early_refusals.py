"""What is wrong with paths, flags and settings is said before TensorFlow is imported, by every command."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from refused_imports import without

from engine.base import files
from engine.images.format import ImageFormat
from engine.runs import contract
from engine.runs.contract import InferenceContract
from engine.runs.run_directory import RunDirectory

ROOT = Path(__file__).resolve().parents[2]
# An import of these fails, which would be a traceback and status 1.
HEAVY = ("tensorflow", "keras", "keras_tuner", "tensorflow_datasets")
PROGRAM = """
import contextlib, importlib, io, json, sys
answers = []
for module, *words in json.load(sys.stdin):
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            status = importlib.import_module(module).main(words)
        except SystemExit as stop:
            status = stop.code
    answers.append([status, errors.getvalue()])
print(json.dumps(answers))
"""
# Command, and what its line must say. {shards}, {run}, ... are made below.
CASES = [
    ("engine.train {tmp}/absent --workdir {tmp}/new", "no such directory"),
    ("engine.train {other} --workdir {tmp}/new", "holds no manifest.json"),
    ("engine.train {shards}", "--workdir RUN is missing"),
    ("engine.train {shards} --workdir {run}", "already holds a run; continue with --resume"),
    ("engine.train {shards} --workdir {other}", "holds other files"),
    ("engine.train {shards} --workdir {other} --overwrite", "does not look like a run"),
    ("engine.train {shards} --workdir {file}", "is a file; expected a directory"),
    ("engine.train {shards} --workdir {run} --resume --overwrite", "give one of them"),
    ("engine.train {shards} --workdir {run} --resume --epochs 7", "cannot be extended"),
    ("engine.train {shards} --workdir {run} --resume --seed 7", "--seed was 0, now 7"),
    ("engine.train {shards} --workdir {run} --resume", "was started on other data"),
    ("engine.train {shards} --workdir {tmp}/new --epochs 0", "must be at least 1"),
    ("engine.train {shards} --workdir {tmp}/new --threshold lucky", "expected youden"),
    ("engine.train {shards} --workdir {tmp}/new --threshold 1.5", "expected a number between 0"),
    ("engine.train {shards} --workdir {tmp}/new --min-learning-rate 1e-6", "--schedule constant"),
    (
        "engine.train {shards} --workdir {tmp}/new --schedule constant --min-learning-rate 0.1",
        "must be at most --learning-rate (0.001)",
    ),
    ("engine.train {shards} --workdir {tmp}/new --init-from {tmp}/absent", "no such run or file"),
    ("engine.train {shards} --workdir {tmp}/new --init-from {other}", "holds no weights"),
    ("engine.train {shards} --workdir {tmp}/new --init-from {file}", "expected a run directory"),
    ("engine.train {shards} --workdir {run} --init-from {run}", "lies in --workdir itself"),
    ("engine.train {shards} --workdir {tmp}/new --global-batch-size 9999", "give at most"),
    ("engine.train {shards} --workdir {tmp}/new --config {tmp}/absent.json", "cannot be read"),
    ("engine.train {tmp}/absent --preview-augmentation {tmp}/x.png", "no such directory"),
    ("engine.train {shards} --workdir {tmp}/new --num-seeds 1", "expected 2 or more"),
    ("engine.train {shards} --workdir {run} --num-seeds 2", "holds a run of one seed"),
    ("engine.train {shards} --workdir {other} --num-seeds 2 --overwrite", "holds other files"),
    ("engine.train {shards} --workdir {tmp}/new --num-seeds 2 --diagnose", "leave out --num-seeds"),
    ("engine.launch -- {shards} --workdir {tmp}/new --num-seeds 2", "with several workers"),
    ("engine.train {shards} --workdir {tmp}/new --distill-from {tmp}/absent", "no such run"),
    ("engine.train {shards} --workdir {tmp}/new --distill-weight 2", "must be at most 1"),
    ("engine.launch -- {tmp}/absent --workdir {tmp}/new", "no such directory"),
    ("engine.launch -- {shards} --workdir {run}", "already holds a run"),
    ("engine.launch -- {shards} --workdir {tmp}/new --lr 1", "did you mean --learning-rate?"),
    ("engine.train {shards} --workdir {file}/run", "is a file; expected a directory"),
    ("engine.train {shards} --workdir {tmp}/new --ema 0", "did you mean --ema-momentum?"),
    ("engine.train {shards} --preview-augmentation {file}/x.png", "is a file"),
    ("engine.train {shards} --preview-augmentation {other}", "it is a directory"),
    ("engine.train {shards} --workdir {tmp}/new --init-from {tmp}/absent", "--init-from"),
    ("engine.train {shards} --workdir {tmp}/new --init-from {file}", "--init-from"),
    ("engine.train {shards} --workdir {tmp}/new --model {tmp}/absent.py:build", "--model"),
    ("engine.train {shards} --workdir {tmp}/new --model absent_module:build", "--model"),
    ("engine.train {shards} --workdir {tmp}/new --model cn", "did you mean 'cnn'?"),
    ("engine.train {shards} --workdir {tmp}/new --loss {tmp}/absent.py:loss", "--loss"),
    ("engine.train {shards} --workdir {tmp}/new --loss focla", "did you mean focal?"),
    ("engine.evaluate {tmp}/absent {shards}", "no such run directory"),
    ("engine.evaluate {other} {shards}", "holds no model.keras"),
    ("engine.report {tmp}/absent", "no run directory"),
    ("engine.report {other}", "no run directory"),
    ("engine.report {trained} --html {other}", "it is a directory; expected the path of a file"),
    ("engine.report {trained} --output {file}/x.md", "is a file; expected a directory"),
    ("engine.report {trained} --htm x.html", "did you mean --html?"),
    ("engine.report {trained} --html {tmp}/x --output {tmp}/x", "are both"),
    ("engine.inspect_images {images} --html {tmp}/x --json {tmp}/./x", "are both"),
    ("engine.compare {run}", "expected two runs or more"),
    ("engine.compare {run} {tmp}/absent", "no such run directory"),
    ("engine.compare {run} {other}", "is no run"),
    ("engine.compare {run} {run} --resamples 3", "must be at least 200"),
    ("engine.compare {run} {run} --basline {run}", "did you mean --baseline?"),
    ("engine.evaluate {trained} {tmp}/absent", "no such directory"),
    ("engine.evaluate {trained} {shards} --split extra", "hold no split 'extra'"),
    ("engine.evaluate {foreign} {shards}", "the run was trained on"),
    ("engine.evaluate {trained} {shards} --with {tmp}/absent", "absent: no such run directory"),
    ("engine.evaluate {trained} {shards} --with {trained}", "is given twice"),
    ("engine.predict {tmp}/absent {images}", "no such run directory"),
    ("engine.predict {trained} {tmp}/absent.png", "absent.png: no such file or folder"),
    ("engine.predict {trained} {tmp}/absent.png", "none of the paths leads to a file"),
    ("engine.predict {trained}", "PATH is missing"),
    ("engine.predict {trained} {images} --output {other}", "it is a directory"),
    ("engine.predict {trained} {images} --output {file}/x.csv", "is a file; expected a directory"),
    ("engine.predict {trained} {images} --paths-from {tmp}/absent", "cannot be read"),
    ("engine.predict {trained} {images} --part 3/2", "expected K/N"),
    ("engine.predict {trained} {images} --part 1/99999", "expected at most"),
    ("engine.explain {tmp}/absent {images}", "no such run directory"),
    ("engine.explain {trained} {tmp}/no*.png", "none of the paths leads to a file"),
    ("engine.explain {trained} {images} --target NORML", "did you mean 'NORMAL'?"),
    ("engine.explain {trained} {images} --output {file}", "is a file; expected a directory"),
    ("engine.explain {trained}", "PATH is missing"),
    ("engine.explain {trained} --feature-maps", "PATH is missing"),
    ("engine.explain {trained} --filters --output {file}", "is a file; expected a directory"),
    ("engine.explain {trained} {images} --method gradcam", "did you mean grad-cam?"),
    ("engine.explain {trained} {images} --patch 8", "is for --method occlusion"),
    (
        "engine.explain {trained} {images} --method occlusion --patch 4 --stride 5",
        "at most --patch",
    ),
    ("engine.explain {trained} {images} --method occlusion --layer a", "looks at no layer"),
    ("engine.explain {trained} {images} --baseline grey", "expected one of mean, black, blur"),
    ("engine.explain {trained} {images} --scale 0", "must be above 0"),
    ("engine.explain {trained} {images} --figures gif", "--figures: got"),
    ("engine.explain {trained} {images} --boxes {tmp}/absent.csv", "absent.csv: cannot be read"),
    ("engine.explain {trained} {images} --sanity-chek", "did you mean --sanity-check?"),
    ("engine.phantoms.__main__ {tmp}/new --boxes {other}", "it is a directory"),
    ("engine.export {tmp}/absent", "no such run directory"),
    ("engine.export {other}", "holds no model.keras"),
    ("engine.export {trained} --format tflite", "expected one of saved_model, litert, onnx"),
    ("engine.export {trained} --quantize int8", "is always float32"),
    ("engine.export {trained} --format onnx --name chest", "is for --format saved_model"),
    ("engine.export {trained} --format litert --version 2", "is for --format saved_model"),
    ("engine.export {trained} --output {file}", "is a file; expected a directory"),
    ("engine.export {trained} --format joblib --output {other}", "holds other files"),
    ("engine.export {trained} --shards {tmp}/absent", "no such directory"),
    ("engine.export {trained} --shards {shards} --split extra", "hold no split 'extra'"),
    ("engine.export {foreign} --shards {shards}", "got channels 1, the run has 3"),
    ("engine.export {trained} --images {tmp}/absent.png", "none of the paths leads to a file"),
    ("engine.export {trained} --images {images} --shards {shards}", "give one"),
    ("engine.export {trained} --format litert --quantize int8", "give --shards SHARDS or --images"),
    ("engine.export {trained} --prevalence 2", "--prevalence"),
    ("engine.build_tfrecords {tmp}/absent {tmp}/new", "no such folder"),
    ("engine.build_tfrecords {images} {file}/new", "is a file; expected a directory"),
    ("engine.inspect_images {tmp}/absent", "no such folder"),
    ("engine.inspect_images {images} --html {other}", "it is a directory"),
    ("engine.inspect_images {images} --json {file}/x.json", "is a file; expected a directory"),
    ("engine.inspect_images {images} --run {tmp}/absent", "no such run directory"),
    ("engine.inspect_images {images} --group-by person", "a regular expression without a group"),
    ("engine.inspect_images {images} --predictions new", "--run is missing"),
    ("engine.inspect_images {images} --sample 3", "did you mean --samples?"),
    ("engine.phantoms.__main__ {file}/new", "is a file; expected a directory"),
    ("engine.demo_summary {tmp}/absent", "no such run directory"),
    ("tuning.search {tmp}/absent --workdir {tmp}/new", "no such directory"),
    ("tuning.search {shards} --workdir {other}", "holds other files"),
    ("tuning.search {shards} --workdir {file}", "is a file; expected a directory"),
    ("tuning.search {shards} --workdir {file}/x", "is a file; expected a directory"),
    ("tuning.search {shards} --workdir {tmp}/new --seeds 3", "did you mean --num-seeds?"),
    ("tuning.search {shards} --workdir {tmp}/new --global-batch-size 9999", "give at most"),
    ("tuning.search {shards} --workdir {tmp}/new --tunr random", "did you mean --tuner?"),
    ("benchmarks.__main__ input --images {tmp}/absent", "no such folder"),
    ("benchmarks.__main__ input --shards {tmp}/absent", "no such directory"),
    ("benchmarks.__main__ input --json {file}", "is a file; expected a directory"),
    ("benchmarks.__main__ input --plots {file}/x", "is a file; expected a directory"),
    ("benchmarks.__main__ input --workdir {file}", "is a file; expected a directory"),
    ("benchmarks.coverage --repeat 5", "did you mean --repeats?"),
    ("engine.data_service worker --dispatcher h:1 --prot 5", "did you mean --port?"),
    ("engine.data_service dispatcher --port 0 --work-dir {file}", "is a file"),
    ("engine.__main__ trian {shards}", "did you mean 'train'?"),
    ("engine.__main__ train {tmp}/absent --workdir {tmp}/new", "no such directory"),
]


@pytest.fixture(scope="module")
def answers(shards, image_folder, tmp_path_factory):
    """Case -> (exit status, standard error), of all cases run by one process without TensorFlow."""
    tmp = tmp_path_factory.mktemp("refused")
    places = {name: tmp / name for name in ("run", "trained", "foreign", "other", "file")}
    places["file"].write_text("text")
    files.write_json(places["run"] / "config.json", {})
    started = {"data": {"fingerprint": "of other images"}, "runtime": {}}
    files.write_json(places["run"] / "environment.json", started)
    files.write_json(places["other"] / "other.json", {})
    for name, channels in (("trained", 1), ("foreign", 3)):
        run = RunDirectory(places[name])
        image_format = ImageFormat(image_size=(32, 32), channels=channels)
        names = ("NORMAL", "PNEUMONIA")
        contract.begin(run, InferenceContract(image_format=image_format, class_names=names))
        (places[name] / "model.keras").write_bytes(b"never opened")
    places |= {"tmp": tmp, "shards": shards, "images": image_folder}
    commands = [[word.format(**places) for word in command.split()] for command, _ in CASES]
    done = subprocess.run(
        [sys.executable, "-c", without(HEAVY, PROGRAM)],
        input=json.dumps(commands),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    yield dict(zip((command for command, _ in CASES), json.loads(done.stdout), strict=True))
    assert not (tmp / "new").exists()


@pytest.mark.parametrize(("command", "said"), CASES)
def test_wrong_input_is_refused_in_a_line_without_tensorflow(answers, command, said):
    status, errors = answers[command]
    assert status == 2, errors
    assert said in errors
    assert "Traceback" not in errors and "usage:" not in errors
    assert sum(": error: " in line for line in errors.splitlines()) == 1
