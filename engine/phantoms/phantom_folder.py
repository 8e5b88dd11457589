"""Makes a folder of phantoms in the layout and with the file names of the public chest X-ray set.

    train|val|test/NORMAL/     IM-<patient>-<n>.jpeg  NORMAL2-IM-<patient>-<n>.jpeg
    train|val|test/PNEUMONIA/  person<patient>_bacteria_<n>.jpeg  person<patient>_virus_<n>.jpeg
    .phantoms.json             the settings and every file made; says when the folder is complete

The settings alone decide every byte, whatever the number of workers (on one machine and with one
version of NumPy and Pillow: their last bits differ between processors).
"""

import dataclasses
import io
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine.base import files, machine, output_paths, progress
from engine.base.build_settings import PhantomConfig
from engine.base.config import UserError
from engine.phantoms import phantom_images

RECORD = ".phantoms.json"
RECORD_VERSION = 1  # of the record and of the procedure: other phantoms, another version
IMAGES_A_TASK = 20

_PATIENT_DRAWS = 3  # the stream of draws next to those of `phantom_images`


@dataclasses.dataclass(frozen=True)
class Phantom:
    """One image to make: where it goes, and what it shows."""

    path: str  # relative to the folder, with slashes
    patient: tuple[int, ...]
    view: int
    finding: str | None


def make_phantoms(
    config: PhantomConfig, directory: Path | str, *, overwrite: bool = False
) -> list[Phantom] | None:
    """Makes the folder, or finds that it is there already.

    A folder left unfinished (by a kill, say) is finished by the same settings; it is never taken for
    a complete one.

    Args:
        overwrite: remove the phantoms made with other settings first; nothing else is removed.

    Returns:
        What was made; None if the folder was complete.

    Raises:
        UserError: the directory holds something else, or phantoms of other settings.
    """
    directory = Path(directory)
    phantoms = plan(config)
    record = _read_record(directory)
    settings = _identity(config)
    if record is None:
        _require_empty(directory)
    elif record["settings"] != settings:
        if not overwrite:
            raise UserError(_differences(directory, record["settings"], settings))
        _remove(directory, record["files"])
        _require_free(directory, phantoms)
    elif record["complete"] and _all_there(directory, phantoms):
        return None
    entry = {"settings": settings, "files": [phantom.path for phantom in phantoms]}
    files.write_json(directory / RECORD, {"complete": False, **entry})
    _draw_all(config, directory, phantoms)
    files.write_json(directory / RECORD, {"complete": True, **entry})
    return phantoms


def plan(config: PhantomConfig) -> list[Phantom]:
    """Every image to make, in order; each patient is in one split and one class only."""
    phantoms: list[Phantom] = []
    names = _Names()
    splits = {"train": config.train_images, "val": config.val_images, "test": config.test_images}
    for split_index, (split, num_images) in enumerate(splits.items()):
        if num_images == 0:
            continue
        sick = min(max(round(num_images * config.pneumonia_share), 1), num_images - 1)
        for label, count in enumerate((num_images - sick, sick)):
            rng = np.random.default_rng((config.seed, _PATIENT_DRAWS, split_index, label))
            patient = 0
            while count > 0:
                views = min(count, int(rng.integers(1, config.images_per_patient + 1)))
                finding = str(rng.choice(phantom_images.FINDINGS)) if label else None
                second_series = bool(rng.random() < 0.5)
                for view, name in enumerate(names.of_patient(finding, second_series, views)):
                    path = f"{split}/{name}"
                    phantoms.append(Phantom(path, (split_index, label, patient), view, finding))
                count -= views
                patient += 1
    return phantoms


class _Names:
    """Numbers patients and images as the public set does."""

    def __init__(self) -> None:
        self._normal_patients = 114  # the public set begins at IM-0115
        self._people = 0
        self._images = dict.fromkeys(phantom_images.FINDINGS, 0)

    def of_patient(self, finding: str | None, second_series: bool, views: int) -> Iterator[str]:
        """The names of a new patient's images, each `<class>/<file>`."""
        if finding is None:
            self._normal_patients += 1
            series = "NORMAL2-IM" if second_series else "IM"
            for view in range(1, views + 1):
                yield f"NORMAL/{series}-{self._normal_patients:04d}-{view:04d}.jpeg"
            return
        self._people += 1
        for _ in range(views):
            self._images[finding] += 1
            yield f"PNEUMONIA/person{self._people}_{finding}_{self._images[finding]}.jpeg"


