"""`evaluate_run` returns what it writes; the command prints what it returns."""

import dataclasses

import fake_run
import numpy as np
import pytest

from engine import evaluate
from engine.base.config import UserError
from engine.evaluation.run_evaluation import evaluate_run
from engine.metrics.temperature import Calibration
from engine.runs import stored_evaluations
from engine.runs.run_directory import RunDirectory

LEVELS = [40, 60, 80, 120, 140, 100, 150, 190, 210, 230]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    images = fake_run.grey_images(LEVELS)
    patients = [f"patient {i // 2}" for i in range(10)]
    return fake_run.make_shards(
        tmp_path_factory.mktemp("shards"), images, np.arange(10) // 5, patients
    )


@pytest.fixture
def run(tmp_path):
    return fake_run.make_run(tmp_path / "run", threshold=0.45)


def test_what_is_returned_is_what_is_stored(run, shards):
    result = evaluate_run(run, str(shards), resamples=200, shifts=True)
    stored = stored_evaluations.read(RunDirectory(run).evaluation(result.subject.name))
    assert stored.to_json() == result.to_json()
    assert result.subject.shards == str(shards)
    assert (result.num_examples, result.num_patients, result.threshold) == (10, 5, 0.45)
    assert result.shifts.values["none"]["auroc"] == pytest.approx(result.metrics["auroc"].value)
    auroc = result.metrics["auroc"]
    report = (run / "report.md").read_text(encoding="utf-8")
    assert f"| AUROC | {auroc.value_text} | {auroc.interval_text} |" in report


def test_the_command_prints_the_object(run, shards, capsys):
    result = evaluate_run(run, shards, name="first", resamples=200, batch_size=4)
    flags = ["--resamples", "200", "--figures", "svg,pdf"]
    assert evaluate.main([str(run), str(shards), *flags]) == 0
    printed = capsys.readouterr().out
    assert str(result) in printed
    assert max(map(len, printed.splitlines()[:-2])) <= 80
    directory = RunDirectory(run).evaluation("test")
    assert {path.suffix for path in directory.glob("roc.*")} == {".png", ".svg", ".pdf"}
    other = stored_evaluations.read(directory)
    assert other.subject == dataclasses.replace(result.subject, name="test")
    for name, estimate in result.metrics.items():  # the batch size changes rounding at most
        assert other.metrics[name].value == pytest.approx(estimate.value, abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"split": "holdout"}, "holdout"),
        ({"resamples": 3}, "resamples"),
        ({"batch_size": 0}, "batch_size|batch-size"),
        ({"name": "../elsewhere"}, "elsewhere"),
        ({"prevalence": "2"}, "--prevalence: got '2'"),
        ({"prevalence": "0.2"}, "--prevalence: this run does not say"),
        ({"recalibrate": 9}, "--recalibrate 9: the split holds 10 images"),
    ],
)
def test_wrong_settings_are_refused_and_leave_nothing(run, shards, settings, said):
    with pytest.raises(UserError, match=said):
        evaluate_run(run, shards, **settings)
    assert not (run / "evaluation").exists()


def test_what_labelled_images_would_give_and_a_prevalence_are_shown_and_stored(tmp_path, capsys):
    levels = np.random.default_rng(0).integers(60, 200, 60)
    patients = [f"patient {i // 2}" for i in range(60)]
    shards = fake_run.make_shards(
        tmp_path / "shards", fake_run.grey_images(levels), (levels > 150).astype(int), patients
    )
    run = fake_run.make_run(
        tmp_path / "run", threshold=0.45, calibration=Calibration(0.5, prior=(0.5, 0.5))
    )
    flags = ("--resamples", "200", "--recalibrate", "20", "--prevalence", "0.1")
    assert evaluate.main([str(run), str(shards), *flags]) == 0
    printed = capsys.readouterr().out
    assert "with 20 images" in printed
    assert max(map(len, printed.splitlines()[:20])) <= 80
    stored = stored_evaluations.read(RunDirectory(run).evaluation("test-prevalence-0.1"))
    found = stored.recalibration
    assert found.recalibrated["accuracy"].median > found.unchanged["accuracy"].median
    assert (found.num_images, found.rule) == (20, "youden")
    assert stored.subject.calibration == Calibration(0.5, prior=(0.5, 0.5))
    assert stored.subject.prevalence == pytest.approx((0.9, 0.1))
    report = (run / "report.md").read_text(encoding="utf-8")
    assert "| accuracy | " + str(found.unchanged["accuracy"]) in report
    assert "moved along with the prevalence" in report and "Hardest set" not in report
    assert "divided by 0.50" in report and "0.9 NORMAL, 0.1 PNEUMONIA" in report
    assert "than these images have" in " ".join(stored.subject.warnings)
    with pytest.raises(UserError, match=r"with another --prevalence \(0.9,0.1, now none\); give"):
        evaluate_run(run, shards, name="test-prevalence-0.1")
    plain = evaluate_run(run, shards, name="plain", resamples=200)
    assert "Hardest set measured: plain" in (run / "report.md").read_text(encoding="utf-8")
    assert plain.metrics["accuracy"] == stored.metrics["accuracy"]
    assert plain.metrics["auroc"] == stored.metrics["auroc"]
    assert plain.metrics["brier"] != stored.metrics["brier"]


def test_a_class_may_be_called_like_markup(tmp_path, capsys):
    names = ("[red]", "[/]", "c")
    images = fake_run.grey_images([20, 130, 240] * 2)
    labels = [0, 1, 2] * 2
    shards = fake_run.make_shards(tmp_path / "s", images, labels, [""] * 6, class_names=names)
    run = fake_run.make_run(tmp_path / "r", class_names=names)
    assert evaluate.main([str(run), str(shards), "--resamples", "200"]) == 0
    printed = capsys.readouterr().out
    assert "[red]" in printed and "[/]" in printed
