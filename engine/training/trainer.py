"""Training, whole: `train(config, shards, workdir)` is what the command, the tuner and benchmarks call.

A run's directory is always in a state that can be resumed or used: the model file holds the best epoch
so far, the newest checkpoint everything else.
"""

import contextlib
import dataclasses
import functools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from engine.base import progress
from engine.base.config import UserError
from engine.base.setting_values import parse_interval, parse_step_range
from engine.base.settings import TrainConfig
from engine.networks import registry, saved_models
from engine.networks.network import Network
from engine.networks.stock import StockModel
from engine.pipeline.reading import StoredSplit
from engine.pipeline.share import Share
from engine.pipeline.training_input import TrainingInput
from engine.runs import contract, lineage, report
from engine.runs.contract import InferenceContract
from engine.runs.run_directory import RunDirectory
from engine.shards import dataset_checks, tfrecords
from engine.training import (
    building,
    code_identity,
    diagnosis,
    environment,
    finishing,
    initial_weights,
    loop,
    periodic,
    reference_images,
    refitted_head,
    resuming,
    runtime,
    train_arguments,
)
from engine.training import callbacks as user_callbacks
from engine.training.checkpoints import Checkpoint
from engine.training.divergence import DivergenceError
from engine.training.finishing import TrainResult
from engine.training.history import Row
from engine.training.losses import Loss, Objective
from engine.training.refitted_head import Refit
from engine.training.solved_head import SolvedHead
from engine.training.state import TrainState
from engine.training.training_sample import TrainingSample
from engine.training.validation import Validation
from engine.training.weight_averaging import FinalWeights

__all__ = ["DivergenceError", "TrainResult", "train"]

Say = Callable[[str], None]
Model: TypeAlias = str | Network | keras.Model | Callable[..., keras.Model]

_STATISTICS_IMAGES = 1024  # that batch normalization's statistics are estimated on


