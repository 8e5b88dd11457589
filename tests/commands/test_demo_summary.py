import dataclasses
import hashlib

from stored_results import SUBJECT, make_evaluation, store

from engine import demo_summary
from engine.base import files
from engine.metrics.estimate import Estimate
from engine.runs import ensemble as ensembles
from engine.runs.run_directory import RunDirectory

TRAINING = {
    "images_per_second": 412.3,
    "seconds": 65.0,
    "epochs": 10,
    "best_epoch": 7,
    "monitor": "val_auroc",
    "best_value": 0.98765,
}
METRICS = {
    "auroc": Estimate(0.98, reason="one patient"),
    "accuracy": Estimate(0.9375, 0.9, 0.97),
    "sensitivity": Estimate(None, reason="no example"),
    "specificity": Estimate(1, 0.5, 1),
}


# `make_run` writes b"" as the model.
OF_THE_RUN = dataclasses.replace(SUBJECT, model=hashlib.sha256(b"").hexdigest())


def make_run(directory) -> RunDirectory:
    run = RunDirectory(directory)
    run.path.mkdir()
    run.model.write_bytes(b"")
    files.write_json(run.training_summary, TRAINING)
    store(run, make_evaluation(metrics=METRICS, subject=OF_THE_RUN))
    return run


def test_lines_say_how_good_how_fast_and_where(tmp_path, capsys) -> None:
    run = make_run(tmp_path / "run")
    assert demo_summary.main([str(run.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if str(run.path) not in line) <= 80
    assert lines == [
        "trained:  412 images/s in training steps",
        "          10 epochs in 1 min 5 s, with loading, validating and saving",
        "          best val_auroc 0.9877 in epoch 7",
        "hardest set measured: Test split, drawn from the run's own data set",
        "test: 60 images of 30 patients; 95 % intervals over patients",
        "threshold 0.500 for PNEUMONIA",
        "AUROC        0.9800 (one patient)",
        "accuracy     0.9375 (0.9000 to 0.9700)",
        "sensitivity  undefined (no example)",
        "specificity  1.0000 (0.5000 to 1.0000)",
        "measured on the run's own data set alone: nothing is known of images from",
        "other places (engine.evaluate RUN OTHER_SHARDS --name NAME measures them)",
        f"pictures: {run.history_figure} and {run.evaluation('test')}/*.png",
        f"report:   {run.report} (not for diagnosis)",
    ]


def test_the_hardest_unseen_set_comes_first_whatever_split_is_named(tmp_path, capsys) -> None:
    run = make_run(tmp_path / "run")
    files.write_json(run.environment, {"data": {"fingerprint": SUBJECT.fingerprint}})
    elsewhere = dataclasses.replace(OF_THE_RUN, name="nih", fingerprint="other")
    store(run, make_evaluation(metrics={"auroc": Estimate(0.6)}, subject=elsewhere), "nih")
    assert demo_summary.main([str(run.path)]) == 0
    printed = capsys.readouterr().out
    assert "hardest set measured: nih (test split), other images" in printed
    assert printed.index("AUROC        0.6000") < printed.index("Test split: AUROC 0.9800")
    assert "nothing is known" not in printed


def test_a_run_that_was_not_trained_or_evaluated_is_status_2(tmp_path, capsys) -> None:
    assert demo_summary.main([str(tmp_path / "absent")]) == 2
    run = make_run(tmp_path / "run")
    assert demo_summary.main([str(run.path), "--split", "validation"]) == 2
    assert "validation" in capsys.readouterr().err


def test_an_ensemble_is_summed_up_too(tmp_path, capsys):
    ensemble = ensembles.EnsembleDirectory(
        tmp_path, [ensembles.Member("seed-0", 0, 10), ensembles.Member("seed-1", 1, 10)]
    )
    for member in ensemble.members:
        make_run(member.path)
    ensembles.write(ensemble)
    subject = dataclasses.replace(SUBJECT, model=ensemble.model_digest())
    store(ensemble, make_evaluation(metrics=METRICS, subject=subject))
    assert demo_summary.main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "trained:  2 runs, 20 epochs in 2 min 10 s",
        "          seed-0: best val_auroc 0.9877 in epoch 7",
        "          seed-1: best val_auroc 0.9877 in epoch 7",
    ]
    assert lines[-2] == f"pictures: {ensemble.evaluation('test')}/*.png"
