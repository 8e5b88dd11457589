"""`engine.evaluate` keeps each measurement in a directory of its own, and says whose figures it holds."""

import csv
import json
import math
import re
import shutil

import fake_run
import numpy as np
import pytest
from command_runs import metrics_of

from engine import evaluate
from engine.base import files, locks
from engine.evaluation import evaluation_files
from engine.inference.predictor import Predictor
from engine.metrics import evaluation
from engine.runs.report import render
from engine.runs.run_directory import RunDirectory


@pytest.fixture
def four(tmp_path):
    """A run, and two sets of four images for it: its own, and others."""
    run = fake_run.make_run(tmp_path / "r")
    own, other = (
        fake_run.make_shards(
            tmp_path / name,
            fake_run.grey_images([50, 60, 190, 200]),
            [0, 0, 1, 1],
            [""] * 4,
            fingerprint=fingerprint * 64,
        )
        for name, fingerprint in (("own", "f"), ("other", "e"))
    )
    return run, own, other


def measure(run, shards, *flags):
    return evaluate.main([str(run), str(shards), "--resamples", "200", *flags])


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_another_data_set_has_a_directory_of_its_own_and_the_report_lists_both(four, capsys):
    run, own, other = four
    assert measure(run, own, "--shifts") == 0
    before = contents(run / "evaluation" / "test")
    assert measure(run, other) == 0
    assert contents(run / "evaluation" / "test") == before
    (name,) = {path.name for path in (run / "evaluation").iterdir()} - {"test"}
    assert re.fullmatch("test-[0-9a-f]{8}", name)
    assert not (run / "evaluation" / name / "shifts.json").exists()
    assert f"figures: {run / 'evaluation' / name}" in capsys.readouterr().out
    report = (run / "report.md").read_text(encoding="utf-8")
    first, second = report.partition(f"### {name} (test split)")[::2]
    assert "under-exposed" in first and "under-exposed" not in second
    for part, shards, letter in ((first, own, "f"), (second, other, "e")):
        assert f"Measured on `{shards}`: fingerprint of the images `{letter * 12}`" in part


def test_results_on_other_data_are_not_overwritten(four, capsys):
    run, own, other = four
    assert measure(run, own, "--name", "mine") == 0
    before = contents(run / "evaluation" / "mine")
    assert measure(run, other, "--name", "mine") == 2
    assert f"the test split of {own}; give another --name" in capsys.readouterr().err
    assert contents(run / "evaluation" / "mine") == before
    assert measure(run, own, "--name", "mine") == 0
    assert measure(run, own, "--name", "../mine") == 2


def test_what_an_earlier_evaluation_left_is_removed(four):
    run, own, _ = four
    assert measure(run, own, "--shifts") == 0
    (run / "evaluation" / "test" / "old.png").write_bytes(b"x")
    assert measure(run, own) == 0
    left = {path.name for path in (run / "evaluation" / "test").iterdir()}
    assert "metrics.json" in left and not left & {"shifts.json", "old.png", ".lock"}
    assert "under-exposed" not in (run / "report.md").read_text(encoding="utf-8")


def test_two_evaluations_do_not_write_one_directory(four, capsys):
    run, own, _ = four
    with locks.held(run / "evaluation" / "test", purpose="an evaluation"):
        assert measure(run, own) == 2
        assert measure(run, own, "--name", "other") == 0
    assert "is in use: an evaluation by process" in capsys.readouterr().err


def test_an_evaluation_whose_directory_is_removed_meanwhile_still_writes_its_results(
    four, monkeypatch
):
    run, own, _ = four
    evaluate_arrays = evaluation.evaluate

    def removing(*arguments, **options):
        shutil.rmtree(run / "evaluation")  # as engine.train --overwrite does
        return evaluate_arrays(*arguments, **options)

    monkeypatch.setattr(evaluation, "evaluate", removing)
    assert measure(run, own) == 0
    assert metrics_of(run)["split"] == "test"


