"""Keras callbacks in this engine's loop: called as `Model.fit` calls them, with its logs.

What a callback of the user's own, or W&B's, MLflow's or TensorBoard's, finds here:

model     the model that is trained, its `optimizer` while a hook runs, and `stop_training`
params    `epochs`, `steps` per epoch, `verbose` 0
logs      of an epoch: `accuracy`, `loss`, `val_accuracy`, `val_auroc`, `val_loss`, `learning_rate`; of a
          batch: `accuracy` and `loss` of the epoch so far; of a validation: `accuracy`, `auroc`, `loss`

From the beginning of a validation to the end of its epoch the model has the weights that were validated
(averaged ones, if weights are averaged); what a hook changes of them then is undone. Hooks of single
batches are called only if a callback has any of its own; steps then run one at a time. On several
workers only the chief's callbacks are called. A checkpoint holds what callbacks have changed of their
own numbers, strings, lists of these and lists of arrays, such as the patience of `EarlyStopping`; a
resumed run restores it after `on_train_begin`, where it is given callbacks of the same classes.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from engine.base import progress
from engine.base.config import UserError
from engine.pipeline import callback_state
from engine.training.checkpoints import Checkpoint

_REPLACED = {  # callbacks of Keras that do not work here, and what does their work
    keras.callbacks.BackupAndRestore: "resume=True continues a run at its exact batch",
    keras.callbacks.SwapEMAWeights: "ema_momentum=... averages weights",
}
_BATCH_HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
_MISSING = object()


class Callbacks:
    """Calls Keras callbacks, in the order in which they were given.

    Args:
        callbacks: those that passed `check`; may be none.
        model: what they see; `optimizer` belongs to it while they run.
        epochs: how many in all.
        steps_per_epoch: batches of an epoch.
        say: takes lines for the user.

    Attributes:
        need_batches: whether any of them has hooks of single batches.
    """

    def __init__(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        *,
        epochs: int,
        steps_per_epoch: int,
        say: Callable[[str], None] = progress.say,
    ) -> None:
        self._callbacks, self._model, self._optimizer = list(callbacks), model, optimizer
        self._params = {"epochs": epochs, "steps": steps_per_epoch, "verbose": 0}
        self._say = say
        self._initial: list[dict[str, Any]] = []  # their attributes as training begins
        self._resumed: Checkpoint | None = None
        self.need_batches = any(_needs_batches(callback) for callback in callbacks)

    @property
    def stop_training(self) -> bool:
        """Whether a callback has requested the end of training."""
        return bool(self._callbacks) and bool(self._model.stop_training)

    def on_train_begin(self) -> None:
        """Introduces the model, calls `on_train_begin`, then restores the state of a resumed run."""
        if not self._callbacks:
            return
        self._model.stop_training = False
        with self._compiled():
            for callback in self._callbacks:
                callback.set_params(dict(self._params))
                callback.set_model(self._model)
        self._call("on_train_begin", {})
        self._initial = [callback_state.initial(callback) for callback in self._callbacks]
        if self._resumed is not None:
            self._restore(self._resumed)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Takes the callbacks' own state from a checkpoint, as soon as training begins."""
        stored = [state["class"] for state in checkpoint.state.get("callbacks", [])]
        given = [type(callback).__name__ for callback in self._callbacks]
        if stored == given:
            self._resumed = checkpoint
        elif stored:
            self._say(
                f"callbacks: the run had {', '.join(stored)}, now {', '.join(given) or 'none'}; their "
                "own state, such as patience, starts anew"
            )

    def state(self) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
        """What training has changed in the callbacks: JSON values, and arrays for a checkpoint."""
        states: list[dict[str, Any]] = []
        arrays: dict[str, np.ndarray] = {}
        for number, (callback, initial) in enumerate(
            zip(self._callbacks, self._initial, strict=False)
        ):
            values, lists = callback_state.changed(callback, initial)
            lengths = {name: len(each) for name, each in lists.items()}
            states.append({"class": type(callback).__name__, "values": values, "lists": lengths})
            for name, each in lists.items():
                arrays |= dict(zip(_keys(number, name, len(each)), each, strict=True))
        return states, arrays

    def _restore(self, checkpoint: Checkpoint) -> None:
        states = checkpoint.state["callbacks"]
        for number, (callback, state) in enumerate(zip(self._callbacks, states, strict=True)):
            for name, value in state["values"].items():
                setattr(callback, name, value)
            for name, length in state["lists"].items():
                arrays = [checkpoint.arrays[key] for key in _keys(number, name, length)]
                setattr(callback, name, arrays)

    def on_train_end(self, logs: dict[str, float]) -> None:
        """Calls `on_train_end` with the logs of the last epoch; the model has its final weights then."""
        self._call("on_train_end", logs)

    def on_epoch_begin(self, epoch: int) -> None:
        """Calls `on_epoch_begin`; epochs are counted from 0, as everywhere in Keras."""
        self._call("on_epoch_begin", epoch, {})

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Calls `on_epoch_end`."""
        self._call("on_epoch_end", epoch, logs)

    def on_train_batch_begin(self, batch: int) -> None:
        """Calls `on_train_batch_begin`; batches are counted from 0 in each epoch."""
        self._call("on_train_batch_begin", batch, {})

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        """Calls `on_train_batch_end`."""
        self._call("on_train_batch_end", batch, logs)

    def on_test_begin(self) -> None:
        """Calls `on_test_begin`, before validation."""
        self._call("on_test_begin", {})

    def on_test_end(self, logs: dict[str, float]) -> None:
        """Calls `on_test_end`, after validation."""
        self._call("on_test_end", logs)

    def _call(self, hook: str, *arguments: Any) -> None:
        if not self._callbacks:
            return
        *place, logs = arguments
        with self._compiled():
            for callback in self._callbacks:
                getattr(callback, hook)(*place, dict(logs))

    @contextlib.contextmanager
    def _compiled(self) -> Iterator[None]:
        """Within the block the model has its optimizer; the engine's own model files hold none."""
        earlier = getattr(self._model, "optimizer", _MISSING)
        self._model.optimizer = self._optimizer
        try:
            yield
        finally:
            if earlier is _MISSING:
                del self._model.optimizer
            else:
                self._model.optimizer = earlier


