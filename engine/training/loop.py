"""The loop over epochs: steps, validation, best weights, learning rate, checkpoints, divergence.

Everything that it decides by lies in a `TrainState`, so it starts from wherever that stands.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from engine.base import progress
from engine.networks.stock import StockModel
from engine.runs import report
from engine.runs.run_directory import RunDirectory
from engine.training import (
    checkpoints,
    divergence,
    history,
    optimization,
    periodic,
    runtime,
    step_blocks,
)
from engine.training.callbacks import Callbacks, epoch_logs
from engine.training.divergence import REWIND_FACTOR, DivergenceError
from engine.training.history import Row
from engine.training.solved_head import Fit, HeadFit
from engine.training.state import TrainState
from engine.training.training_sample import TrainingSample
from engine.training.training_step import TrainingStep
from engine.training.validation import Validation
from engine.training.weight_averaging import FinalWeights


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What the loop runs and decides by.

    Attributes:
        epochs: how many in all, those of the state included.
        steps_per_epoch, global_batch_size: of the training split.
        freeze_epochs: how many epochs at first train the head alone.
        early_stopping_patience: epochs without progress that end training; 0 for never. Those of the
            head alone do not count, unless there are no others.
        plateau_patience: epochs that reduce the learning rate, likewise; None for never.
        plateau_factor: what it is multiplied by then.
        min_learning_rate: what that does not go below.
        max_rewinds: how often a divergence is answered by going back to the last checkpoint.
        steps_per_execution, checkpoint_every, profile: see `step_blocks.StepBlocks`,
            `periodic.Interval` (steps or seconds) and `periodic.Trace`.
    """

    epochs: int
    steps_per_epoch: int
    global_batch_size: int
    freeze_epochs: int = 0
    early_stopping_patience: int = 0
    plateau_patience: int | None = None
    plateau_factor: float = 1.0
    min_learning_rate: float = 0.0
    max_rewinds: int = 0
    steps_per_execution: str = "1"
    checkpoint_every: tuple[int | None, float | None] = (None, None)
    profile: tuple[int, int] | None = None


