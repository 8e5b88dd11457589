"""Whether a directory may take a run, new or resumed, and what a resumed one starts from.

A run is never mixed with another: existing files are kept unless `--overwrite` is given, and only the same
settings on the same data are resumed, computed in the same way. Nothing here needs TensorFlow.
"""

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.base import files, locks, output_paths
from engine.base.config import FREE, RESOLVED, UserError, changed_settings
from engine.base.settings import TrainConfig
from engine.runs.run_directory import RunDirectory
from engine.shards import data_identity
from engine.training import checkpoints, code_identity

if TYPE_CHECKING:
    from engine.training.runtime import Runtime


class OtherComputationError(UserError):
    """The run was started where `auto` chose something else than it does here.

    Attributes:
        differing: what does, such as `precision is float32 here, was mixed_bfloat16`.
    """

    def __init__(self, message: str, differing: str) -> None:
        super().__init__(message)
        self.differing = differing


@contextlib.contextmanager
def held(run: RunDirectory) -> Iterator[None]:
    """Holds the directory for one training.

    Raises:
        UserError: another process trains there, or the path is that of a file.
    """
    _require_no_file(run)
    with locks.held(run.path, purpose="a training"):
        yield


def prepare_directory(
    run: RunDirectory,
    config: TrainConfig,
    described: Mapping[str, Any],
    *,
    resume: bool,
    overwrite: bool,
) -> checkpoints.Checkpoint | None:
    """Makes the directory ready and returns the checkpoint to resume from, if any.

    Args:
        described: what `environment.describe` gives here.

    Raises:
        UserError: it holds another run, or other files; no checkpoint that is undamaged; or the user's
            network or loss has changed.
        OtherComputationError: it would compute differently from its start.
    """
    check_directory(run, resume=resume, overwrite=overwrite)
    if overwrite:
        remove_run(run)
    _remove_unfinished(run)
    if not run.config.is_file():
        return None
    check_same_run(run, config, described["data"])
    if (started := _read_start(run)) is not None:
        _check_same_code(run, started["code"], described.get("code", {}))
        _check_same_computation(run, started["runtime"], described["runtime"])
    checkpoint = checkpoints.load_newest(run.checkpoints)
    saved = checkpoints.paths(run.checkpoints)
    if checkpoint is None and saved:
        reason = (
            "written by an earlier version of this program, which this version cannot resume"
            if checkpoints.is_of_another_version(saved[-1])
            else "every checkpoint is damaged"
        )
        raise UserError(f"{run.checkpoints}: {reason}; train again with --overwrite")
    return checkpoint


def check_directory(run: RunDirectory, *, resume: bool, overwrite: bool) -> None:
    """Raises `UserError` unless a run may be written there; changes nothing."""
    if resume and overwrite:
        raise UserError("--resume continues a run and --overwrite removes it; give one of them")
    _require_no_file(run)
    if run.config.is_file():
        if not resume and not overwrite:
            raise UserError(
                f"--workdir {run.path} already holds a run; continue with --resume, or start "
                "again with --overwrite, or give another directory"
            )
    elif run.foreign():
        if overwrite:
            raise UserError(f"--overwrite: {run.path} does not look like a run; remove it by hand")
        raise UserError(f"--workdir {run.path} holds other files; give a new or an empty directory")


def record_start(run: RunDirectory, config: TrainConfig, described: Mapping[str, Any]) -> None:
    """Writes what the run is started with and on; of a resumed one the first record stays.

    Of its settings only the number of epochs may grow. `config.json` comes last: from then on there is
    a run.
    """
    begun = run.config.is_file()
    # Without it, what is there was left by a start that was killed, perhaps on other data.
    if not begun or not run.environment.is_file():
        files.write_json(run.environment, described)
    if begun:
        stored = _read_config(run)
        config = dataclasses.replace(stored, epochs=config.epochs)
        if config == stored:
            return
    files.write_json(run.config, config.to_json())


def record_resume(run: RunDirectory, session: Mapping[str, Any]) -> None:
    """Adds where and on what the run is resumed to the record of its start, which stays as it is."""
    environment = run.read_environment()
    sessions = [*environment.get("resumed", []), session]
    files.write_json(run.environment, {**environment, "resumed": sessions})