def check(callbacks: Sequence[Any], *, schedule: str) -> None:
    """Raises `UserError` unless these are Keras callbacks that work here, under this schedule."""
    if not isinstance(callbacks, Sequence):
        raise UserError(f"callbacks: got {callbacks!r}, expected a list of Keras callbacks")
    for callback in callbacks:
        if not isinstance(callback, keras.callbacks.Callback):
            raise UserError(
                f"callbacks: got {callback!r}, expected instances of keras.callbacks.Callback"
            )
        for kind, setting in _REPLACED.items():
            if isinstance(callback, kind):
                raise UserError(
                    f"callbacks: {type(callback).__name__} does not work here and is not needed: "
                    f"{setting}"
                )
        if sets_rate([callback]) and schedule != "constant":
            raise UserError(
                f"callbacks: {type(callback).__name__} sets the learning rate, which follows --schedule "
                f"{schedule}; give schedule constant"
            )


def sets_rate(callbacks: Sequence[keras.callbacks.Callback]) -> bool:
    """Whether any of Keras' callbacks that set the learning rate is among them."""
    kinds = (keras.callbacks.ReduceLROnPlateau, keras.callbacks.LearningRateScheduler)
    return any(isinstance(callback, kinds) for callback in callbacks)


def epoch_logs(row: dict[str, float]) -> dict[str, float]:
    """What `Model.fit` would log of an epoch, out of its row."""
    names = ("accuracy", "loss", "val_accuracy", "val_auroc", "val_loss", "learning_rate")
    return {name: float(row[name]) for name in names}


def last_logs(rows: list[dict[str, float]]) -> dict[str, float]:
    """The logs of the last epoch; none before the first has ended."""
    return epoch_logs(rows[-1]) if rows else {}


def _keys(number: int, name: str, length: int) -> list[str]:
    return [f"callbacks/{number}/{name}/{index:05d}" for index in range(length)]


def _needs_batches(callback: keras.callbacks.Callback) -> bool:
    """Whether a callback does anything at single batches; Keras' own have hooks that often do nothing."""
    if isinstance(callback, keras.callbacks.ModelCheckpoint):
        return callback.save_freq != "epoch"
    if isinstance(callback, keras.callbacks.TensorBoard):
        traces = getattr(callback, "_should_trace", True)
        return callback.update_freq != "epoch" or callback.write_steps_per_second or traces
    for hook in _BATCH_HOOKS:
        found = getattr(callback, hook)
        if getattr(found, "__func__", found) is not getattr(keras.callbacks.Callback, hook):
            return True
    return False
