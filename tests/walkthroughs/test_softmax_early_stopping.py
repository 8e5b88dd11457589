"""Walk-through C runs from top to bottom: softmax over colour images, joblib, `predict(path)`."""

import joblib
import keras

from engine.base import files
from engine.runs.run_directory import RunDirectory


def test_the_page_ends_with_a_softmax_model_a_joblib_file_and_a_prediction(walk, capsys):
    there = walk("c-softmax-early-stopping.md")
    run = RunDirectory(there / "saved_models" / "walk-c")
    model = keras.saving.load_model(run.model)
    assert model.input_shape == (None, 32, 32, 3)
    assert model.output_shape == (None, 2)
    settings = files.read_json(run.config)
    assert settings["min_learning_rate"] == 1e-6
    assert settings["early_stopping_patience"] == 5
    exported = run.path / "exports" / "joblib"
    assert joblib.load(exported / "model.joblib")
    assert (exported / "classifier.py").is_file()
    printed = capsys.readouterr().out.splitlines()
    for name in ("precision", "recall", "f1"):
        assert any(line.startswith(f"{name} ") for line in printed)
    assert printed[-1].startswith(("NORMAL ", "PNEUMONIA "))