def chiefs_checkpoint(
    run: RunDirectory, run_on: "Runtime", own: checkpoints.Checkpoint | None
) -> checkpoints.Checkpoint | None:
    """The checkpoint that the chief resumes from, read by every worker.

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


def check_fits(checkpoint: checkpoints.Checkpoint, variables: Mapping[str, Any]) -> None:
    """Raises `UserError` unless a checkpoint holds these variables, each in its shape and type."""
    expected = {key: _shape_and_type(variable) for key, variable in variables.items()}
    spaces = {key.partition("/")[0] for key in expected}
    stored = {
        key: _shape_and_type(array)
        for key, array in checkpoint.arrays.items()
        if key.partition("/")[0] in spaces
    }
    if stored != expected:
        key = min(k for k in expected.keys() | stored.keys() if stored.get(k) != expected.get(k))
        raise UserError(
            f"--resume: the checkpoint of step {checkpoint.step} is of another network: {key} is "
            f"{stored.get(key, 'absent')}, expected {expected.get(key, 'none')}; "
            "train again with --overwrite"
        )


def _shape_and_type(array: Any) -> str:
    return f"{array.dtype}{list(array.shape)}"


@contextlib.contextmanager
def freed_if_never_begun(run: RunDirectory) -> Iterator[None]:
    """Around a run: wrong input that ends it before its first checkpoint leaves the directory free.

    The corrected command is then not refused because of a run that never began.
    """
    try:
        yield
    except UserError:
        if not checkpoints.paths(run.checkpoints) and not run.model.is_file():
            remove_run(run)
        raise


def _require_no_file(run: RunDirectory) -> None:
    output_paths.require_directory(run.path, "--workdir")


def remove_run(run: RunDirectory) -> None:
    """Removes what a run, or an ensemble beside its members, leaves, and nothing else."""
    _remove_unfinished(run)
    for path in run.owned:
        _remove(path)


def _remove_unfinished(run: RunDirectory) -> None:
    """Removes what was being written when a run was killed."""
    for path in run.owned:
        _remove(files.aside_path(path))
    checkpoints.remove_unfinished(run.checkpoints)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def check_same_run(run: RunDirectory, config: TrainConfig, data: Mapping[str, Any]) -> None:
    """Raises `UserError` if the stored run was started with other settings or other data.

    Args:
        data: what `data_identity.describe` gives of the shards.
    """
    stored = _read_config(run)
    differing = changed_settings(stored, config, kinds=(FREE, RESOLVED))
    if stored.epochs != config.epochs and len(differing) == 1:
        _check_extension(run, stored, config)
    elif differing:
        raise UserError(
            f"--resume: {run.path} was started with other settings: {'; '.join(differing)}"
        )
    started = _read_start(run)
    if started is None:
        return
    differing = data_identity.differences(started["data"], data)
    if differing:
        raise UserError(
            f"--resume: {run.path} was started on other data than these shards hold: "
            f"{'; '.join(differing)}; give the shards it was started on"
        )


def _read_config(run: RunDirectory) -> TrainConfig:
    return TrainConfig.from_json(files.read_json(run.config), source=str(run.config))


def _check_extension(run: RunDirectory, stored: TrainConfig, config: TrainConfig) -> None:
    """Raises `UserError` unless the run can be extended to `config.epochs`, which alone differs.

    Under a constant schedule nothing that was computed depends on the number of epochs, unless weights are
    averaged from a share of them on.
    """
    asked = f"--resume: {run.path} was started with --epochs {stored.epochs}, now {config.epochs}"
    if config.schedule != "constant":
        raise UserError(
            f"{asked}; with --schedule {config.schedule} the learning rate of every step follows from "
            "the number of epochs, so the run cannot be extended: train a new run from its weights "
            f"with --init-from {run.path}, or give --epochs {stored.epochs}"
        )
    if config.average_from is not None:
        raise UserError(
            f"{asked}; with --average-from {config.average_from} the steps that are averaged follow from the "
            f"number of epochs, so the run cannot be extended: train a new run from its weights with "
            f"--init-from {run.path}, or give --epochs {stored.epochs}"
        )
    if config.epochs < stored.epochs:
        raise UserError(f"{asked}; a run can be extended, not shortened")


def _read_start(run: RunDirectory) -> dict[str, dict[str, Any]] | None:
    """The `data`, `runtime` and `code` that the run was started on; None if it was killed before it began."""
    if not run.environment.is_file() and not checkpoints.paths(run.checkpoints):
        return None
    environment = run.read_environment()
    try:
        started = {name: dict(environment[name]) for name in ("data", "runtime")}
        return {**started, "code": dict(environment.get("code", {}))}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{run.environment}: does not say what the run was started on ({error!r}); "
            "train again with --overwrite"
        ) from error


def _check_same_code(run: RunDirectory, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises `UserError` if the user's own network or loss has changed since the run's start."""
    changed = code_identity.differences(before, now)
    if changed:
        raise UserError(
            f"--resume: {' and '.join(changed)} changed since {run.path} was started; restore the code, "
            "or train a new run from its weights with --init-from"
        )


def _check_same_computation(
    run: RunDirectory, before: Mapping[str, Any], now: Mapping[str, Any]
) -> None:
    """Raises `OtherComputationError` if `auto` chose something else at the run's start than here.

    XLA follows the number of devices, which may differ, so it is compared between equal numbers.
    """
    flags = {
        "precision": lambda precision: f"--precision {precision}",
        "jit_compile": lambda on: f"--jit-compile {'on' if on else 'off'}",
        "order": lambda order: f"--cache {'streaming' if order == 'windows' else 'memory'}",
    }
    if before.get("num_replicas") != now["num_replicas"]:
        del flags["jit_compile"]
    differing = {
        name: f"{name} is {now[name]} here, was {before[name]}"
        for name in flags
        if name in before and before[name] != now[name]
    }
    if differing:
        remedies = [
            f"{said} (give {flags[name](before[name])})" for name, said in differing.items()
        ]
        raise OtherComputationError(
            f"--resume: {run.path} would not compute as it did before: {'; '.join(remedies)}",
            "; ".join(differing.values()),
        )
