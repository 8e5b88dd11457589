import dataclasses
import io

import pytest
from rich.console import Console

from tuning import leaderboard, live_table
from tuning.leaderboard import Trial
from tuning.settings import SearchConfig
from tuning.trial_files import Outcome, TrialSpec

CONFIG = SearchConfig(epochs=8, max_trials=20)


def trial(number, *history, status="completed", seconds=10.0):
    spec = TrialSpec(
        trial_id=f"{number:02d}",
        values={"depth": 3, "width": 16, "dropout": 0.1234567, "learning_rate": 0.00123},
        config={},
        objective="val_auroc",
        last_epoch=8,
    )
    outcome = None
    if status == "failed":
        outcome = Outcome(status="failed", failure="out of memory", reason="killed", seconds=1.0)
    elif status != "running":
        best = max(history)
        outcome = Outcome(
            status=status, value=best, history=list(history), epoch_seconds=2, seconds=seconds
        )
    return Trial(spec, outcome, tuple(history))


TRIALS = [
    trial(0, *[0.8] * 8),
    trial(1, *[0.9] * 8),
    trial(2, 0.5, 0.5, status="pruned"),
    trial(3, status="failed"),
    trial(4, 0.95, status="running"),
]


def rendered(trials, width=80):
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(live_table.table(trials, CONFIG, planned=20))
    return console.export_text()


def test_the_table_fits_eighty_columns_and_shows_the_latest_trials():
    text = rendered([trial(n, *[0.8] * 8) for n in range(18)] + TRIALS[2:])
    lines = text.splitlines()
    assert max(len(line) for line in lines) <= 80
    numbers = [line.split()[0] for line in lines if line.split()[1:2] == ["depth"]]
    assert numbers[0] == "09" and numbers[-1] == "04" and len(numbers) == live_table.ROWS
    assert "depth 3 width 16 drop 0.12 lr 0.0012" in text
    for word in ("pruned", "out of memory", "running", "1/8"):
        assert word in text


def test_the_best_is_marked_and_is_one_that_has_ended():
    line = next(line for line in rendered(TRIALS).splitlines() if "*" in line)
    assert line.split()[0] == "01"


def test_the_summary_tells_how_far_what_was_saved_and_what_is_left():
    text = live_table.summary(TRIALS, CONFIG, planned=20)
    assert "4/20 trials" in text
    assert "best 0.9000 (trial 01)" in text
    assert "1 pruned, about 12 s saved" in text
    assert "left" in text


def test_the_time_left_is_trials_to_do_by_their_mean_time_over_workers():
    whole = live_table.seconds_left(TRIALS[:2], CONFIG, planned=6)
    assert whole == pytest.approx(40)
    two = dataclasses.replace(CONFIG, num_workers=2)
    assert live_table.seconds_left(TRIALS[:2], two, planned=6) == pytest.approx(20)
    assert live_table.seconds_left([], CONFIG, planned=6) is None
    assert live_table.seconds_left(TRIALS[:2], CONFIG, planned=None) is None


def test_the_time_left_holds_what_is_trained_after_the_trials():
    """The last minute of a search, in which the default configuration trains, is not "0 s left"."""
    ended = TRIALS[:2]
    assert live_table.seconds_left(ended, CONFIG, planned=2) == 0
    assert " left" not in live_table.summary(ended, CONFIG, planned=2)
    compared = dataclasses.replace(CONFIG, compare_default=True)
    assert live_table.seconds_left(ended, compared, planned=2) == pytest.approx(10)
    assert "about 10 s left" in live_table.summary(ended, compared, planned=2)
    repeated = dataclasses.replace(CONFIG, num_seeds=3, top=2, num_workers=2)
    assert live_table.seconds_left(ended, repeated, planned=2) == pytest.approx(20)


def test_a_trial_is_one_line_where_there_is_no_terminal():
    found = list(TRIALS[:2])
    stream = io.StringIO()
    with live_table.LiveTable(lambda: list(found), CONFIG, planned=20, stream=stream):
        found += TRIALS[2:]
    lines = stream.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["02", "03"]  # not what was there before
    assert "pruned 2/8 epochs  val_auroc 0.5000 (best 0.9000, trial 01)" in lines[0]
    assert "out of memory: killed" in lines[1]


def test_trials_to_the_end_rank_before_pruned_ones_and_failed_ones_not_at_all():
    early = trial(5, 0.99, status="pruned")
    ranked = leaderboard.ranked([*TRIALS[:4], early], "val_auroc")
    assert [one.trial_id for one in ranked] == ["01", "00", "05", "02"]
