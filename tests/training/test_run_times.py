"""What the seconds of a run and of its epochs count."""

import functools
import json

import pytest
from striped_trainings import STEPS, diverging, stop_after, train, with_

from engine.metrics import curves
from engine.networks.stock import StockModel
from engine.runs.run_directory import RunDirectory
from engine.training import periodic
from engine.training.training_step import TrainingStep

pytestmark = pytest.mark.usefixtures("undrawn")


# Of an epoch: one pass over validation and one over the sample of training images.
PASSES = 2 * 10


class FakeTime:
    """A clock that goes on by 1 second per step, 10 per pass without training, 100 per save."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        watch = functools.partial(periodic.Stopwatch, clock=lambda: self.now)
        monkeypatch.setattr(periodic, "Stopwatch", watch)
        self._slow(monkeypatch, TrainingStep, "run", 1)
        self._slow(monkeypatch, TrainingStep, "predict", 10)
        self._slow(monkeypatch, StockModel, "save", 100)

    def _slow(self, monkeypatch, owner, name, seconds):
        original = getattr(owner, name)

        def slow(*values, **options):
            self.now += seconds
            return original(*values, **options)

        monkeypatch.setattr(owner, name, slow)


def falling_auroc(monkeypatch):
    """Every epoch is worse than the first."""
    values = iter(range(0, -10, -1))
    monkeypatch.setattr(curves, "mean_auroc", lambda labels, probabilities: next(values))


def test_the_seconds_of_an_epoch_hold_validation_and_saving(striped, tmp_path, monkeypatch):
    FakeTime(monkeypatch)
    falling_auroc(monkeypatch)
    result = train(striped, tmp_path / "run", with_(epochs=2, refit_head=False))
    assert [row["seconds"] for row in result.history] == [STEPS + PASSES + 100, STEPS + PASSES]
    # One more pass over validation chooses the threshold.
    assert result.seconds == 2 * (STEPS + PASSES) + 100 + 10
    summary = json.loads(RunDirectory(tmp_path / "run").training_summary.read_text())
    assert summary["seconds"] == result.seconds
    assert summary["train_seconds"] == pytest.approx(result.train_seconds, abs=0.1)
    for row in result.history:
        speed = STEPS * 16 / row["train_seconds"]
        assert row["images_per_second"] == pytest.approx(speed)


@pytest.mark.parametrize("stop", [3, STEPS + 2])
def test_the_seconds_of_a_stopped_and_resumed_run_sum_up(striped, tmp_path, monkeypatch, stop):
    clock = FakeTime(monkeypatch)
    falling_auroc(monkeypatch)
    train(striped, tmp_path / "run", with_(epochs=2), should_stop=stop_after(stop))
    clock.now += 5000
    result = train(striped, tmp_path / "run", with_(epochs=2), resume=True)
    assert [row["seconds"] for row in result.history] == [STEPS + PASSES + 100, STEPS + PASSES]


def test_a_rewind_gives_back_no_time(striped, tmp_path, monkeypatch):
    diverging(monkeypatch, 4)
    FakeTime(monkeypatch)
    config = with_(epochs=1, on_divergence="rewind", checkpoint_every="2")
    (row,) = train(striped, tmp_path / "run", config).history
    assert row["seconds"] == 2 + STEPS + PASSES + 100