class Loop:
    """Runs a training's epochs, from the state that it is given.

    Args:
        open_batches: the training batches from a global step on.
        paths: the source files of the images in the batch of a step, counted from 0.
        saved: the form of the network that is written as the run's model file.
        solve_head: finds the head's weights in place of the steps that train it alone; None for steps.
        callbacks: called as `Model.fit` calls them; `on_train_end` is left to the caller.
        run: where checkpoints, logs and the model file go.
        say: takes lines for the user.

    Attributes:
        stopped: whether it ended because a stop was asked for.
    """

    def __init__(
        self,
        plan: Plan,
        state: TrainState,
        step: TrainingStep,
        *,
        open_batches: Callable[[int], Iterator[Any]],
        paths: Callable[[int], list[str]],
        validation: Validation,
        sample: TrainingSample,
        final_weights: FinalWeights,
        saved: StockModel,
        callbacks: Callbacks,
        run: RunDirectory,
        run_on: runtime.Runtime,
        say: Callable[[str], None],
        solve_head: Fit | None = None,
    ) -> None:
        self._plan, self._state, self._step = plan, state, step
        self._open_batches, self._paths = open_batches, paths
        self._validation, self._sample = validation, sample
        self._final_weights, self._saved = final_weights, saved
        self._callbacks = callbacks
        self._run, self._runtime, self._say = run, run_on, say
        self._batches: Iterator[Any] | None = None
        self._solve_head = solve_head
        self._fit: HeadFit | None = None  # of the epoch so far
        self._asked = self._told = False  # to stop: this worker; any worker, as the last step told
        self.stopped = False
        self._logs = history.Logs(run.history, run.tensorboard)
        self._checkpoints = checkpoints.Writer(run.checkpoints)
        self._interval = periodic.Interval(*plan.checkpoint_every)
        self._blocks = step_blocks.StepBlocks(
            plan.steps_per_execution, on_gpu=run_on.on_gpu, agreed=run_on.agreed
        )
        self._trace = periodic.Trace(plan.profile, run.tensorboard)

    @property
    def is_done(self) -> bool:
        """Whether all epochs have run, or a callback has ended the training."""
        # A callback's end is final, until the run is extended to more epochs.
        ended = self._state.ended_of == self._plan.epochs
        return ended or len(self._state.rows) >= self._plan.epochs

    def run(self, should_stop: Callable[[], bool], ends_early: Callable[[list[Row]], bool]) -> None:
        """Runs epochs until they are done, progress has stopped, or a stop is asked for.

        Args:
            should_stop, ends_early: see `trainer.train`.

        Raises:
            DivergenceError: the loss became infinite or NaN, and there is no going back.
        """
        if self._plan.max_rewinds and not self._state.global_step:
            self._save_checkpoint()
        if not self.is_done:
            self._open_next()
        self._callbacks.on_train_begin()
        while not self.is_done and not self._out_of_patience():
            if self._state.rows and ends_early(list(self._state.rows)):
                break
            try:
                self._train_epoch(should_stop)
            except DivergenceError as error:
                self._rewind(error)
                self._reopen_batches()
                continue
            if self.stopped:
                self._save_within_epoch()
                break
            self._end_epoch()
        self._checkpoints.wait()

    def close(self) -> None:
        """Releases the batches and the logs; what is being saved is saved first."""
        self._batches = None
        self._trace.close()
        self._checkpoints.close()
        self._logs.close()

    def _reopen_batches(self) -> None:
        # Those before are closed first: the memory tier's hold the whole split.
        self._batches = None
        self._batches = self._open_batches(self._state.global_step)

    def _open_next(self) -> None:
        """Opens the batches, if the next epoch takes any and they are not open."""
        if self._batches is None and not self._is_solved(len(self._state.rows)):
            self._reopen_batches()
            self._say("compiling the training step ...")

    def _is_solved(self, epoch: int) -> bool:
        """Whether an epoch, counted from 0, is solved rather than stepped."""
        return self._solve_head is not None and epoch < self._plan.freeze_epochs

    def _train_epoch(self, should_stop: Callable[[], bool]) -> None:
        """Runs what is left of the current epoch."""
        plan, state = self._plan, self._state
        epoch = len(state.rows)
        done = state.global_step - epoch * plan.steps_per_epoch
        size = plan.global_batch_size
        self._callbacks.on_epoch_begin(epoch)
        if state.is_ending and self._runtime.num_workers == 1:  # as the checkpoint says
            return
        if self._is_solved(epoch):
            self._solve(should_stop)
            return
        self._open_next()
        label = f"epoch {epoch + 1}/{plan.epochs}"
        best = state.progress.best_value
        reached = "" if best is None else f"best {state.progress.monitor} {best:.4f}"
        with progress.ProgressBar(
            label, total=plan.steps_per_epoch * size, done=done * size, lines=False
        ) as bar:
            while done < plan.steps_per_epoch:
                steps = self._run_steps(done, plan.steps_per_epoch - done)
                done += steps
                mean = state.loss_sum / (done * size)
                bar.advance(steps * size, detail=f"loss {mean:.3f} {reached}")
                self._asked = self._asked or should_stop()
                # Several workers stop together, after the step that told them of one's signal.
                self.stopped = self._told if self._runtime.num_workers > 1 else self._asked
                if self.stopped or self._callbacks_end_epoch():
                    return
                if self._interval.due(state.global_step) and done < plan.steps_per_epoch:
                    self._save_within_epoch()

    def _solve(self, should_stop: Callable[[], bool]) -> None:
        """Solves for the head, in the place of an epoch's steps."""
        assert self._solve_head is not None
        self._batches = None  # those that may be open belong to the epoch that is solved
        # Of several workers none may leave alone; they stop after the next step.
        alone = self._runtime.num_workers == 1
        self._fit = self._solve_head(should_stop if alone else lambda: False)
        if self._fit is None:
            self.stopped = True
            return
        optimization.pass_over(self._state.optimizer, self._plan.steps_per_epoch)
        self._state.global_step += self._plan.steps_per_epoch
        self._state.train_seconds += self._fit.seconds

    def _callbacks_end_epoch(self) -> bool:
        """Whether a callback ended training at a batch: on several workers it is heard at the epoch's end."""
        return self._runtime.num_workers == 1 and self._callbacks.stop_training

    def _run_steps(self, done: int, left: int) -> int:
        """Runs the next steps of the epoch together, at most `left`; returns how many.

        Args:
            done: steps of the epoch so far.
        """
        state, by_batch = self._state, self._callbacks.need_batches
        self._trace.before(state.global_step + 1)
        steps = self._blocks.length(
            1 if by_batch else left,
            self._interval.steps_until_due(state.global_step),
            self._trace.steps_until_edge(state.global_step),
        )
        if by_batch:
            self._callbacks.on_train_batch_begin(done)
        started = time.perf_counter()
        assert self._batches is not None
        losses, correct, self._told = self._step.run(
            self._batches,
            steps,
            stop=self._asked,
            head_only=len(state.rows) < self._plan.freeze_epochs,
        )
        seconds = time.perf_counter() - started
        self._blocks.ran(steps, seconds)
        state.train_seconds += seconds
        self._check_finite(losses)
        state.global_step += steps
        self._trace.after(state.global_step)
        # One by one, so that the sum does not depend on how many ran together.
        for loss in losses.tolist():
            state.loss_sum += loss
        state.correct_sum += correct
        if by_batch:
            images = (done + 1) * self._plan.global_batch_size
            logs = {"accuracy": state.correct_sum / images, "loss": state.loss_sum / images}
            self._callbacks.on_train_batch_end(done, logs)
        return steps

    def _end_epoch(self) -> None:
        """Validates, logs, keeps the best weights, adapts the learning rate, checkpoints."""
        state = self._state
        epoch = len(state.rows)
        with self._final_weights.in_place():
            row = self._epoch_row()
            row = dict(zip(row, self._runtime.agreed(row.values()), strict=True))
            improved = state.progress.update(row)
            if improved or state.best is None:
                state.keep_best()
                self._saved.save(self._run.model)
                if self._run.report.is_file():
                    report.write_report(self._run)  # its figures are of the model before
            self._callbacks.on_epoch_end(epoch, epoch_logs(row))
        ending = state.is_ending or self._callbacks.stop_training
        if any(self._runtime.agreed([ending])):
            state.ended_of = self._plan.epochs
        # A callback may have ended the epoch before its last batch.
        state.global_step = (epoch + 1) * self._plan.steps_per_epoch
        state.end_epoch(row)
        self._fit = None
        self._reduce_on_plateau()
        self._logs.write(state.rows)
        self._save_checkpoint()
        self._say(history.epoch_line(row, epochs=self._plan.epochs, best=improved))

    def _epoch_row(self) -> Row:
        state = self._state
        steps = state.global_step - len(state.rows) * self._plan.steps_per_epoch
        images = steps * self._plan.global_batch_size
        if (fit := self._fit) is not None:
            trained = fit.loss, fit.accuracy, 0.0, fit.images_per_second
        else:
            rate = optimization.learning_rate_before(state.optimizer, 1)
            speed = images / state.train_seconds
            trained = state.loss_sum / images, state.correct_sum / images, rate, speed
        loss, accuracy, learning_rate, images_per_second = trained
        return {
            "epoch": len(state.rows) + 1,
            "loss": loss,
            "accuracy": accuracy,
            **self._validate(),
            **self._sample.measure(),  # after it: a network may draw random numbers in both
            "learning_rate": learning_rate,
            "images_per_second": images_per_second,
            "train_seconds": state.train_seconds,
        }

    def _validate(self) -> Row:
        self._callbacks.on_test_begin()
        found = self._validation.measure()
        self._callbacks.on_test_end(
            {name.removeprefix("val_"): value for name, value in sorted(found.items())}
        )
        return found

    def _reduce_on_plateau(self) -> None:
        plan, state = self._plan, self._state
        patience = plan.plateau_patience
        if patience is None or not state.progress.on_plateau(patience, self._whole_epochs()):
            return
        factor, least = plan.plateau_factor, plan.min_learning_rate
        if optimization.reduce_learning_rate(state.optimizer, factor, least=least):
            rate = optimization.current_learning_rate(state.optimizer)
            self._say(f"no progress: learning rate reduced to {rate:.2g}")

    def _out_of_patience(self) -> bool:
        patience = self._plan.early_stopping_patience
        stale = min(self._state.progress.stale_epochs, self._whole_epochs())
        if not patience or stale < patience:
            return False
        self._say(f"no progress for {patience} epochs: stopping early")
        return True

    def _whole_epochs(self) -> int:
        """The epochs so far that trained all there is to train: those of the head alone try no patience."""
        rows, plan = len(self._state.rows), self._plan
        return rows - plan.freeze_epochs if plan.freeze_epochs < plan.epochs else rows

    def _check_finite(self, losses: np.ndarray) -> None:
        """Raises `DivergenceError` on the first loss that is not finite, of the steps just run."""
        first = divergence.first_not_finite(losses)
        if first is None:
            return
        step = self._state.global_step + first
        raise divergence.report(
            float(losses[first]),
            step=step + 1,
            learning_rate=optimization.learning_rate_before(
                self._state.optimizer, len(losses) - first
            ),
            paths=self._paths(step),
            listing=self._run.diverged_batch,
        )

    def _rewind(self, error: DivergenceError) -> None:
        """Goes back to the last checkpoint with a lower learning rate, or raises `error`."""
        state = self._state
        self._checkpoints.wait()
        checkpoint = checkpoints.load_newest(self._run.checkpoints)
        if state.rewinds >= self._plan.max_rewinds or checkpoint is None:
            raise error
        state.rewind(checkpoint)
        # From the checkpoint's own rate, which may be that of several rewinds before.
        factor = REWIND_FACTOR ** (state.rewinds - checkpoint.state["rewinds"])
        optimization.scale_learning_rate(state.optimizer, factor)
        rate = optimization.current_learning_rate(state.optimizer)
        self._say(
            f"{error}\ngoing back to step {state.global_step} with a learning rate of {rate:.2g} "
            f"(rewind {state.rewinds} of at most {self._plan.max_rewinds})"
        )

    def _save_within_epoch(self) -> None:
        """Saves before the end of an epoch, with what callbacks have decided in it."""
        self._state.is_ending = self._state.is_ending or self._callbacks.stop_training
        self._save_checkpoint()

    def _save_checkpoint(self) -> None:
        checkpoint = self._state.to_checkpoint()
        values, arrays = self._callbacks.state()
        self._checkpoints.save(
            step=checkpoint.step,
            arrays=checkpoint.arrays | arrays,
            state={**checkpoint.state, "callbacks": values},
        )
