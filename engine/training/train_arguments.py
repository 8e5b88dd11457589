"""The arguments of `engine.train`, and what can be told of them before TensorFlow is imported.

`engine.launch` hands the same arguments to each of its workers, and checks them once before it starts any.
"""

import argparse
import os
from pathlib import Path

from engine.base import config, output_paths
from engine.base.config import UserError
from engine.base.flag_parser import FlagParser
from engine.base.settings import TrainConfig
from engine.base.user_code import Reference
from engine.runs.run_directory import RunDirectory
from engine.shards import data_identity, dataset_checks, tfrecords
from engine.training import initial_weights, resuming


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
    return parser


def checked_settings(arguments: argparse.Namespace, *, directory_is_ours: bool) -> TrainConfig:
    """The settings that parsed flags ask for, if a training can start with them.

    Args:
        directory_is_ours: whether --workdir is this process's to look at. Of several workers the chief
            alone does, later: by the time that another one looks, the chief may have begun to write.

    Raises:
        UserError: settings, shards or --workdir are wrong.
    """
    settings = config.from_flags(TrainConfig, arguments)
    if arguments.preview_augmentation is not None:
        output_paths.require_file(arguments.preview_augmentation, "--preview-augmentation")
        dataset_checks.split_info(tfrecords.read_manifest(arguments.shards), "train")
        return settings
    if arguments.workdir is None:
        raise UserError("--workdir RUN is missing; say where the run's files go")
    check_start(
        settings,
        arguments.shards,
        arguments.workdir,
        resume=arguments.resume,
        overwrite=arguments.overwrite,
        directory_is_ours=directory_is_ours,
    )
    return settings


def check_start(
    settings: TrainConfig,
    shards: Path,
    workdir: Path,
    *,
    resume: bool,
    overwrite: bool,
    directory_is_ours: bool,
) -> None:
    """Checks what can be known of a training without TensorFlow.

    Args:
        directory_is_ours: as for `checked_settings`.

    Raises:
        UserError: the shards are missing or do not fit the settings, or a training may not start in
            `workdir`.
    """
    manifest = tfrecords.read_manifest(shards)
    dataset_checks.check_trainable(manifest, settings)
    if ":" in settings.loss:
        Reference.parse(settings.loss, flag="--loss").source()
    if settings.init_from is not None:
        initial_weights.check_source(Path(settings.init_from), Path(workdir))
    if not directory_is_ours:
        return
    run = RunDirectory(workdir)
    resuming.check_directory(run, resume=resume, overwrite=overwrite)
    if resume and run.config.is_file():
        resuming.check_same_run(run, settings, data_identity.describe(manifest))


def is_one_of_several(strategy: str) -> bool:
    """Whether this process may be one worker of a cluster, as far as --strategy and environment say."""
    named = "TF_CONFIG" in os.environ or "SLURM_STEP_NUM_TASKS" in os.environ
    return strategy == "multi_worker" or (strategy == "auto" and named)
