import csv
import io
import math

import pytest

from engine.training import callbacks


def row(epoch, **values):
    zero = dict.fromkeys(callbacks.HISTORY_FIELDS, 0.0)
    return {**zero, "epoch": epoch, **values}


@pytest.mark.parametrize(
    ("monitor", "values", "best_epoch"),
    [
        ("val_auroc", [0.7, 0.9, 0.8], 2),
        ("val_loss", [0.7, 0.9, 0.6], 3),
        ("val_auroc", [math.nan, 0.5, math.nan], 2),
        ("val_accuracy", [0.5, 0.5, 0.5], 1),
    ],
)
def test_the_best_epoch_is_found_in_the_metrics_own_direction(monitor, values, best_epoch):
    progress = callbacks.Progress(monitor)
    for epoch, value in enumerate(values, 1):
        progress.update(row(epoch, **{monitor: value}))
    assert progress.best_epoch == best_epoch
    assert progress.stale_epochs == len(values) - best_epoch


def update(progress, *epochs):
    """Whether each of the (value, loss) pairs was the best so far."""
    return [
        progress.update(row(epoch, val_auroc=value, val_loss=loss))
        for epoch, (value, loss) in enumerate(epochs, 1)
    ]


def test_of_epochs_that_tie_that_of_the_lowest_loss_is_best():
    progress = callbacks.Progress("val_auroc")
    assert update(
        progress, (0.9, 0.4), (1.0, 0.62), (1.0, 0.2), (1.0, 0.05), (1.0, 0.07), (0.99, 0.01)
    ) == [True, True, True, True, False, False]
    assert (progress.best_epoch, progress.best_value, progress.best_loss) == (4, 1.0, 0.05)


def test_a_tie_with_a_lower_loss_is_progress_to_plateaus_and_early_stopping():
    progress = callbacks.Progress("val_auroc")
    update(progress, (1.0, 0.5), (1.0, 0.6), (1.0, 0.55))
    assert (progress.stale_epochs, progress.plateau_epochs) == (2, 2)
    progress.update(row(4, val_auroc=1.0, val_loss=0.4))
    assert (progress.stale_epochs, progress.plateau_epochs) == (0, 0)


@pytest.mark.parametrize(
    ("losses", "best_epoch"), [([math.nan, 0.5, 0.6], 2), ([0.5, math.nan], 1), ([0.5, 0.5], 1)]
)
def test_a_loss_that_is_no_number_wins_no_tie(losses, best_epoch):
    progress = callbacks.Progress("val_auroc")
    update(progress, *((1.0, loss) for loss in losses))
    assert progress.best_epoch == best_epoch


def test_a_stopwatch_counts_laps_and_what_others_spent_on_them():
    now = [5.0]
    watch = callbacks.Stopwatch(clock=lambda: now[0])
    now[0] += 3
    watch.include(10)
    assert watch.seconds == 13
    assert watch.lap() == 13
    now[0] += 2
    assert (watch.lap(), watch.seconds) == (2, 0)


def test_a_plateau_is_reported_once_per_patience():
    progress = callbacks.Progress("val_auroc")
    reported = []
    for epoch, value in enumerate([0.9] + [0.1] * 6, 1):
        progress.update(row(epoch, val_auroc=value))
        reported.append(progress.on_plateau(3))
    assert reported == [False, False, False, True, False, False, True]


def test_history_csv_holds_every_field_of_every_epoch():
    text = callbacks.history_csv([row(1, loss=0.123456789), row(2, val_auroc=0.5)])
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [r["epoch"] for r in rows] == ["1", "2"]
    assert float(rows[0]["loss"]) == pytest.approx(0.123457)
    assert tuple(rows[0]) == callbacks.HISTORY_FIELDS


def test_an_epoch_line_fits_a_terminal():
    line = callbacks.epoch_line(
        row(20, loss=0.5, val_auroc=0.99, images_per_second=12345.0), epochs=100, best=True
    )
    assert len(line) <= 100
    assert "AUROC 0.9900 *" in line


def test_logs_leave_a_history_and_a_tensorboard_file(tmp_path):
    logs = callbacks.Logs(tmp_path / "history.csv", tmp_path / "tensorboard")
    logs.write([row(1)])
    logs.close()
    assert (tmp_path / "history.csv").read_text().count("\n") == 2
    assert list((tmp_path / "tensorboard").iterdir())


def test_an_interval_is_due_every_so_many_steps_or_seconds():
    by_steps = callbacks.Interval(steps=3)
    assert [step for step in range(1, 10) if by_steps.due(step)] == [3, 6, 9]
    now = [0.0]
    by_time = callbacks.Interval(seconds=60, clock=lambda: now[0])
    due = []
    for step in range(1, 10):
        now[0] += 25
        if by_time.due(step):
            due.append(step)
    assert due == [3, 6, 9]
    assert not any(callbacks.Interval().due(step) for step in range(1, 1000))
