"""A callback for plain `Model.fit` that resumes an interrupted training at the exact batch.

Keras' own `BackupAndRestore` restores the weights of any batch but restarts at the epoch's
beginning, so that what came before is seen twice and, with an endless dataset, what comes later is
never seen. Here the dataset is opened at the batch that is due, and `fit` counts through those that
are done without reading or training them.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.random.seed_generator import global_seed_generator

from engine.base import array_files
from engine.base.config import UserError
from engine.pipeline import callback_state
from engine.pipeline.plan import check_count

_VERSION = 1


class ResumeTraining(keras.callbacks.Callback):
    """Saves the whole state of a `Model.fit`, and resumes from it at the exact batch.

        resume = datasets.ResumeTraining("run/resume.npz", steps_per_epoch=steps, save_every=200)
        train = datasets.training("shards", global_batch_size=64, start_step=resume.start_step)
        model.fit(
            train,
            steps_per_epoch=steps,
            epochs=10,
            initial_epoch=resume.initial_epoch,
            callbacks=[early_stopping, resume],
        )

    The same script starts a training and, after a kill, resumes it with its weights, optimizer,
    random layers, `History` and the metrics of the epoch so far. The result is that of an
    undisturbed training, to the bit. All variables are saved in the foreground; a kill loses at
    most `save_every` batches, which are trained again as before.

    Weights, optimizer and random state come back to the bit, on several devices too; there, the
    mean of a metric over the epoch that is resumed may differ in its last bit.

    Not saved are the random state of Python and NumPy, of TensorFlow's stateful operations, and the
    state of callbacks that are not given as `stateful`.

    Args:
        path: the file of the state; it is replaced in one step, so a kill leaves a whole one.
        steps_per_epoch: what `fit` is given.
        save_every: batches between two saves within an epoch; None saves at the ends of epochs
            only.
        stateful: other callbacks of the same `fit` whose state is to be resumed, such as
            `EarlyStopping` and `ReduceLROnPlateau`: the numbers, strings and lists that they
            changed. Give them to `fit` as well.

    Attributes:
        initial_epoch: for `fit`: the epoch to begin in, counted from 0. Where a callback ended the
            training early, the number of epochs it was to have: nothing is left to train then.
        start_step: for the dataset: the number of batches seen so far.

    Give it to `fit` behind all callbacks that change the model, the learning rate or their own
    state.

    Raises:
        UserError: the file is damaged or of another number of steps; or, from `fit`: of another
            model, optimizer or metrics, or `fit` begins elsewhere.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        steps_per_epoch: int,
        save_every: int | None = None,
        stateful: Sequence[keras.callbacks.Callback] = (),
    ) -> None:
        super().__init__()
        check_count("steps_per_epoch", steps_per_epoch)
        if save_every is not None:
            check_count("save_every", save_every)
        _check_callbacks(stateful)
        self._path, self._steps_per_epoch = Path(path), steps_per_epoch
        self._save_every = save_every
        self._stateful = [(callback, callback_state.initial(callback)) for callback in stateful]
        self._arrays, self._state = self._read()
        ended = self._state["ended_epochs"]
        self.initial_epoch: int = self._state["epoch"] if ended is None else ended
        self.start_step: int = self._state["batches_seen"]
        self._executions = 0  # of the train function, in the epoch so far
        self._resumed_executions = self._state["executions"]  # in the first epoch
        self._begun = False
        self._metrics: list[np.ndarray] | None = None  # before validation started them from zero

    def _read(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        if not self._path.exists():
            counts = dict.fromkeys(("epoch", "executions", "batches_seen"), 0)
            return {}, {**counts, "ended_epochs": None, "epochs": [], "history": {}}
        if self._path.is_dir():
            raise UserError(
                f"{self._path} is a directory, expected a file, such as {self._path / 'resume.npz'}"
            )
        found = array_files.read(self._path, version=_VERSION)
        if found is None:
            raise UserError(
                f"{self._path} is damaged, or not the state of a training; give another path, or "
                "remove the file to start from the beginning"
            )
        arrays, state = found
        if state["steps_per_epoch"] != self._steps_per_epoch:
            raise UserError(
                f"{self._path} is of a training with steps_per_epoch={state['steps_per_epoch']}, got "
                f"{self._steps_per_epoch}; give the same number, or remove the file"
            )
        return arrays, state

    def on_train_begin(self, logs: Any = None) -> None:
        """Restores weights, optimizer, random state and other callbacks."""
        if not self.model.built:
            raise UserError(
                "ResumeTraining needs a model that has its variables before fit; begin it with "
                "keras.Input(...), or call model.build(...)"
            )
        if self.params.get("steps") != self._steps_per_epoch:
            raise UserError(
                f"fit has steps_per_epoch={self.params.get('steps')}, ResumeTraining "
                f"{self._steps_per_epoch}; give both the same number"
            )
        self.model.optimizer.build(self.model.trainable_variables)
        if not self._arrays:
            return
        executed = self._state["steps_per_execution"]
        if executed != self.model.steps_per_execution:
            raise UserError(
                f"{self._path} is of a model with steps_per_execution={executed}, got "
                f"{self.model.steps_per_execution}; compile with the same number"
            )
        for kind, variables in self._variables().items():
            self._assign(kind, variables)
        self._restore_callbacks()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """In the epoch that is resumed, counts through the batches that are done."""
        self._executions = 0
        if self._begun:
            self._resumed_executions = 0
            return
        self._begun = True
        if epoch != self.initial_epoch:
            raise UserError(
                f"fit begins in epoch {epoch}, but training is to begin in epoch "
                f"{self.initial_epoch}; give fit initial_epoch=resume.initial_epoch"
            )
        self._restore_history()
        if self._resumed_executions:
            self._count_through(self._resumed_executions)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Saves where a save is due."""
        each = self.model.steps_per_execution
        before, done = self._executions * each, (self._executions + 1) * each
        self._executions += 1
        if self._save_every is None or self._executions <= self._resumed_executions:
            return
        is_due = before // self._save_every != done // self._save_every
        if is_due and done < self._steps_per_epoch:
            self._save_within_epoch(self._metric_values())

    def on_test_begin(self, logs: Any = None) -> None:
        """Keeps the metrics of the training, which validation starts from zero."""
        self._metrics = self._metric_values()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Saves; an epoch that a callback has cut short is resumed where it was cut."""
        metrics, self._metrics = self._metrics, None
        each = self.model.steps_per_execution
        if self._executions * each < self._steps_per_epoch:
            if self._executions > self._resumed_executions:
                self._save_within_epoch(self._metric_values() if metrics is None else metrics)
            return
        for name, value in (logs or {}).items():
            self._state["history"].setdefault(name, []).append(float(value))
        self._state["epochs"].append(epoch)
        self._state["batches_seen"] += (self._executions - self._state["executions"]) * each
        self._state["executions"], self._state["epoch"] = 0, epoch + 1
        self._state["ended_epochs"] = self.params["epochs"] if self.model.stop_training else None
        self._write([])

    def on_train_end(self, logs: Any = None) -> None:
        """Completes the history of a training that had no epoch left."""
        if not self._begun:
            self._restore_history()

    def _save_within_epoch(self, metrics: list[np.ndarray]) -> None:
        each = self.model.steps_per_execution
        self._state["batches_seen"] += (self._executions - self._state["executions"]) * each
        self._state["executions"] = self._executions
        self._write(metrics)

    def _write(self, metrics: list[np.ndarray]) -> None:
        arrays = _named("metrics", metrics)
        for kind, variables in self._variables().items():
            arrays |= _named(kind, [_as_array(variable) for variable in variables])
        states = []
        for number, (callback, initial) in enumerate(self._stateful):
            values, lists = callback_state.changed(callback, initial)
            states.append({"values": values, "lists": {n: len(each) for n, each in lists.items()}})
            for name, each in lists.items():
                arrays |= _named(f"callbacks/{number}/{name}", each)
        header = {
            **self._state,
            "steps_per_epoch": self._steps_per_epoch,
            "steps_per_execution": self.model.steps_per_execution,
            "callbacks": states,
        }
        array_files.write(self._path, arrays=arrays, header=header, version=_VERSION)

    def _variables(self) -> dict[str, list[Any]]:
        return {
            "model": list(self.model.variables),  # with the seeds of random layers
            "optimizer": list(self.model.optimizer.variables),
            # Of layers that draw without a seed of their own.
            "seed": [global_seed_generator().state],
        }

    def _metric_values(self) -> list[np.ndarray]:
        return [_as_array(variable) for variable in self.model.metrics_variables]

    def _assign(self, kind: str, variables: list[Any]) -> None:
        arrays = [array for name, array in self._arrays.items() if name.startswith(f"{kind}/")]
        shapes = [array.shape for array in arrays]
        found = [tuple(variable.shape) for variable in variables]
        if shapes != found:
            raise UserError(
                f"{self._path} holds another {kind}: {len(shapes)} variables of "
                f"{_size(shapes):,} numbers, expected {len(found)} of {_size(found):,}; build the same "
                "as before, or remove the file"
            )
        for variable, array in zip(variables, arrays, strict=True):
            dtype = tf.as_dtype(variable.dtype).as_numpy_dtype
            variable.assign(array if array.dtype == dtype else array.view(dtype))

    def _restore_callbacks(self) -> None:
        states = self._state["callbacks"]
        if len(states) != len(self._stateful):
            raise UserError(
                f"{self._path} holds the state of {len(states)} other callbacks, got "
                f"{len(self._stateful)}; give the same stateful=[...]"
            )
        for number, ((callback, _), state) in enumerate(zip(self._stateful, states, strict=True)):
            for name, value in state["values"].items():
                setattr(callback, name, value)
            for name, count in state["lists"].items():
                prefix = f"callbacks/{number}/{name}"
                setattr(callback, name, [self._arrays[key] for key in _keys(prefix, count)])

    def _restore_history(self) -> None:
        """Gives `History`, which `fit` returns, the epochs that came before."""
        history = self.model.history
        history.epoch = list(self._state["epochs"])
        history.history = {name: list(each) for name, each in self._state["history"].items()}

    def _count_through(self, executions: int) -> None:
        """Lets `fit` run through `executions` calls of the train function, which do nothing."""
        train, left = self.model.train_function, executions

        def counted(iterator: Any) -> Any:
            nonlocal left
            if left == executions:
                self._restore_metrics(iterator)
            left -= 1
            if left == 0:
                self.model.train_function = train
            return self.model.get_metrics_result()

        self.model.train_function = counted

    def _restore_metrics(self, iterator: Any) -> None:
        saved = sum(name.startswith("metrics/") for name in self._arrays)
        if len(self.model.metrics_variables) != saved:
            # Keras makes the metrics of `compile` when it first traces a step, which runs nothing.
            step = tf.function(self.model.train_step, autograph=False)
            step.get_concrete_function(iterator.element_spec)
        self._assign("metrics", self.model.metrics_variables)
        self._arrays = {}


def _check_callbacks(callbacks: Any) -> None:
    wrong = callbacks
    if isinstance(callbacks, (list, tuple)):
        others = [
            callback for callback in callbacks if not isinstance(callback, keras.callbacks.Callback)
        ]
        if not others:
            return
        wrong = others[0]
    raise UserError(f"stateful must be a list of Keras callbacks, got {type(wrong).__name__}")


def _as_array(variable: Any) -> np.ndarray:
    """A variable's value; bfloat16, which NumPy's files do not know, as the same bits."""
    array = keras.ops.convert_to_numpy(variable)
    return array.view(f"u{array.itemsize}") if array.dtype.kind == "V" else array


def _named(prefix: str, arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    return dict(zip(_keys(prefix, len(arrays)), arrays, strict=True))


def _keys(prefix: str, count: int) -> list[str]:
    return [f"{prefix}/{number:05d}" for number in range(count)]


def _size(shapes: Sequence[tuple[int, ...]]) -> int:
    return sum(math.prod(shape) for shape in shapes)
