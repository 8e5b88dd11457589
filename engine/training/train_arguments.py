"""The arguments of `engine.train`, and what can be checked of them before TensorFlow is imported.

`engine.launch` hands the same arguments to each of its workers, and checks them once before it starts any.
"""

import argparse
import dataclasses
import os
from pathlib import Path
from typing import Any

from engine.base import config, output_paths, user_code
from engine.base.config import UserError
from engine.base.flag_parser import FlagParser
from engine.base.settings import TrainConfig
from engine.base.user_code import Reference
from engine.networks import model_flags, registry
from engine.runs.run_directory import RunDirectory
from engine.shards import data_identity, dataset_checks, tfrecords
from engine.training import checkpoints, initial_weights, resuming, seed_directory, teacher


def build_parser(program: str, description: str) -> argparse.ArgumentParser:
    """The flags of `engine.train`."""
    parser = FlagParser(
        prog=program, description=description, usage=f"{program} SHARDS --workdir RUN [flags]"
    )
    parser.add_argument(
        "shards", type=Path, metavar="SHARDS", help="made by engine.build_tfrecords"
    )
    parser.add_argument("--workdir", type=Path, metavar="RUN", help="where the run's files go")
    parser.add_argument("--resume", action="store_true", help="continue the run in --workdir")
    parser.add_argument(
        "--overwrite", action="store_true", help="remove the run in --workdir first"
    )
    parser.add_argument(
        "--num-seeds",
        type=int,
        metavar="K",
        help="train K runs with --seed and the seeds after it into RUN/seed-<n>; engine.evaluate and "
        "engine.predict average them",
    )
    parser.add_argument(
        "--preview-augmentation",
        type=Path,
        metavar="FILE.png",
        help="draw what the network would see, and train nothing",
    )
    parser.add_argument(
        "--diagnose",
        action="store_true",
        help="when done, measure whether input or step limited the speed, and say what to do",
    )
    config.add_flags(parser, TrainConfig)
    model_flags.add_flags(parser)
    return parser


def checked_settings(arguments: argparse.Namespace, *, for_all: bool = False) -> TrainConfig:
    """The settings that parsed flags ask for, if a training can start with them.

    Args:
        for_all: as for `check_start`.

    Raises:
        UserError: settings, shards or --workdir are wrong.
    """
    settings = model_flags.from_flags(TrainConfig, arguments)
    if arguments.preview_augmentation is not None:
        output_paths.require_file(arguments.preview_augmentation, "--preview-augmentation")
        dataset_checks.split_info(tfrecords.read_manifest(arguments.shards), "train")
        return settings
    if arguments.workdir is None:
        raise UserError("--workdir RUN is missing; say where the run's files go")
    if arguments.num_seeds is None:
        check_start(
            settings,
            arguments.shards,
            arguments.workdir,
            resume=arguments.resume,
            overwrite=arguments.overwrite,
            for_all=for_all,
        )
    else:
        check_seeds(
            settings,
            arguments.shards,
            arguments.workdir,
            arguments.num_seeds,
            resume=arguments.resume,
            overwrite=arguments.overwrite,
            for_all=for_all,
        )
        if arguments.diagnose:
            raise UserError("--diagnose looks at one training; leave out --num-seeds")
    if ":" in settings.loss:
        Reference.parse(settings.loss, flag="--loss").source()
    return settings


def with_loss(settings: TrainConfig, loss: Any) -> TrainConfig:
    """The settings that record a loss given in Python: what `--loss` may name, a function, or None.

    Raises:
        UserError: it is neither, or does not go with the settings.
    """
    if loss is None:
        return settings
    if not isinstance(loss, str) and not callable(loss):
        raise UserError(
            f"loss={loss!r}: expected cross_entropy, focal, package.module:function, FILE.py:function, "
            "or a function from labels and logits to one number per example"
        )
    name = loss if isinstance(loss, str) else user_code.name_of(loss)
    return dataclasses.replace(settings, loss=name)


def check_start(
    settings: TrainConfig,
    shards: Path,
    workdir: Path,
    *,
    resume: bool,
    overwrite: bool,
    for_all: bool = False,
) -> None:
    """Checks whatever of a training can be checked without TensorFlow.

    Of several workers none looks at `workdir`; the chief does later. By the time that another one looks,
    the chief may have begun to write.

    Args:
        for_all: whether this process checks for all workers, before any has started.

    Raises:
        UserError: the shards are missing or do not fit the settings, or a training may not start in
            `workdir`.
    """
    manifest = tfrecords.read_manifest(shards)
    dataset_checks.check_trainable(manifest, settings)
    begun = resume and checkpoints.paths(RunDirectory(workdir).checkpoints)
    if not begun:  # the checkpoints of a run hold all it needs
        if settings.init_from is not None:
            initial_weights.check_source(Path(settings.init_from), Path(workdir))
        if settings.distill_from is not None:
            teacher.check(Path(settings.distill_from), workdir, manifest)
        if (network := registry.built_in().get(settings.model)) is not None:
            registry.check_weights(network, settings)
    if _is_one_of_several(settings.strategy) and not for_all:
        return
    run = RunDirectory(workdir)
    resuming.check_directory(run, resume=resume, overwrite=overwrite)
    if resume and run.config.is_file():
        resuming.check_same_run(run, settings, data_identity.describe(manifest))


def check_seeds(
    settings: TrainConfig,
    shards: Path,
    workdir: Path,
    num_seeds: int,
    *,
    resume: bool,
    overwrite: bool,
    for_all: bool = False,
) -> None:
    """Checks whatever of a training of several seeds can be checked without TensorFlow.

    Args:
        for_all: as for `check_start`.

    Raises:
        UserError: as `check_start` for any of them, or there are several workers.
    """
    if for_all or _is_one_of_several(settings.strategy):
        raise UserError(
            "--num-seeds trains with one process; with several workers train each --seed by itself, and "
            "average the runs with engine.evaluate --with"
        )
    seed_directory.check_directory(workdir, settings, num_seeds, resume=resume, overwrite=overwrite)
    for own, run in seed_directory.runs(settings, workdir, num_seeds):
        check_start(own, shards, run.path, resume=not overwrite, overwrite=overwrite)


def _is_one_of_several(strategy: str) -> bool:
    """Whether this process may be one worker of a cluster, as far as --strategy and environment say."""
    named = "TF_CONFIG" in os.environ or "SLURM_STEP_NUM_TASKS" in os.environ
    return strategy == "multi_worker" or (strategy == "auto" and named)