def train(
    config: TrainConfig,
    shards: Path | str,
    workdir: Path | str,
    *,
    model: "Model | None" = None,
    loss: Loss | str | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    resume: bool = False,
    overwrite: bool = False,
    diagnose: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    ends_early: Callable[[list[Row]], bool] = lambda rows: False,
    say: Callable[[str], None] = progress.say,
) -> TrainResult:
    """Trains a classifier on shards and leaves a run directory.

    Args:
        model: what `config.model` may name, a function that builds a Keras model, or a Keras model (see
            `networks.user_models`); None for `config.model`. Recorded by its name, as `loss` is.
        loss: what `config.loss` may name, or a function from labels int64[B] and logits float32[B,
            units] to float32[B], or a Keras loss with `reduction="none"`; None for `config.loss`. It
            is recorded by its name, `module:function`, and a resume needs one of that name.
        callbacks: Keras callbacks, called as `Model.fit` calls them (see `callbacks`).
        resume: resumes from the newest checkpoint of `workdir` (starts, if it has none); with more
            epochs than the run had, and a constant schedule, extends it.
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
    shards = Path(shards)
    manifest = tfrecords.read_manifest(shards)
    dataset_checks.check_trainable(manifest, config)
    user_callbacks.check(callbacks, schedule=config.schedule)
    network = registry.resolve(config.model if model is None else model)
    config = train_arguments.with_loss(registry.checked(network, config), loss)
    objective = building.choose_objective(config, loss if callable(loss) else None)
    run_on = building.prepare_runtime(config, network)
    building.check_pairs(config, run_on)
    batches = building.training_input(config, shards, manifest)
    described = environment.describe(
        manifest,
        shards,
        run_on,
        order=batches.tier.order,
        code=code_identity.describe(model=network.code, loss=objective.code),
        sources={lineage.TEACHER: config.distill_from, lineage.START: config.init_from},
    )
    opening = _opened_run(
        RunDirectory(workdir), config, described, run_on, resume=resume, overwrite=overwrite
    )
    with opening as (run, checkpoint):
        say(run_on.summary)
        if not run_on.is_chief:
            say = _silent
        if (warning := dataset_checks.validation_warning(manifest)) is not None:
            say(warning)
        for line in lineage.warnings(described["data"]):
            say(f"warning: {line}")
        to_infer = InferenceContract(
            image_format=manifest.image_format, class_names=manifest.class_names
        )
        resumed = checkpoint is not None
        if resumed:  # the pretrained weights need not be there any more
            network = registry.without_weights(network)
        with _recorded(run, config, to_infer, described, run_on, resumed=resumed):
            session = _Session(config, batches, run, run_on, say, network, objective, callbacks)
            if checkpoint is not None:
                session.resume(checkpoint)
            elif config.init_from is not None:
                session.start_from(Path(config.init_from))
            result = session.train(should_stop, ends_early)
            if diagnose and not result.stopped:
                diagnosed = session.diagnose(result.images_per_second)
                result = dataclasses.replace(result, diagnosis=diagnosed)
        # Workers leave together: one that is left behind would find its chief gone, and say so.
        run_on.agreed([0.0])
        return result


@contextlib.contextmanager
def _opened_run(
    run: RunDirectory,
    config: TrainConfig,
    described: dict[str, Any],
    run_on: runtime.Runtime,
    *,
    resume: bool,
    overwrite: bool,
) -> Iterator[tuple[RunDirectory, Checkpoint | None]]:
    """This process's run directory, held for the block, and the checkpoint to resume from, if any.

    The chief alone writes where the user asked for it; the files of other workers are thrown away.
    """
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
            run = RunDirectory(stack.enter_context(tempfile.TemporaryDirectory()))
        yield run, checkpoint


@contextlib.contextmanager
def _recorded(
    run: RunDirectory,
    config: TrainConfig,
    to_infer: InferenceContract,
    described: dict[str, Any],
    run_on: runtime.Runtime,
    *,
    resumed: bool,
) -> Iterator[None]:
    """Records the start, or the resume; the block then computes in the runtime's precision."""
    with resuming.freed_if_never_begun(run), saved_models.dtype_policy(run_on.precision):
        contract.begin(run, to_infer)
        resuming.record_start(run, config, described)
        if resumed and run_on.is_chief:
            resuming.record_resume(run, environment.session(described))
        yield