def encode_phantom(config: PhantomConfig, phantom: Phantom) -> bytes:
    """Draws one phantom and encodes it as a grey JPEG."""
    image = phantom_images.draw_phantom(**_arguments(config, phantom))
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def masks_of(config: PhantomConfig, phantom: Phantom) -> np.ndarray:
    """Where a phantom's opacities lie, bool[P, H, W]; see `phantom_images.opacity_masks`."""
    return phantom_images.opacity_masks(**_arguments(config, phantom))


def _arguments(config: PhantomConfig, phantom: Phantom) -> dict[str, Any]:
    """What decides a phantom."""
    return {
        "seed": config.seed,
        "patient": phantom.patient,
        "view": phantom.view,
        "finding": phantom.finding,
        "min_size": config.min_size,
        "max_size": config.max_size,
    }


# --- drawing, by one process or several ---------------------------------------------------------


def _draw_all(config: PhantomConfig, directory: Path, phantoms: list[Phantom]) -> None:
    for folder in sorted({(directory / phantom.path).parent for phantom in phantoms}):
        folder.mkdir(parents=True, exist_ok=True)
    tasks = [phantoms[i : i + IMAGES_A_TASK] for i in range(0, len(phantoms), IMAGES_A_TASK)]
    # A process takes 0.3 s to start, as long as a few tasks take.
    workers = min(config.workers or machine.usable_cores(), max(1, len(tasks) // 4))
    with progress.ProgressBar("drawing phantoms", total=len(phantoms)) as bar:
        if workers == 1:
            for task in tasks:
                bar.advance(_draw_task(config, directory, task))
            return
        for count in _drawn_by_processes(config, directory, tasks, workers):
            bar.advance(count)


def _drawn_by_processes(
    config: PhantomConfig, directory: Path, tasks: list[list[Phantom]], workers: int
) -> Iterator[int]:
    """Yields the size of each task as it is done."""
    # Spawned, not forked: a caller may have imported TensorFlow, whose threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
        try:
            futures = [pool.submit(_draw_task, config, directory, task) for task in tasks]
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """Leaves Ctrl-C to the parent, and ends this process when the parent dies (kill -9 included)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: Any) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def _draw_task(config: PhantomConfig, directory: Path, task: list[Phantom]) -> int:
    for phantom in task:
        path = directory / phantom.path
        path.write_bytes(encode_phantom(config, phantom))
        files.sync_file(path)
    return len(task)


# --- the record of what was made ----------------------------------------------------------------


def _identity(config: PhantomConfig) -> dict[str, Any]:
    """What decides the bytes: every setting but the number of workers."""
    settings = config.to_json()
    del settings["workers"]
    return {"version": RECORD_VERSION, **settings}


def _read_record(directory: Path) -> dict[str, Any] | None:
    path = directory / RECORD
    if not path.exists():
        return None
    try:
        record = files.read_json(path)
        return {key: record[key] for key in ("complete", "settings", "files")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: damaged ({error}), so what was made here is unknown; remove {directory} or "
            "choose another directory"
        ) from error


def _require_empty(directory: Path) -> None:
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory}: is a file, expected a new or empty directory")
    output_paths.require_directory(directory, "DIR")
    if directory.is_dir() and any(directory.iterdir()):
        raise UserError(
            f"{directory}: holds files that engine.phantoms did not make; choose a new or empty "
            "directory"
        )


def _require_free(directory: Path, phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        if (directory / phantom.path).exists():
            raise UserError(
                f"{directory / phantom.path}: is in the way and engine.phantoms did not make it; "
                "remove it or choose another directory"
            )


def _differences(directory: Path, there: dict[str, Any], wanted: dict[str, Any]) -> str:
    differing = ", ".join(
        f"{key} is {there.get(key)!r} there, {wanted.get(key)!r} was requested"
        for key in sorted(there.keys() | wanted.keys())
        if there.get(key) != wanted.get(key)
    )
    return (
        f"{directory}: holds phantoms of other settings ({differing}); give --overwrite to replace "
        "them, or another directory"
    )


def _all_there(directory: Path, phantoms: list[Phantom]) -> bool:
    return all((directory / phantom.path).is_file() for phantom in phantoms)


def _remove(directory: Path, paths: list[str]) -> None:
    """Removes the files that were made here, and the folders that this leaves empty."""
    folders: set[Path] = set()
    for path in paths:
        (directory / path).unlink(missing_ok=True)
        folders.update((directory / path).parents)
    inside = {folder for folder in folders if directory in folder.parents}
    for folder in sorted(inside, key=lambda folder: len(folder.parts), reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
