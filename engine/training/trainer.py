"""Training, whole: `train(config, shards, workdir)` is what the command, the tuner and benchmarks call.

The configuration is unpacked here; the parts below take plain arguments. A run's directory is always
in a state that can be resumed or used: the model file holds the best epoch so far, the newest
checkpoint everything else.
"""

import contextlib
import dataclasses
import functools
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from scipy.special import expit, softmax

from engine.base import files, progress
from engine.base.config import UserError, parse_interval, parse_step_range
from engine.base.settings import TrainConfig
from engine.metrics import curves, predictions, thresholds
from engine.networks import registry
from engine.networks.network import Network
from engine.networks.training_form import TrainingForm
from engine.pipeline import augmentation, input_pipeline
from engine.pipeline.share import WHOLE, Share
from engine.runs import history_plot, report
from engine.runs.run_directory import RunDirectory
from engine.shards import dataset_checks, tfrecords
from engine.shards.tfrecords import Manifest
from engine.training import (
    callbacks,
    checkpoints,
    diagnosis,
    environment,
    optimization,
    resuming,
    runtime,
    step_blocks,
)
from engine.training.callbacks import Row
from engine.training.training_step import TrainingStep, cross_entropy_from_logits
from engine.training.weight_averaging import FinalWeights

REWIND_FACTOR = 0.1  # what the learning rate is multiplied by on going back
_NAMES_SHOWN = 3
_STATISTICS_IMAGES = 1024  # that batch normalization's statistics are estimated on


class DivergenceError(ArithmeticError):
    """The loss became infinite or NaN."""


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
        stopped: whether it was asked to stop before the end; `resume` goes on.
        diagnosis: what limited the speed, if that was asked for.
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
    diagnosis: str | None = None
    is_chief: bool = True


def train(
    config: TrainConfig,
    shards: Path | str,
    workdir: Path | str,
    *,
    resume: bool = False,
    overwrite: bool = False,
    diagnose: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    ends_early: Callable[[list[Row]], bool] = lambda rows: False,
    say: Callable[[str], None] = progress.say,
) -> TrainResult:
    """Trains a classifier on shards and leaves a run directory.

    Args:
        resume: goes on from the newest checkpoint of `workdir` (from the start, if it has none).
        overwrite: removes an earlier run in `workdir` first.
        diagnose: when done, measures what limits the training, for `TrainResult.diagnosis`.
        should_stop: asked after every step; when true, the state is saved and training ends, to be
            resumed.
        ends_early: asked with the rows of all epochs so far, after each and on resuming; when true,
            the run is finished there, as by `early_stopping_patience`. Decide by the rows alone, and a resumed
            run ends where the undisturbed one does.
        say: takes lines for the user.

    Raises:
        UserError: wrong shards, settings that do not fit them, or a `workdir` with another run
            (`resuming.OtherComputationError`: with one that `auto` computes in another way here).
        DivergenceError: the loss became infinite or NaN; the last checkpoint is kept.
    """
    shards, run = Path(shards), RunDirectory(workdir)
    manifest = tfrecords.read_manifest(shards)
    dataset_checks.check_trainable(manifest, config)
    run_on = prepare_runtime(config)
    tier = choose_tier(config, manifest)
    order = input_pipeline.order_of(manifest, tier)
    described = environment.describe(manifest, shards, run_on, order=order)
    checkpoint = None
    with contextlib.ExitStack() as stack:
        if run_on.is_chief:
            stack.enter_context(resuming.held(run))
            checkpoint = resuming.prepare_directory(
                run, config, described, resume=resume, overwrite=overwrite
            )
        if run_on.num_workers > 1:
            checkpoint = resuming.chiefs_checkpoint(run, run_on, checkpoint)
        if not run_on.is_chief:
            # The chief alone writes where the user said; the others' files are thrown away.
            run = RunDirectory(stack.enter_context(tempfile.TemporaryDirectory()))
        say(run_on.summary)
        if not run_on.is_chief:
            say = _silent
        if (warning := dataset_checks.validation_warning(manifest)) is not None:
            say(warning)
        stack.enter_context(resuming.freed_if_never_begun(run))
        resuming.record_start(run, config, described)
        if checkpoint is not None and run_on.is_chief:
            resuming.record_resume(run, environment.session(described))
        stack.enter_context(runtime.dtype_policy(run_on.precision))
        session = _Session(config, manifest, shards, tier, run, run_on, say)
        if checkpoint is not None:
            session.restore(checkpoint)
        try:
            session.train(should_stop, ends_early)
        except tf.errors.OpError as error:
            damage = input_pipeline.damage_behind(error, shards, manifest, "train")
            if damage is None:
                raise
            raise UserError(damage) from error
        finally:
            session.close()
        result = session.finish()
        if diagnose and not result.stopped:
            result = dataclasses.replace(result, diagnosis=session.diagnose())
        # Workers leave together: one that is left behind would find its chief gone, and say so.
        run_on.agreed([0.0])
        return result


