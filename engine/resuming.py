"""Whether a directory may take a run, new or resumed, and what a resumed one goes on from.

A run is never mixed with another: what is there already is kept unless told otherwise, and only the same
settings on the same images go on.
"""

import contextlib
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

from engine import checkpoints, files
from engine.config import UserError, flag_name
from engine.run_directory import RunDirectory
from engine.settings import TrainConfig
from engine.tfrecords import Manifest

if TYPE_CHECKING:
    from engine.runtime import Runtime

# Which settings may differ when a run is resumed: none of them changes what is computed.
_FREE_ON_RESUME = frozenset(
    {
        "cache",
        "cache_memory_fraction",
        "data_service",
        "threshold",
        "checkpoint_every",
        "on_divergence",
        "max_rewinds",
        "num_logical_devices",
        "profile",
        "steps_per_execution",
        "strategy",
    }
)


def prepare_directory(
    run: RunDirectory, config: TrainConfig, manifest: Manifest, *, resume: bool, overwrite: bool
) -> checkpoints.Checkpoint | None:
    """Makes the directory ready and returns the checkpoint to go on from, if any.

    Raises:
        UserError: it holds another run, or other files; or nothing that is whole to go on from.
    """
    check_directory(run, resume=resume, overwrite=overwrite)
    if overwrite:
        _remove_run(run)
    if not run.config.is_file():
        return None
    _check_same_run(run, config, manifest)
    checkpoint = checkpoints.load_newest(run.checkpoints)
    if checkpoint is None and checkpoints.paths(run.checkpoints):
        raise UserError(f"{run.checkpoints}: every checkpoint is damaged; train with --overwrite")
    return checkpoint


def check_directory(run: RunDirectory, *, resume: bool, overwrite: bool) -> None:
    """Raises `UserError` unless a run may be written there; needs no TensorFlow, and changes nothing."""
    if resume and overwrite:
        raise UserError("--resume goes on with a run and --overwrite removes it; give one of them")
    if run.path.exists() and not run.path.is_dir():
        raise UserError(f"--workdir {run.path} is a file; expected a directory")
    if run.config.is_file():
        if not resume and not overwrite:
            raise UserError(
                f"--workdir {run.path} already holds a run; go on with --resume, start anew with "
                "--overwrite, or give another directory"
            )
    elif run.path.is_dir() and any(run.path.iterdir()):
        if overwrite:
            raise UserError(f"--overwrite: {run.path} does not look like a run; remove it by hand")
        raise UserError(f"--workdir {run.path} holds other files; give a new or an empty directory")


def chiefs_checkpoint(
    run: RunDirectory, run_on: "Runtime", own: checkpoints.Checkpoint | None
) -> checkpoints.Checkpoint | None:
    """The checkpoint that the chief goes on from, read by every worker.

    Raises:
        UserError: this worker cannot read it.
    """
    (step,) = run_on.agreed([-1.0 if own is None else float(own.step)])
    if step < 0 or run_on.is_chief:
        return own
    found = checkpoints.load(run.checkpoints, int(step))
    if found is None:
        raise UserError(
            f"{run.checkpoints}: this worker cannot read the chief's checkpoint of step {step:.0f}; "
            "--workdir must be on storage that all workers share"
        )
    return found


@contextlib.contextmanager
def freed_if_never_begun(run: RunDirectory) -> Iterator[None]:
    """Around a run: one that wrong input ends before its first checkpoint leaves the directory free.

    So the same command, mended, is not told that there is a run already.
    """
    try:
        yield
    except UserError:
        if not checkpoints.paths(run.checkpoints):
            _remove_run(run)
        raise


def _remove_run(run: RunDirectory) -> None:
    """Removes what a run leaves, and nothing else."""
    for path in vars(run).values():
        if path == run.path:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    shutil.rmtree(run.evaluation("").parent / "evaluation", ignore_errors=True)


def _check_same_run(run: RunDirectory, config: TrainConfig, manifest: Manifest) -> None:
    """Raises `UserError` if the stored run was started with other settings or other data."""
    stored = TrainConfig.from_json(files.read_json(run.config), source=str(run.config)).to_json()
    differing = [
        f"{flag_name(name)} was {stored[name]}, now {value}"
        for name, value in config.to_json().items()
        if value != stored[name] and name not in _FREE_ON_RESUME
    ]
    if differing:
        raise UserError(
            f"--resume: {run.path} was started with other settings: {'; '.join(differing)}"
        )
    fingerprint = run.read_environment()["data"]["fingerprint"]
    if fingerprint != manifest.fingerprint:
        raise UserError(f"--resume: {run.path} was started on other images than these shards hold")
