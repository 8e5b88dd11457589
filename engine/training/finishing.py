"""What a run does after its last epoch: calibration and threshold, the figure, the summary, the report."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from engine.base import files
from engine.base.settings import TrainConfig
from engine.pipeline import augmentation
from engine.runs import history_plot, report
from engine.runs.run_directory import RunDirectory
from engine.training import decision, losses
from engine.training.history import Row
from engine.training.refitted_head import Refit
from engine.training.state import TrainState
from engine.training.validation import Validation


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes:
        history: one row per epoch, with the fields of `history.csv`.
        best_epoch, best_value: by the monitored metric, epochs counted from 1.
        images_per_second: of the training steps alone, without validating, saving and loading; the
            median over epochs, the first (compilation) left out if there are more.
        train_seconds: of the training steps alone, compilation included.
        seconds: from loading to the end, everything included, of all the processes that took part
            (what one did after its last checkpoint, if it was killed, is not known).
        refitted: how the head of the best epoch was solved for again, where it was.
        stopped: whether it was asked to stop before the end; `resume` continues it.
        diagnosis: what limited the speed, if that was requested.
        is_chief: whether this process wrote the run's files; of several workers one does.
    """

    history: list[Row]
    monitor: str
    best_epoch: int
    best_value: float
    images_per_second: float
    train_seconds: float
    seconds: float
    threshold: float | None
    stopped: bool
    refitted: Refit | None = None
    diagnosis: str | None = None
    is_chief: bool = True


def result_of(state: TrainState, *, stopped: bool, is_chief: bool) -> TrainResult:
    """How a training stands, before a threshold is chosen."""
    speeds = [row["images_per_second"] for row in state.rows]
    return TrainResult(
        history=state.rows,
        monitor=state.progress.monitor,
        best_epoch=state.progress.best_epoch,
        best_value=math.nan if state.best is None else float(state.progress.best_value or 0),
        images_per_second=float(np.median(speeds[1:] or speeds or [math.nan])),
        train_seconds=sum(row["train_seconds"] for row in state.rows),
        seconds=state.seconds(),
        threshold=None,
        stopped=stopped,
        is_chief=is_chief,
    )


def finish(
    result: TrainResult,
    state: TrainState,
    run: RunDirectory,
    *,
    validation: Validation,
    threshold_rule: str | None,
    prior: Sequence[float],
    learned_with: list[str],
    figure_formats: Sequence[str] = ("png",),
    remember: Callable[[], None] = lambda: None,
) -> TrainResult:
    """Completes a run's directory, whose model has its final weights.

    Args:
        threshold_rule: how the decision threshold is chosen; None where there is none to choose.
        prior: the share of each class that training implied.
        learned_with: see `learned_with`.
        figure_formats: what the history is drawn as.
        remember: called once the model is final, for what else the run keeps of its data.
    """
    labels, log_odds = validation.log_odds()
    threshold = decision.complete(run, labels, log_odds, rule=threshold_rule, prior=prior)
    remember()
    history_plot.draw(
        state.rows,
        run.history_figure,
        best_epoch=result.best_epoch,
        learned_with=learned_with,
        formats=figure_formats,
    )
    result = dataclasses.replace(result, threshold=threshold, seconds=state.seconds())
    files.write_json(
        run.training_summary,
        {
            "images_per_second": round(result.images_per_second, 1),
            "train_seconds": round(result.train_seconds, 1),
            "seconds": round(result.seconds, 1),
            "epochs": len(result.history),
            "best_epoch": result.best_epoch,
            "monitor": result.monitor,
            "best_value": result.best_value,
            "parameters": state.model.count_params(),
            **({} if result.refitted is None else {"refit_head": result.refitted.to_json()}),
        },
    )
    report.write_report(run)
    return result


def learned_with(config: TrainConfig, *, has_dropout: bool) -> list[str]:
    """What the training loss and accuracy are measured with, and validation without.

    Args:
        has_dropout: whether layers drop something in training.
    """
    balanced = config.class_weights == "balanced" and config.sampling != "balanced"
    applies = {
        "augmented images": bool(augmentation.strengths_from(config)),
        "images mixed in pairs": bool(config.mixup or config.cutmix),
        f"labels smoothed by {config.label_smoothing:g}": config.label_smoothing > 0
        and config.loss in losses.BUILT_IN,
        "the probabilities of a teacher": config.distill_from is not None,
        "classes weighted alike": balanced,
        "classes drawn alike": config.sampling == "balanced",
        "dropout": has_dropout,
        "weights that are not averaged": config.ema_momentum > 0 or config.average_from is not None,
    }
    return [name for name, applied in applies.items() if applied]