def test_figures_of_a_model_that_training_replaced_are_marked(four, capsys):
    run, own, _ = four
    fake_run.make_run(run, threshold=None)  # as long as training has not ended
    assert measure(run, own) == 0
    assert "using 0.5, which was not chosen on validation" in capsys.readouterr().err
    assert metrics_of(run)["model"] == RunDirectory(run).model_digest()
    report = (run / "report.md").read_text(encoding="utf-8")
    assert "a threshold not chosen on validation" in report and "Out of date" not in report
    model = fake_run.brightness_model()
    model.get_layer("logits").bias.assign([-3.0])
    fake_run.make_run(run, model=model)  # training goes on to its end
    report = render(RunDirectory(run))
    assert "**Out of date:**" in report
    assert "chosen on validation by the rule" not in report
    assert measure(run, own) == 0
    report = render(RunDirectory(run))
    assert "Out of date" not in report and "chosen on validation by the rule `youden`" in report


def test_a_model_that_is_replaced_while_it_is_loaded_is_not_measured_as_the_old_one(
    four, capsys, monkeypatch
):
    run, own, _ = four
    load = Predictor.load

    def load_slowly(*arguments, **options):
        model = fake_run.brightness_model()
        model.get_layer("logits").bias.assign([-3.0])
        fake_run.make_run(run, model=model)
        return load(*arguments, **options)

    monkeypatch.setattr(Predictor, "load", load_slowly)
    assert measure(run, own) == 2
    assert "replaced the model while it was loaded" in capsys.readouterr().err


def test_a_threshold_that_is_no_number_is_refused(four, capsys):
    run, own, _ = four
    contract = files.read_json(run / "inference.json")
    files.write_text(run / "inference.json", json.dumps({**contract, "threshold": math.nan}))
    assert measure(run, own) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "inference.json: damaged (threshold: got nan, expected a number from 0 to 1" in line


def test_odd_file_names_come_back_from_predictions_csv(tmp_path):
    paths = ["a\rb.png", "a\nb.png", 'q"uo,te.png']
    result = evaluation.evaluate(
        np.array([0, 1, 1]), np.array([0.1, 0.8, 0.9]), ["", "", ""], resamples=200,
        class_names=("NORMAL", "PNEUMONIA"), threshold=0.5,
    )  # fmt: skip
    predictions = evaluation_files.SplitPredictions(
        np.array([0, 1, 1]), np.array([0.1, 0.8, 0.9]), np.array([-2.2, 1.4, 2.2]), paths, [""] * 3
    )
    evaluation_files.write_predictions(tmp_path / "predictions.csv", result, predictions)
    with open(tmp_path / "predictions.csv", encoding="utf-8", newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == paths


def test_images_unlike_the_training_images_are_counted_apart_and_may_stay_undecided(
    tmp_path, capsys
):
    levels = np.random.default_rng(0).integers(90, 170, 120)
    run = fake_run.make_run(tmp_path / "run")
    fake_run.remember(run, fake_run.grey_images(levels[:80]))
    images = fake_run.grey_images([*levels[80:], 0, 0, 255], seed=1)
    labels = [*(levels[80:] > 127).astype(int), 1, 1, 1]
    shards = fake_run.make_shards(tmp_path / "shards", images, labels, [""] * 43)
    found = {}
    for name, flags in (("all", []), ("decided", ["--abstain"])):
        command = [str(run), str(shards), "--name", name, "--resamples", "200", *flags]
        assert evaluate.main(command) == 0
        found[name] = metrics_of(run, name)
        printed = capsys.readouterr().out
        assert "unlike training images" in printed and ("\ndecided " in printed) == bool(flags)
        assert max(map(len, printed.splitlines()[:-2])) <= 80  # paths follow
    assert {**found["all"]["unlike"], "abstained": True} == found["decided"]["unlike"]
    assert 3 <= found["all"]["unlike"]["num_unlike"] <= 6
    rows = list(
        csv.DictReader((run / "evaluation" / "decided" / "predictions.csv").open(encoding="utf-8"))
    )
    assert [row["predicted"] == "undecided" for row in rows] == [
        float(row["distance"]) > 1 for row in rows
    ]
    assert all(row["predicted"] == "undecided" for row in rows[-3:])
    report = render(RunDirectory(run))
    assert "Distance from the training images: " in report
    assert report.count("left undecided: decided are ") == 1


def test_abstaining_needs_distances(four, capsys):
    run, own, _ = four
    assert evaluate.main([str(run), str(own), "--abstain"]) == 2
    assert "--abstain: " in capsys.readouterr().err
