import math

import pytest

from tuning import pruning
from tuning.trial_files import Outcome, best_of

UP, DOWN = "val_auroc", "val_loss"


def bars(*histories, objective=UP, epochs=3, trials=1, warmup=0):
    return pruning.median_bars(
        histories, objective=objective, epochs=epochs, warmup_trials=trials, warmup_epochs=warmup
    )


def test_the_bar_is_the_median_of_the_best_so_far():
    assert bars([0.5, 0.4, 0.9], [0.6, 0.7, 0.7], [0.1, 0.8, 0.8]) == [0.5, 0.7, 0.8]
    assert bars([0.5, 0.6, 0.2], [0.9, 0.3, 0.3], objective=DOWN) == pytest.approx([0.7, 0.4, 0.25])


def test_nothing_is_asked_before_there_are_enough_trials_and_epochs():
    assert bars([0.5, 0.6, 0.7], trials=2) == [None, None, None]
    assert bars([0.5, 0.6, 0.7], warmup=2) == [None, None, 0.7]


def test_a_trial_that_stopped_for_want_of_progress_stands_at_its_best():
    assert bars([0.5, 0.8], [0.6, 0.6, 0.6]) == pytest.approx([0.55, 0.7, 0.7])


def test_what_is_no_number_is_asked_of_nobody():
    assert bars([math.nan, math.nan, 0.7]) == [None, None, 0.7]


@pytest.mark.parametrize(
    ("history", "behind"),
    [
        ([0.5], False),
        ([0.49], True),
        ([0.6, 0.1], False),
        ([0.5, 0.59], True),
        ([math.nan], True),
    ],
)
def test_a_trial_is_behind_if_its_best_so_far_does_not_reach_the_bar(history, behind):
    assert pruning.is_behind(history, [0.5, 0.6, 0.8], objective=UP) is behind


def test_losses_are_behind_when_they_are_larger():
    assert pruning.is_behind([0.51], [0.5], objective=DOWN)
    assert not pruning.is_behind([0.5], [0.5], objective=DOWN)


def test_nobody_is_behind_where_nothing_is_asked():
    assert not pruning.is_behind([0.0], [], objective=UP)
    assert not pruning.is_behind([0.0], [None], objective=UP)
    assert not pruning.is_behind([], [0.5], objective=UP)


def test_what_was_saved_is_the_epochs_not_given_at_each_trials_pace():
    pruned = Outcome(status="pruned", value=0.5, history=[0.5, 0.5], epoch_seconds=3.0)
    whole = Outcome(status="completed", value=0.5, history=[0.5] * 10, epoch_seconds=7.0)
    failed = Outcome(status="failed", failure="crashed", reason="x")
    assert pruning.seconds_saved([pruned, whole, failed], epochs=10) == 24.0


def test_the_best_epoch_is_the_first_of_equals_and_never_nan():
    assert best_of([0.5, 0.9, 0.9], UP) == (0.9, 2)
    assert best_of([0.5, 0.2, math.nan], DOWN) == (0.2, 2)
    assert best_of([math.nan], UP) == (None, 0)
