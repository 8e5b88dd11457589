from stored_results import make_evaluation, store

from engine import demo_summary
from engine.base import files
from engine.metrics.estimate import Estimate
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


def make_run(directory) -> RunDirectory:
    run = RunDirectory(directory)
    run.path.mkdir()
    run.model.write_bytes(b"")
    files.write_json(run.training_summary, TRAINING)
    store(run, make_evaluation(metrics=METRICS))
    return run


def test_lines_say_how_good_how_fast_and_where(tmp_path, capsys) -> None:
    run = make_run(tmp_path / "run")
    assert demo_summary.main([str(run.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "trained:  412 images/s in training steps",
        "          10 epochs in 1 min 5 s, with loading, validating and saving",
        "          best val_auroc 0.9877 in epoch 7",
        "test: 60 images of 30 patients; 95 % intervals over patients",
        "threshold 0.500 for PNEUMONIA",
        "AUROC        0.9800 (one patient)",
        "accuracy     0.9375 (0.9000 to 0.9700)",
        "sensitivity  undefined (no example)",
        "specificity  1.0000 (0.5000 to 1.0000)",
        f"pictures: {run.history_figure} and {run.evaluation('test')}/*.png",
        f"report:   {run.report} (not for diagnosis)",
    ]


def test_a_run_that_was_not_trained_or_evaluated_is_status_2(tmp_path, capsys) -> None:
    assert demo_summary.main([str(tmp_path / "absent")]) == 2
    run = make_run(tmp_path / "run")
    assert demo_summary.main([str(run.path), "--split", "validation"]) == 2
    assert "validation" in capsys.readouterr().err
