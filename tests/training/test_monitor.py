import math

import pytest

from engine.training import history
from engine.training.monitor import Progress


def row(epoch, **values):
    zero = dict.fromkeys(history.HISTORY_FIELDS, 0.0)
    return {**zero, "epoch": epoch, **values}


def update(progress, *epochs):
    """Whether each of the (value, loss) pairs was the best so far."""
    return [
        progress.update(row(epoch, val_auroc=value, val_loss=loss))
        for epoch, (value, loss) in enumerate(epochs, 1)
    ]


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
    progress = Progress(monitor)
    for epoch, value in enumerate(values, 1):
        progress.update(row(epoch, **{monitor: value}))
    assert progress.best_epoch == best_epoch
    assert progress.stale_epochs == len(values) - best_epoch


def test_of_epochs_that_tie_that_of_the_lowest_loss_is_best():
    progress = Progress("val_auroc")
    assert update(
        progress, (0.9, 0.4), (1.0, 0.62), (1.0, 0.2), (1.0, 0.05), (1.0, 0.07), (0.99, 0.01)
    ) == [True, True, True, True, False, False]
    assert (progress.best_epoch, progress.best_value, progress.best_loss) == (4, 1.0, 0.05)


def test_a_tie_with_a_lower_loss_is_progress_to_plateaus_and_early_stopping():
    progress = Progress("val_auroc")
    update(progress, (1.0, 0.5), (1.0, 0.6), (1.0, 0.55))
    assert (progress.stale_epochs, progress.plateau_epochs) == (2, 2)
    progress.update(row(4, val_auroc=1.0, val_loss=0.4))
    assert (progress.stale_epochs, progress.plateau_epochs) == (0, 0)


@pytest.mark.parametrize(
    ("losses", "best_epoch"), [([math.nan, 0.5, 0.6], 2), ([0.5, math.nan], 1), ([0.5, 0.5], 1)]
)
def test_a_loss_that_is_no_number_wins_no_tie(losses, best_epoch):
    progress = Progress("val_auroc")
    update(progress, *((1.0, loss) for loss in losses))
    assert progress.best_epoch == best_epoch


def test_a_plateau_is_reported_once_per_patience():
    progress = Progress("val_auroc")
    reported = []
    for epoch, value in enumerate([0.9] + [0.1] * 6, 1):
        progress.update(row(epoch, val_auroc=value))
        reported.append(progress.on_plateau(3, epoch))
    assert reported == [False, False, False, True, False, False, True]


def test_a_plateau_counts_no_epoch_in_which_no_progress_was_due():
    progress = Progress("val_auroc")
    update(progress, *[(0.9, 0.1)] * 5)
    assert progress.plateau_epochs == 4
    assert [progress.on_plateau(2, epochs) for epochs in (0, 1, 2)] == [False, False, True]