class _Session:
    """One process's part of a run: what is built from the configuration, and the loop over it."""

    def __init__(
        self,
        config: TrainConfig,
        manifest: Manifest,
        shards: Path,
        tier: input_pipeline.Tier,
        run: RunDirectory,
        run_on: runtime.Runtime,
        say: Callable[[str], None],
    ) -> None:
        self._config, self._manifest, self._shards = config, manifest, shards
        self._run, self._runtime, self._say = run, run_on, say
        self._stopwatch = callbacks.Stopwatch()  # of the epoch so far, all included
        self._steps_per_epoch = input_pipeline.steps_per_epoch(
            manifest, "train", config.global_batch_size
        )
        self._tier = tier
        self._input = training_input(config, manifest, shards, tier)
        built = build_step(config, manifest, run_on)
        self._model, self._optimizer, self._step = built.model, built.optimizer, built.step
        self._form = built.form
        self._final_weights = FinalWeights(
            built.form.network,
            built.optimizer,
            # Read once: opening the split walks all of its records, 3 us an image.
            load_images=functools.cache(
                lambda: input_pipeline.first_images(shards, manifest, "train", _STATISTICS_IMAGES)
            ),
        )
        say(f"loading {manifest.splits['validation'].num_examples:,} validation images ...")
        self._validation = input_pipeline.load_split(shards, manifest, "validation")
        self._logs = callbacks.Logs(run.history, run.tensorboard)
        self._progress = callbacks.Progress(config.monitor)
        self._rows: list[Row] = []
        self._global_step = 0
        self._epoch_sums = [0.0, 0.0]  # loss and right answers of the epoch so far
        self._train_seconds = 0.0  # of the epoch's steps alone
        self._batches: Iterator[Any] = iter(())
        self._best: list[np.ndarray] | None = None
        self._asked = self._stopped = False  # to stop: this worker alone, all of them
        self._rewinds = 0
        self._checkpoints = checkpoints.Writer(run.checkpoints)
        every = parse_interval(config.checkpoint_every) if config.checkpoint_every else (None, None)
        self._interval = callbacks.Interval(*every)
        self._blocks = step_blocks.StepBlocks(
            config.steps_per_execution, on_gpu=run_on.on_gpu, agreed=run_on.agreed
        )
        traced = parse_step_range(config.profile) if config.profile else None
        self._trace = callbacks.Trace(traced, run.tensorboard)

    def restore(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Goes back to a checkpoint: variables, and everything the loop decides by."""
        for path in checkpoint.skipped:
            self._say(f"{path.name} is damaged; resuming from step {checkpoint.step}")
        resuming.check_fits(checkpoint, self._variables())
        self._take(checkpoint)
        # Not on a rewind, which does not give back the time that it costs.
        self._stopwatch.include(checkpoint.state["epoch_seconds"])
        done = self._global_step - len(self._rows) * self._steps_per_epoch
        self._say(
            f"resuming after {len(self._rows)} epochs and {done}/{self._steps_per_epoch} steps"
        )

    def _take(self, checkpoint: checkpoints.Checkpoint) -> None:
        for key, variable in self._variables().items():
            variable.assign(checkpoint.arrays[key])
        if "best/0000" in checkpoint.arrays:
            self._best = [
                checkpoint.arrays[f"best/{i:04d}"] for i in range(len(self._model.variables))
            ]
        self._global_step = checkpoint.step
        self._rows = checkpoint.state["rows"]
        self._progress = callbacks.Progress(**checkpoint.state["progress"])
        self._epoch_sums = checkpoint.state["epoch_sums"]
        self._train_seconds = checkpoint.state["train_seconds"]
        self._rewinds = checkpoint.state["rewinds"]
        optimization.set_rate_scale(self._optimizer, checkpoint.state["rate_scale"])

    def train(
        self, should_stop: Callable[[], bool], ends_early: Callable[[list[Row]], bool]
    ) -> None:
        """Runs epochs until they are done, progress has stopped, or a stop is asked for."""
        self._say(f"input: {self._tier.name} tier, {self._tier.reason}")
        if self._config.on_divergence == "rewind" and not self._global_step:
            self._save_checkpoint()
        if len(self._rows) < self._config.epochs:
            count = self._manifest.splits["train"].num_examples
            if self._tier.name == "memory":
                self._say(f"loading {count:,} training images ...")
            self._open_batches()
            self._say("compiling the training step ...")
        while len(self._rows) < self._config.epochs and not self._out_of_patience():
            if self._rows and ends_early(list(self._rows)):
                break
            try:
                self._train_epoch(should_stop)
            except DivergenceError as error:
                self._rewind(error)
                self._open_batches()
                continue
            if self._stopped:
                self._save_checkpoint()
                break
            self._end_epoch()
        self._checkpoints.wait()

    def finish(self) -> TrainResult:
        """Chooses the threshold and draws the history; what a run does after its last epoch."""
        speeds = [row["images_per_second"] for row in self._rows]
        result = TrainResult(
            history=self._rows,
            monitor=self._config.monitor,
            best_epoch=self._progress.best_epoch,
            best_value=math.nan if self._best is None else float(self._progress.best_value or 0),
            images_per_second=float(np.median(speeds[1:] or speeds or [math.nan])),
            train_seconds=sum(row["train_seconds"] for row in self._rows),
            seconds=self._seconds(),
            threshold=None,
            stopped=self._stopped,
            is_chief=self._runtime.is_chief,
        )
        if self._stopped or self._best is None:
            return result
        self._say("choosing the threshold, drawing the history ...")
        _assign(self._model.variables, self._best)
        threshold = self._choose_threshold()
        history_plot.draw(
            self._rows,
            self._run.history_figure,
            best_epoch=result.best_epoch,
            learned_with=_learned_with(self._config, self._form),
        )
        result = dataclasses.replace(result, threshold=threshold, seconds=self._seconds())
        files.write_json(
            self._run.training_summary,
            {
                "images_per_second": round(result.images_per_second, 1),
                "train_seconds": round(result.train_seconds, 1),
                "seconds": round(result.seconds, 1),
                "epochs": len(self._rows),
                "best_epoch": result.best_epoch,
                "monitor": result.monitor,
                "best_value": result.best_value,
                "parameters": self._model.count_params(),
            },
        )
        report.write_report(self._run)
        return result

    def _seconds(self) -> float:
        return sum(row["seconds"] for row in self._rows) + self._stopwatch.seconds

    def diagnose(self) -> str:
        """What limited this training, in a sentence; its weights are of no use afterwards."""
        self._say("diagnosing: the input alone, then the step alone")
        size = self._config.global_batch_size
        self._open_batches()
        input_speed = diagnosis.images_per_second(lambda: next(self._batches), batch_size=size)
        self._batches = iter(())
        same = self._runtime.distribute(
            lambda share: self._dataset(share).take(share.count).cache().repeat()
        )
        step_speed = diagnosis.images_per_second(lambda: self._step.run(same, 1), batch_size=size)
        speeds = [row["images_per_second"] for row in self._rows]
        return diagnosis.verdict(input_speed, step_speed, float(np.median(speeds[1:] or speeds)))

    def close(self) -> None:
        """Releases the logs; what is being saved is saved first."""
        self._trace.close()
        self._checkpoints.close()
        self._logs.close()

    def _open_batches(self) -> None:
        """Opens the training batches from the current step on."""
        # Those before are closed first: the memory tier's hold the whole split.
        self._batches = iter(())
        self._batches = self._runtime.distribute(self._dataset)

    def _dataset(self, share: Share = WHOLE) -> tf.data.Dataset:
        return self._input.dataset(self._global_step, share)

    def _train_epoch(self, should_stop: Callable[[], bool]) -> None:
        """Runs what is left of the current epoch."""
        epoch = len(self._rows)
        done = self._global_step - epoch * self._steps_per_epoch
        size = self._config.global_batch_size
        label = f"epoch {epoch + 1}/{self._config.epochs}"
        best = self._progress.best_value
        with progress.ProgressBar(
            label, total=self._steps_per_epoch * size, done=done * size, lines=False
        ) as bar:
            while done < self._steps_per_epoch:
                self._trace.before(self._global_step + 1)
                steps = self._blocks.length(
                    self._steps_per_epoch - done,
                    self._interval.steps_until_due(self._global_step),
                    self._trace.steps_until_edge(self._global_step),
                )
                started = time.perf_counter()
                losses, correct, told = self._step.run(self._batches, steps, stop=self._asked)
                seconds = time.perf_counter() - started
                self._blocks.ran(steps, seconds)
                self._train_seconds += seconds
                self._check_finite(losses)
                self._global_step += steps
                self._trace.after(self._global_step)
                # One by one, so that the sum does not depend on how many ran together.
                for loss in losses.tolist():
                    self._epoch_sums[0] += loss
                self._epoch_sums[1] += correct
                done += steps
                mean = self._epoch_sums[0] / (done * size)
                reached = "" if best is None else f"best {self._config.monitor} {best:.4f}"
                bar.advance(steps * size, detail=f"loss {mean:.3f} {reached}")
                self._asked = self._asked or should_stop()
                # Several workers stop together, after the step that told them of one's signal.
                self._stopped = told if self._runtime.num_workers > 1 else self._asked
                if self._stopped:
                    return
                if self._interval.due(self._global_step) and done < self._steps_per_epoch:
                    self._save_checkpoint()

    def _end_epoch(self) -> None:
        """Validates, logs, keeps the best weights, adapts the learning rate, checkpoints."""
        with self._final_weights.in_place():
            row = self._epoch_row()
            row = dict(zip(row, self._runtime.agreed(row.values()), strict=True))
            improved = self._progress.update(row)
            if improved or self._best is None:
                self._best = [variable.numpy() for variable in self._model.variables]
                callbacks.save_model(self._model, self._run.model)
                if self._run.report.is_file():
                    report.write_report(self._run)  # its figures are of the model before
        self._rows.append({**row, "seconds": self._stopwatch.lap()})
        if self._config.schedule == "constant":
            self._reduce_on_plateau()
        self._epoch_sums, self._train_seconds = [0.0, 0.0], 0.0
        self._logs.write(self._rows)
        self._save_checkpoint()
        self._say(callbacks.epoch_line(row, epochs=self._config.epochs, best=improved))

    def _epoch_row(self) -> Row:
        images = self._steps_per_epoch * self._config.global_batch_size
        return {
            "epoch": len(self._rows) + 1,
            "loss": self._epoch_sums[0] / images,
            "accuracy": self._epoch_sums[1] / images,
            **self._validate(),
            "learning_rate": optimization.learning_rate_before(self._optimizer, 1),
            "images_per_second": images / self._train_seconds,
            "train_seconds": self._train_seconds,
        }

    def _validate(self) -> Row:
        labels = self._validation["label"]
        logits = self._step.predict(self._validation["image"])
        probabilities = predictions.as_probabilities(_to_probabilities(logits))
        loss = float(tf.reduce_mean(cross_entropy_from_logits(labels, tf.constant(logits))))
        predicted = predictions.predict_labels(probabilities)
        auroc = curves.mean_auroc(labels, predictions.log_odds(logits))
        return {
            "val_loss": loss,
            "val_accuracy": float((predicted == labels).mean()),
            "val_auroc": math.nan if auroc is None else auroc,
        }

    def _reduce_on_plateau(self) -> None:
        if self._progress.on_plateau(self._config.plateau_patience):
            rate = optimization.inner(self._optimizer).learning_rate
            rate.assign(rate * self._config.plateau_factor)
            self._say(f"no progress: learning rate reduced to {float(rate):.2g}")

    def _out_of_patience(self) -> bool:
        patience = self._config.early_stopping_patience
        if not patience or self._progress.stale_epochs < patience:
            return False
        self._say(f"no progress for {patience} epochs: stopping early")
        return True

    def _check_finite(self, losses: np.ndarray) -> None:
        """Raises `DivergenceError` on the first loss that is not finite, of the steps just run."""
        if np.isfinite(losses).all():
            return
        first = int(np.argmin(np.isfinite(losses)))
        loss, step = losses[first], self._global_step + first
        rate = optimization.learning_rate_before(self._optimizer, len(losses) - first)
        paths = self._input.paths(step)
        lines = [files.one_line(path) + "\n" for path in paths]
        files.write_text(self._run.diverged_batch, "".join(lines))
        raise DivergenceError(
            f"the loss became {loss} at step {step + 1} (learning rate {rate:.2g}) on "
            f"{', '.join(line.strip() for line in lines[:_NAMES_SHOWN])} (all {len(paths)} are listed in "
            f"{self._run.diverged_batch}); lower --learning-rate, raise --warmup-epochs, or give "
            "--on-divergence rewind"
        )

    def _rewind(self, error: DivergenceError) -> None:
        """Goes back to the last checkpoint with a lower learning rate, or raises `error`."""
        self._checkpoints.wait()
        checkpoint = checkpoints.load_newest(self._run.checkpoints)
        exhausted = self._rewinds >= self._config.max_rewinds
        if self._config.on_divergence != "rewind" or exhausted or checkpoint is None:
            raise error
        rewinds = self._rewinds + 1
        self._take(checkpoint)
        self._rewinds = rewinds
        # From the checkpoint's own rate, which may be that of several rewinds before.
        factor = REWIND_FACTOR ** (rewinds - checkpoint.state["rewinds"])
        optimization.scale_learning_rate(self._optimizer, factor)
        rate = optimization.current_learning_rate(self._optimizer)
        self._say(
            f"{error}\ngoing back to step {self._global_step} with a learning rate of {rate:.2g} "
            f"(the {rewinds}. of at most {self._config.max_rewinds} times)"
        )

    def _choose_threshold(self) -> float | None:
        """Chooses and stores the decision threshold on validation; two classes only."""
        if len(self._manifest.class_names) != 2:
            return None
        logits = self._step.predict(self._validation["image"])
        chosen = thresholds.choose_threshold(
            self._validation["label"],
            predictions.as_probabilities(_to_probabilities(logits)),
            self._config.threshold,
        )
        files.write_json(
            self._run.threshold, {**chosen.to_json(), "model": self._run.model_digest()}
        )
        return chosen.threshold

    def _variables(self) -> dict[str, Any]:
        """Every variable a resumed run needs, under stable keys."""
        variables = {f"model/{i:04d}": v for i, v in enumerate(self._model.variables)}
        variables |= {f"optimizer/{i:04d}": v for i, v in enumerate(self._optimizer.variables)}
        return variables

    def _save_checkpoint(self) -> None:
        arrays = {key: variable.numpy() for key, variable in self._variables().items()}
        if self._best is not None:
            arrays |= {f"best/{i:04d}": array for i, array in enumerate(self._best)}
        state = {
            "rows": list(self._rows),
            "progress": dataclasses.asdict(self._progress),
            "epoch_sums": list(self._epoch_sums),
            "epoch_seconds": self._stopwatch.seconds,
            "train_seconds": self._train_seconds,
            "rewinds": self._rewinds,
            "rate_scale": optimization.rate_scale(self._optimizer),
        }
        self._checkpoints.save(step=self._global_step, arrays=arrays, state=state)


@dataclasses.dataclass(frozen=True)
class BuiltStep:
    """A training step, and what it changes.

    Attributes:
        model: as the network's builder gave it; takes images [B, H, W, C].
        form: what is trained of it, from pixels to logits; shares its variables.
    """

    model: Any
    form: TrainingForm
    optimizer: Any
    step: TrainingStep


def prepare_runtime(config: TrainConfig, network: Network | None = None) -> runtime.Runtime:
    """Chooses devices and modes as a configuration asks; see `runtime.prepare`.

    Args:
        network: what is trained; None for the one that the configuration names.
    """
    network = network or registry.resolve(config.model)
    return runtime.prepare(
        precision=config.precision,
        jit_compile=config.jit_compile,
        strategy=config.strategy,
        num_logical_devices=config.num_logical_devices,
        global_batch_size=config.global_batch_size,
        precision_advice=network.precision_advice(registry.settings_of(network, config)),
        seed=config.seed,
        deterministic=config.deterministic,
    )


def build_step(
    config: TrainConfig,
    manifest: Manifest,
    run_on: runtime.Runtime,
    network: Network | None = None,
) -> BuiltStep:
    """The network, the optimizer and the step that a configuration asks for, under the policy in force.

    Args:
        network: what is trained; None for the one that the configuration names.

    Raises:
        UserError: the network does not fit the images or the classes.
    """
    steps_per_epoch = input_pipeline.steps_per_epoch(manifest, "train", config.global_batch_size)
    with run_on.strategy.scope():
        network = network or registry.resolve(config.model)
        model = build_model(config, manifest, network)
        form = registry.build_training_form(
            network,
            model,
            config,
            manifest.image_format,
            len(manifest.class_names),
            synchronized=config.sync_batch_norm and run_on.num_replicas > 1,
        )
        optimizer = _build_optimizer(config, steps_per_epoch, run_on.precision)
        optimizer.build(form.network.trainable_variables)
    step = TrainingStep(
        form.network,
        optimizer,
        strategy=run_on.strategy,
        global_batch_size=config.global_batch_size,
        class_weights=_class_weights(config, manifest),
        label_smoothing=config.label_smoothing,
        global_clipnorm=config.global_clipnorm,
        jit_compile=run_on.jit_compile,
    )
    return BuiltStep(model, form, optimizer, step)


def choose_tier(config: TrainConfig, manifest: Manifest) -> input_pipeline.Tier:
    """Where the training split is read from; the validation split lies in memory besides."""
    return input_pipeline.choose_tier(
        manifest,
        "train",
        cache=config.cache,
        memory_fraction=config.cache_memory_fraction,
        data_service=config.data_service,
        held=("validation",),
    )


def training_input(
    config: TrainConfig, manifest: Manifest, shards: Path, tier: input_pipeline.Tier
) -> input_pipeline.TrainingInput:
    """The batches that a configuration trains on."""
    return input_pipeline.TrainingInput(
        shards,
        manifest,
        split="train",
        global_batch_size=config.global_batch_size,
        seed=config.seed,
        strengths=augmentation.strengths_from(config),
        tier=tier,
        shuffle_window=config.shuffle_window,
        sampling=config.sampling,
    )


def build_model(config: TrainConfig, manifest: Manifest, network: Network | None = None) -> Any:
    """The model that a configuration asks for, for the manifest's images and classes.

    Raises:
        UserError: the network does not fit the images or the classes.
    """
    network = network or registry.resolve(config.model)
    return registry.build(network, config, manifest.image_format, len(manifest.class_names))


def _silent(line: str) -> None:
    """Says nothing: what the chief says holds for all."""


def _to_probabilities(logits: np.ndarray) -> np.ndarray:
    return expit(logits) if logits.shape[1] == 1 else softmax(logits, axis=1)


def _learned_with(config: TrainConfig, form: TrainingForm) -> list[str]:
    """What the training loss and accuracy are measured with, and validation without."""
    balanced = config.class_weights == "balanced" and config.sampling != "balanced"
    applies = {
        "augmented images": bool(augmentation.strengths_from(config)),
        f"labels smoothed by {config.label_smoothing:g}": config.label_smoothing > 0,
        "classes weighted alike": balanced,
        "classes drawn alike": config.sampling == "balanced",
        "dropout": form.has_dropout,
        "weights that are not averaged": config.ema_momentum > 0,
    }
    return [name for name, applied in applies.items() if applied]


def _build_optimizer(config: TrainConfig, steps_per_epoch: int, precision: str) -> Any:
    return optimization.make_optimizer(
        config.optimizer,
        learning_rate=config.learning_rate,
        schedule=config.schedule,
        steps_per_epoch=steps_per_epoch,
        epochs=config.epochs,
        warmup_epochs=config.warmup_epochs,
        weight_decay=config.weight_decay,
        ema_momentum=config.ema_momentum,
        loss_scaling=precision == "mixed_float16",
    )


def _class_weights(config: TrainConfig, manifest: Manifest) -> np.ndarray:
    """float32[K]: 1, or N / (K * count) so that every class weighs the same in the loss."""
    counts = manifest.splits["train"].class_counts
    numbers = np.array([counts.get(name, 0) for name in manifest.class_names], np.float32)
    if config.class_weights == "none" or config.sampling == "balanced":
        return np.ones(len(numbers), np.float32)
    present = numbers > 0
    return np.where(present, numbers.sum() / (present.sum() * np.maximum(numbers, 1)), 0)


def _assign(variables: list[Any], arrays: list[np.ndarray]) -> None:
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
