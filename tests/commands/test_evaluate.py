"""`engine.evaluate` measures every example of a split and leaves figures, a table and a report."""

import csv
import json
import subprocess
import sys

import fake_run
import numpy as np
import pytest
from command_runs import metrics_of

from engine import evaluate
from engine.base import files
from engine.metrics import curves

LEVELS = np.concatenate([np.linspace(20, 150, 30), np.linspace(105, 235, 41)]).astype(int)
LABELS = np.repeat([0, 1], [30, 41])
PATIENTS = [f"patient {i // 2}" for i in range(71)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return fake_run.make_run(tmp_path_factory.mktemp("runs") / "first", threshold=0.45)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    images = fake_run.grey_images(LEVELS)
    return fake_run.make_shards(tmp_path_factory.mktemp("shards"), images, LABELS, PATIENTS)


@pytest.fixture(scope="module")
def evaluated(run, shards):
    """The evaluated run, and what the command printed, in a process of its own."""
    command = [sys.executable, "-m", "engine.evaluate", str(run), str(shards), "--batch-size", "16"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return run, done


def test_the_files_of_the_design_are_written(evaluated):
    run, _ = evaluated
    assert {path.name for path in (run / "evaluation" / "test").iterdir()} == {
        "metrics.json",
        "predictions.csv",
        "roc.png",
        "precision_recall.png",
        "confusion_matrix.png",
        "calibration.png",
        "probabilities.png",
        "decision_curve.png",
        "most_wrong.png",
        "least_certain.png",
    }
    assert "Not for diagnosis" in (run / "report.md").read_text(encoding="utf-8")


def test_metrics_count_every_example_once_at_the_stored_threshold(evaluated):
    metrics = metrics_of(evaluated[0])
    assert metrics["num_examples"] == 71
    assert metrics["num_patients"] == 36
    assert metrics["threshold"] == 0.45
    assert metrics["split"] == "test"
    assert metrics["warnings"] == []
    assert np.sum(metrics["confusion_matrix"]) == 71
    for name in ("auroc", "accuracy", "sensitivity", "specificity", "f1", "brier"):
        assert metrics[name]["low"] <= metrics[name]["value"] <= metrics[name]["high"]
    assert 0.8 < metrics["auroc"]["value"] < 1


def test_predictions_hold_each_path_and_give_the_same_metrics(evaluated):
    run, _ = evaluated
    with open(run / "evaluation" / "test" / "predictions.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "path",
        "label",
        "probability",
        "predicted",
        "logit",
        "patient",
    ]
    assert [row["patient"] for row in rows] == PATIENTS
    assert len({row["path"] for row in rows}) == 71
    assert all(f"/{row['label']}/" in row["path"] for row in rows)
    called = [float(row["probability"]) >= 0.45 for row in rows]
    assert called == [row["predicted"] == "PNEUMONIA" for row in rows]
    right = np.mean([row["label"] == row["predicted"] for row in rows])
    assert right == pytest.approx(metrics_of(run)["accuracy"]["value"])


def test_what_is_printed_fits_80_columns_and_ends_with_what_matters(evaluated):
    run, done = evaluated
    lines = done.stdout.rstrip().splitlines()
    assert max(len(line) for line in lines if str(run) not in line) <= 80
    auroc = metrics_of(run)["auroc"]
    assert any(
        "AUROC" in line and f"{auroc['low']:.4f} to {auroc['high']:.4f}" in line for line in lines
    )
    assert "71 images of 36 patients" in done.stdout
    assert lines[-2:] == [
        f"figures: {run / 'evaluation' / 'test'}",
        f"report: {run / 'report.md'}",
    ]
    assert "evaluating test: 71/71" in done.stderr
    assert "\x1b" not in done.stdout


def test_more_classes_add_a_column_each(tmp_path, capsys):
    names = ("dark", "grey", "light")
    labels = np.arange(30) % 3
    images = fake_run.grey_images(labels * 100 + 27, seed=3)
    shards = fake_run.make_shards(tmp_path / "s", images, labels, [""] * 30, class_names=names)
    run = fake_run.make_run(tmp_path / "r", class_names=names)
    assert evaluate.main([str(run), str(shards), "--resamples", "200"]) == 0
    metrics = metrics_of(run)
    assert metrics["accuracy"]["value"] == 1
    assert metrics["threshold"] is None
    assert set(metrics["per_class"]) == set(names)
    with open(run / "evaluation" / "test" / "predictions.csv", encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    columns = [f"{kind}_{n}" for kind in ("probability", "logit") for n in names]
    assert list(row)[4:] == [*columns, "patient"]
    assert float(row["probability"]) == max(float(row[f"probability_{n}"]) for n in names)
    assert "the largest probability decides" in capsys.readouterr().out


@pytest.mark.parametrize("classes", [2, 3])
def test_saturated_probabilities_keep_their_ranks_in_metrics_and_predictions(tmp_path, classes):
    # All above a grey level of 190 are given a probability of 1 in float32.
    names = ("a", "b", "c")[:classes]
    model = fake_run.brightness_model(classes)
    weights, biases = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([20 * weights, 20 * biases])
    levels = np.repeat([200, 225], 20)
    labels = np.repeat([0, classes - 1], 20)
    shards = fake_run.make_shards(
        tmp_path / "s", fake_run.grey_images(levels), labels, [""] * 40, class_names=names
    )
    run = fake_run.make_run(tmp_path / "r", class_names=names, model=model)
    assert evaluate.main([str(run), str(shards), "--resamples", "200"]) == 0
    assert metrics_of(run)["auroc"]["value"] == 1
    assert metrics_of(run)["average_precision"]["value"] == 1
    with open(run / "evaluation" / "test" / "predictions.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    column = "logit" if classes == 2 else "logit_c"
    assert len({row["probability"] for row in rows}) < 20
    assert curves.auroc(labels, np.array([float(row[column]) for row in rows])) == 1


def test_a_split_of_one_class_is_measured_and_says_what_is_undefined(tmp_path, capsys):
    run = fake_run.make_run(tmp_path / "r")
    shards = fake_run.make_shards(
        tmp_path / "s", fake_run.grey_images([200] * 9), [1] * 9, [""] * 9
    )
    assert evaluate.main([str(run), str(shards), "--resamples", "200"]) == 0
    assert "undefined" in capsys.readouterr().out
    assert metrics_of(run)["auroc"]["value"] is None


@pytest.mark.parametrize(
    ("split", "fingerprint", "expected"),
    [
        ("train", "f" * 64, "was trained on this split"),
        ("validation", "f" * 64, "were chosen on this split"),
        ("test", "e" * 64, "come from other images"),
    ],
)
def test_figures_that_flatter_are_warned_of(tmp_path, split, fingerprint, expected, capsys):
    run = fake_run.make_run(tmp_path / "r")
    images = fake_run.grey_images([50, 60, 190, 200])
    shards = fake_run.make_shards(
        tmp_path / "s", images, [0, 0, 1, 1], [""] * 4, split=split, fingerprint=fingerprint
    )
    assert evaluate.main([str(run), str(shards), "--split", split, "--resamples", "200"]) == 0
    assert expected in capsys.readouterr().err
    (name,) = (path.name for path in (run / "evaluation").iterdir())
    assert name.startswith(f"{split}-" if fingerprint[0] == "e" else split)
    assert expected in metrics_of(run, name)["warnings"][0]
    assert expected in (run / "report.md").read_text(encoding="utf-8")


def test_the_same_images_split_in_another_way_are_warned_of(tmp_path, capsys):
    images = fake_run.grey_images([50, 60, 190, 200])
    shards = fake_run.make_shards(tmp_path / "s", images, [0, 0, 1, 1], [""] * 4, seed=1)
    counts = {"test": {"num_examples": 4, "class_counts": {"NORMAL": 2, "PNEUMONIA": 2}}}
    for seed, warned in ((1, False), (2, True)):
        run = fake_run.make_run(tmp_path / f"r{seed}", splits=counts, seed=seed)
        assert evaluate.main([str(run), str(shards), "--resamples", "200"]) == 0
        assert ("split the run's images in another way" in capsys.readouterr().err) == warned


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"class_names": ("CAT", "DOG")}, "classes"),
        ({"image_size": (24, 16)}, "image size"),
        ({"channels": 3}, "channels"),
    ],
)
def test_shards_of_another_kind_are_refused(tmp_path, shards, changes, expected, capsys):
    run = fake_run.make_run(tmp_path, **changes)
    assert evaluate.main([str(run), str(shards)]) == 2
    error = capsys.readouterr().err
    assert expected in error and len(error.strip().splitlines()) == 1