class _Session:
    """One process's part of a run: what is built from the configuration, and the loop over it."""

    def __init__(
        self,
        config: TrainConfig,
        batches: TrainingInput,
        run: RunDirectory,
        run_on: runtime.Runtime,
        say: Say,
        network: Network,
        objective: Objective,
        callbacks: Sequence[keras.callbacks.Callback],
    ) -> None:
        stopwatch = periodic.Stopwatch()
        self._config, self._input, self._run = config, batches, run
        self._runtime, self._say = run_on, say
        manifest = batches.split.manifest
        built = building.build_step(config, manifest, run_on, network=network, objective=objective)
        self._step, self._has_dropout = built.step, built.form.has_dropout
        if built.form.unkeyed and run_on.num_replicas > 1:
            say(
                f"warning: {', '.join(built.form.unkeyed)}: random numbers from a state of the layer's "
                f"own are the same on each of {run_on.num_replicas} devices; dropout layers of Keras "
                "are not affected"
            )
        if (described := built.fine_tuning.described(epochs=config.epochs)) is not None:
            say(described)
        self._state = TrainState(
            built.model, built.optimizer, monitor=config.monitor, stopwatch=stopwatch
        )
        validation_split = StoredSplit(batches.split.shards, "validation", manifest)
        say(f"loading {validation_split.num_examples:,} validation images ...")
        held_out = validation_split.load()
        self._held_out = held_out["image"]
        self._validation = Validation(
            self._held_out,
            held_out["label"],
            predict=built.step.predict,
            loss=objective.validation,
        )
        load_images = functools.cache(lambda: batches.split.first_images(_STATISTICS_IMAGES))
        self._callbacks = user_callbacks.Callbacks(
            callbacks if run_on.is_chief else (),
            built.model,
            built.optimizer,
            epochs=config.epochs,
            steps_per_epoch=self._input.steps_per_epoch,
            say=say,
        )
        solves_head = built.fine_tuning.solves_head
        head = None
        if solves_head or built.refits_head:
            head = building.solved_head(config, built, batches.split, run_on, say=say)
            if not network.is_built_in:
                head.check()
        self._solves_epochs = built.fine_tuning.freeze_epochs if solves_head else 0
        self._refitted = head if built.refits_head else None
        self._saved = StockModel(
            built.model,
            built.form,
            build=functools.partial(building.build_model, config, manifest, network),
            say=say,
        )
        rate_is_ours = config.schedule == "constant" and not user_callbacks.sets_rate(callbacks)
        self._loop = loop.Loop(
            _loop_plan(
                config,
                self._input.steps_per_epoch,
                freeze_epochs=built.fine_tuning.freeze_epochs,
                rate_is_ours=rate_is_ours,
            ),
            self._state,
            built.step,
            open_batches=self._open_batches,
            paths=self._input.paths,
            validation=self._validation,
            sample=TrainingSample(
                batches.split,
                min(config.training_sample, len(self._held_out)),
                predict=built.step.predict,
                loss=objective.validation,
            ),
            callbacks=self._callbacks,
            final_weights=FinalWeights(
                built.form.network,
                built.optimizer,
                load_images=load_images,
                weights=built.fine_tuning.weights,
            ),
            saved=self._saved,
            run=run,
            run_on=run_on,
            say=say,
            solve_head=head if solves_head else None,
        )

    def resume(self, checkpoint: Checkpoint) -> None:
        """Goes back to a checkpoint: variables, and everything the loop decides by."""
        for path in checkpoint.skipped:
            self._say(f"{path.name} is damaged; resuming from step {checkpoint.step}")
        self._state.resume(checkpoint)
        self._callbacks.resume(checkpoint)
        epochs, steps = len(self._state.rows), self._input.steps_per_epoch
        done = self._state.global_step - epochs * steps
        self._say(f"resuming after {epochs} epochs and {done}/{steps} steps")

    def start_from(self, source: Path) -> None:
        """Takes the weights of an earlier run or of a model file, wherever they fit."""
        initial_weights.start_from(source, self._state.model, self._run, say=self._say)

    def train(
        self, should_stop: Callable[[], bool], ends_early: Callable[[list[Row]], bool]
    ) -> TrainResult:
        """Runs the epochs that are left; completes the run's directory unless a stop is asked for."""
        tier, split = self._input.tier, self._input.split
        self._say(f"input: {tier.name} tier, {tier.reason}")
        if not self._loop.is_done and tier.loads_split:
            self._say(f"loading {split.num_examples:,} training images ...")
        if not self._loop.is_done:
            building.teach(self._config, self._input, self._run, self._runtime, say=self._say)
        try:
            self._loop.run(should_stop, ends_early)
        except tf.errors.OpError as error:
            damage = split.damage(error)
            if damage is None:
                raise
            raise UserError(damage) from error
        finally:
            self._loop.close()
        result = self._finish(should_stop)
        self._callbacks.on_train_end(user_callbacks.last_logs(self._state.rows))
        return result

    def _finish(self, should_stop: Callable[[], bool]) -> TrainResult:
        result = finishing.result_of(
            self._state, stopped=self._loop.stopped, is_chief=self._runtime.is_chief
        )
        if result.stopped or self._state.best is None:
            return result
        self._state.use_best()
        if self._refitted is not None and result.best_epoch > self._solves_epochs:
            refitted = self._refit(self._refitted, self._state.best, should_stop)
            result = dataclasses.replace(result, refitted=refitted, stopped=refitted is None)
            if result.stopped:
                return result
        elif self._run.refitted_head.is_file():  # of an earlier end of this run, which refitted it
            self._saved.save(self._run.model)
            self._run.refitted_head.unlink()
        self._say("calibrating, choosing the threshold, measuring training images ...")
        return finishing.finish(
            result,
            self._state,
            self._run,
            validation=self._validation,
            threshold_rule=(
                self._config.threshold if len(self._input.split.manifest.class_names) == 2 else None
            ),
            prior=self._prior(),
            learned_with=finishing.learned_with(self._config, has_dropout=self._has_dropout),
            figure_formats=self._config.figures,
            remember=self._remember,
        )

    def _refit(
        self, head: SolvedHead, best: list[np.ndarray], should_stop: Callable[[], bool]
    ) -> Refit | None:
        """Solves for the head of the final model, and saves it; None where a stop was asked for."""
        alone = self._runtime.num_workers == 1
        path, digest = self._run.refitted_head, refitted_head.digest_of(best)
        # Several workers solve together, whatever the chief may have kept.
        found = refitted_head.take_up(path, head, digest=digest) if alone else None
        if found is None:
            found = refitted_head.refit(
                head,
                self._validation,
                prior=self._prior(),
                agreed=self._runtime.agreed,
                should_stop=should_stop if alone else lambda: False,
            )
            if found is None:
                return None
            refitted_head.keep(path, found, head, digest=digest)
        self._say(found.described)
        self._saved.save(self._run.model)
        if self._run.report.is_file():
            report.write_report(self._run)  # its figures are of the model before
        return found

    def _prior(self) -> tuple[float, ...]:
        """The share of each class that training implied."""
        return building.implied_prior(self._config, self._input.split.manifest)

    def _remember(self) -> None:
        count = self._config.reference_images
        if count and self._runtime.is_chief:
            reference_images.remember(
                self._run, self._input.split, self._held_out, count=count, say=self._say
            )

    def diagnose(self, images_per_second: float) -> str:
        """What limited this training, in a sentence; its weights are of no use afterwards.

        Args:
            images_per_second: how fast it was.
        """
        self._say("diagnosing: the input alone, then the step alone")
        return diagnosis.verdict(self._input_speed(), self._step_speed(), images_per_second)

    def _input_speed(self) -> float:
        batches = self._open_batches(self._state.global_step)
        size = self._config.global_batch_size
        return diagnosis.images_per_second(lambda: next(batches), batch_size=size)

    def _step_speed(self) -> float:
        def same(share: Share) -> tf.data.Dataset:
            dataset = self._input.dataset(self._state.global_step, share)
            return dataset.take(share.count).cache().repeat()

        batches, size = self._runtime.distribute(same), self._config.global_batch_size
        return diagnosis.images_per_second(lambda: self._step.run(batches, 1), batch_size=size)

    def _open_batches(self, start_step: int) -> Iterator[Any]:
        return self._runtime.distribute(lambda share: self._input.dataset(start_step, share))


def _loop_plan(
    config: TrainConfig, steps_per_epoch: int, *, freeze_epochs: int, rate_is_ours: bool
) -> loop.Plan:
    """Args: rate_is_ours: whether neither a schedule nor a callback sets the learning rate."""
    every, traced = config.checkpoint_every, config.profile
    return loop.Plan(
        epochs=config.epochs,
        steps_per_epoch=steps_per_epoch,
        global_batch_size=config.global_batch_size,
        freeze_epochs=freeze_epochs,
        early_stopping_patience=config.early_stopping_patience,
        plateau_patience=config.plateau_patience if rate_is_ours else None,
        plateau_factor=config.plateau_factor,
        min_learning_rate=config.min_learning_rate,
        max_rewinds=config.max_rewinds if config.on_divergence == "rewind" else 0,
        steps_per_execution=config.steps_per_execution,
        checkpoint_every=parse_interval(every) if every else (None, None),
        profile=parse_step_range(traced) if traced else None,
    )


def _silent(line: str) -> None:
    """Says nothing: what the chief says holds for all."""
