"""Whether a directory may take a training of several seeds, and what is trained there.

    ENSEMBLE/ensemble.json   written first: the members, and which are finished
    ENSEMBLE/seed-<n>/       each an ordinary run

Nothing here needs TensorFlow.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from engine.base import output_paths
from engine.base.config import UserError
from engine.base.settings import TrainConfig
from engine.runs import ensemble
from engine.runs.ensemble import EnsembleDirectory, Member
from engine.runs.run_directory import RunDirectory
from engine.training import resuming

FEWEST = 2


def check_count(num_seeds: int) -> None:
    """Raises `UserError` unless so many seeds make an ensemble."""
    if num_seeds < FEWEST:
        raise UserError(
            f"--num-seeds: got {num_seeds}, expected {FEWEST} or more; leave it out for one run"
        )


def members(config: TrainConfig, num_seeds: int) -> list[Member]:
    """The runs of an ensemble: the configuration's seed, and those after it."""
    seeds = range(config.seed, config.seed + num_seeds)
    return [Member(f"seed-{seed}", seed=seed) for seed in seeds]


def runs(
    config: TrainConfig, workdir: Path, num_seeds: int
) -> Iterator[tuple[TrainConfig, RunDirectory]]:
    """What each member is trained with, and where.

    Raises:
        UserError: a seed is too large.
    """
    for member in members(config, num_seeds):
        own = dataclasses.replace(config, seed=member.seed)
        yield own, RunDirectory(workdir / member.directory)


def check_directory(
    workdir: Path, config: TrainConfig, num_seeds: int, *, resume: bool, overwrite: bool
) -> None:
    """Raises `UserError` unless these seeds may be trained there; changes nothing."""
    check_count(num_seeds)
    if resume and overwrite:
        raise UserError("--resume continues a run and --overwrite removes it; give one of them")
    output_paths.require_directory(workdir, "--workdir")
    if RunDirectory(workdir).config.is_file():
        raise UserError(
            f"--workdir {workdir} holds a run of one seed; give another directory for --num-seeds"
        )
    if ensemble.is_ensemble(workdir):
        if not resume and not overwrite:
            raise UserError(
                f"--workdir {workdir} already holds an ensemble; continue with --resume, or start "
                "again with --overwrite, or give another directory"
            )
        if resume:
            _check_same_seeds(ensemble.read(workdir), config, num_seeds)
    elif ensemble.foreign(workdir):
        raise UserError(f"--workdir {workdir} holds other files; give a new or an empty directory")


def prepare(
    workdir: Path, config: TrainConfig, num_seeds: int, *, resume: bool, overwrite: bool
) -> EnsembleDirectory:
    """Makes a directory ready that this process holds; returns the ensemble, with what is finished.

    Raises:
        UserError: as `check_directory`.
    """
    check_directory(workdir, config, num_seeds, resume=resume, overwrite=overwrite)
    asked = members(config, num_seeds)
    if ensemble.is_ensemble(workdir):
        before = ensemble.read(workdir)
        if overwrite:
            _remove(before)
        else:
            asked[: len(before.listed)] = before.listed
    prepared = EnsembleDirectory(workdir, asked)
    ensemble.write(prepared)
    return prepared


def finished(found: EnsembleDirectory, directory: str, *, epochs: int) -> EnsembleDirectory:
    """Records that a member is trained to its end."""
    listed = [
        dataclasses.replace(member, epochs=epochs) if member.directory == directory else member
        for member in found.listed
    ]
    updated = EnsembleDirectory(found.path, listed)
    ensemble.write(updated)
    return updated


def _check_same_seeds(found: EnsembleDirectory, config: TrainConfig, num_seeds: int) -> None:
    before = [member.seed for member in found.listed]
    asked = [member.seed for member in members(config, num_seeds)]
    if asked[: len(before)] != before:
        raise UserError(
            f"--resume: {found.path} was started with --seed {before[0]} --num-seeds {len(before)}, now "
            f"--seed {asked[0]} --num-seeds {len(asked)}; seeds can be added at the end, not left out"
        )


def _remove(found: EnsembleDirectory) -> None:
    """Removes an ensemble and its members, and nothing else."""
    for member in found.members:
        resuming.remove_run(member)
        if member.path.is_dir() and not any(member.path.iterdir()):
            member.path.rmdir()
    resuming.remove_run(found)