def test_wrong_input_is_one_line_and_status_2(tmp_path, run, shards, capsys):
    for arguments, expected in (
        ([str(tmp_path / "absent"), str(shards)], "no such run directory"),
        ([str(run), str(tmp_path / "absent")], "no such directory"),
        ([str(run), str(shards), "--split", "holdout"], "holdout"),
        ([str(run), str(shards), "--resamples", "3"], "--resamples"),
    ):
        assert evaluate.main(arguments) == 2
        error = capsys.readouterr().err.strip().splitlines()
        assert expected in error[-1]
        assert "Traceback" not in "".join(error)


def test_help_does_not_import_tensorflow():
    program = (
        "import sys\nfrom engine import evaluate\n"
        "try:\n    evaluate.main(['--help'])\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        "assert 'tensorflow' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_shifts_are_measured_on_request_and_stand_in_the_report(run, shards, capsys):
    assert evaluate.main([str(run), str(shards), "--shifts", "--resamples", "200"]) == 0
    shifted = json.loads((run / "evaluation" / "test" / "shifts.json").read_text(encoding="utf-8"))
    assert shifted["none"]["auroc"] == pytest.approx(metrics_of(run)["auroc"]["value"])
    assert shifted["brighter"]["sensitivity"] >= shifted["none"]["sensitivity"]
    assert shifted["darker"]["specificity"] >= shifted["none"]["specificity"]
    assert "under-exposed" in capsys.readouterr().out
    assert "under-exposed" in (run / "report.md").read_text(encoding="utf-8")


def test_several_runs_are_averaged_and_the_first_one_holds_the_figures(
    tmp_path, run, shards, capsys
):
    model = fake_run.brightness_model()
    model.get_layer("logits").bias.assign([-5.0])
    first = fake_run.make_run(tmp_path / "first", threshold=0.45)
    other = fake_run.make_run(tmp_path / "other", threshold=0.3, model=model)
    arguments = [str(first), str(shards), "--with", str(other), "--resamples", "200"]
    assert evaluate.main(arguments) == 0
    assert "2 runs averaged" in capsys.readouterr().out
    (name,) = (path.name for path in (first / "evaluation").iterdir())
    assert name.startswith("test-mean-of-2-")
    metrics = metrics_of(first, name)
    assert metrics["averaged"] == ["first", "other"]
    assert metrics["threshold"] == pytest.approx(0.372, abs=1e-3)  # the mean in log-odds
    members = files.read_json(first / "evaluation" / name / "members.json")
    assert set(members["members"]) == {"first", "other"} and members["spread"] > 0
    with open(first / "evaluation" / name / "predictions.csv", encoding="utf-8") as file:
        assert list(next(csv.DictReader(file)))[-2:] == ["spread", "patient"]
    report = (first / "report.md").read_text(encoding="utf-8")
    assert "Not this run alone" in report and "Out of date" not in report
    assert not (other / "evaluation").exists()
