"""From an image folder to a shards directory: the orchestration.

    scan, hash, DICOM headers -> plan -> range of 16-bit files -> worker processes: read, decode, resize, frame
       -> shards, one at a time
       -> rejected.csv, dicom.csv, TFDS metadata -> manifest.json, last

Crash-safe by two rules. A shard takes its name only when it is whole and synced, and is then noted
in the journal. And what goes into a shard is decided before anything is decoded: a file that cannot be
decoded only shortens its shard. So a build that was killed resumes at the first missing shard and
ends with the bytes of an undisturbed one, and a damaged shard can be rebuilt alone.

One build at a time holds the directory (`engine.base.locks`).
"""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.base import files, locks, machine, ordered_pool
from engine.base.build_settings import BuildConfig
from engine.base.config import free_settings
from engine.base.progress import ProgressBar
from engine.images import (
    bit_depth,
    folder_contents,
    hold_out,
    image_folder,
    patients,
    split_plan,
)
from engine.images.dicom import description, recognition
from engine.images.dicom.description import Description
from engine.images.folder_contents import Contents
from engine.images.format import ImageFormat
from engine.images.hold_out import HoldOut
from engine.images.image_folder import ImageFolder
from engine.images.split_plan import Plan
from engine.shards import (
    build_checks,
    build_finish,
    build_journal,
    shard_writing,
    tfrecords,
)
from engine.shards.build_journal import BuildIdentity
from engine.shards.decode_pool import DecodePool, RecordFormat
from engine.shards.tfrecords import Manifest

FILES_PER_WORKER = 64  # fewer are decoded sooner than another process starts


@dataclasses.dataclass(frozen=True)
class BuildResult:
    """What a build did.

    Attributes:
        notes: decisions about splits and findings about the directory, one line each.
        num_decoded: images read by this process; 0 where everything was there already.
        seconds: from the first look at the images to the manifest.
    """

    manifest: Manifest
    notes: tuple[str, ...]
    num_decoded: int
    seconds: float


def build(config: BuildConfig, images: Path | str, shards: Path | str) -> Manifest:
    """Builds the shards of an image folder, or resumes a build that was stopped.

    Returns:
        The manifest that was written, or that was there where the build is complete.

    Raises:
        UserError: the folder or the flags cannot be built from; the directory holds another build
            or other files, or another process builds there; no image of a class is
            usable; a shard is damaged.
    """
    return run(config, images, shards).manifest


def run(config: BuildConfig, images: Path | str, shards: Path | str) -> BuildResult:
    """As `build`, and says what was done."""
    started = time.monotonic()
    images, shards = Path(images), Path(shards)
    patients.check_group_by(config.group_by)
    build_journal.check_directory(images, shards)
    writes = config.overwrite or config.repair
    if config.verify and not writes and build_journal.is_finished(shards):
        return _verify_only(config, shards)
    folder = image_folder.scan(images)
    with _held(shards):
        return _build(config, folder, shards, started)


@contextlib.contextmanager
def _held(shards: Path) -> Iterator[None]:
    """Holds the directory; one made for a build that wrote nothing is removed with the lock."""
    is_new = not shards.exists()
    try:
        with locks.held(shards, purpose="building"):
            yield
    except BaseException:
        if is_new:
            with contextlib.suppress(OSError):  # it holds something
                shards.rmdir()
        raise


def _build(config: BuildConfig, folder: ImageFolder, shards: Path, started: float) -> BuildResult:
    workers = config.workers or min(
        machine.usable_cores(), 1 + len(folder.examples) // FILES_PER_WORKER
    )
    processes = ordered_pool.prefers_processes(folder.sampled_sizes(), workers=workers)
    record_format = _record_format(config)
    with DecodePool(folder.root, record_format, workers=workers, processes=processes) as pool:
        contents = folder_contents.hash_contents(folder, workers=workers)
        recognition.require_readable(len(contents.dicom), len(folder.examples))
        descriptions = _descriptions(contents, pool)
        plan = _plan(config, folder, contents, descriptions)
        identity = _identity(config, folder, contents, plan)
        journal = build_journal.open_journal(shards, identity, overwrite=config.overwrite)
        shard_plans = shard_writing.plan_shards(config, plan)
        missing = build_checks.missing_shards(
            config,
            shards,
            journal,
            [shard_plan.file for shard_plan in shard_plans],
            folder.class_names,
        )
        todo = [shard_plan for shard_plan in shard_plans if shard_plan.file in missing]
        bits, notes = _bits(config, contents, pool)

        def describe() -> tuple[Manifest, dict[str, bytes]]:
            return build_finish.describe(
                config, journal, shard_plans, plan, folder, bits, descriptions
            )

        manifest = None
        if build_journal.is_finished(shards) and not todo:
            described = describe()
            manifest = build_checks.intact(shards, *described)
        if manifest is None:
            (shards / tfrecords.MANIFEST).unlink(missing_ok=True)
            shard_writing.write_shards(
                config, shards, journal, shard_plans, todo, folder.class_names, pool, bits
            )
    if manifest is None:
        manifest, beside = describe()
        build_finish.finish(shards, journal, shard_plans, manifest, beside)
    if config.verify or config.repair:
        build_checks.verified(shards)
    num_decoded = sum(len(shard_plan.examples) for shard_plan in todo)
    notes = (*plan.notes, *notes)
    return BuildResult(manifest, notes, num_decoded, time.monotonic() - started)


def _descriptions(contents: Contents, pool: DecodePool) -> dict[str, Description]:
    """Path -> what the header of a DICOM file with an image says."""
    if not (contents.dicom and recognition.is_readable()):
        return {}
    found = {}
    with ProgressBar("headers of DICOM files", total=len(contents.dicom)) as progress:
        for path, one in zip(contents.dicom, pool.descriptions(contents.dicom), strict=True):
            if one is not None:
                found[path] = one
            progress.advance()
    return found


def _plan(
    config: BuildConfig,
    folder: ImageFolder,
    contents: Contents,
    descriptions: Mapping[str, Description],
) -> Plan:
    plan = split_plan.plan_splits(
        folder,
        contents,
        known_patients=description.groups(descriptions),
        group_by=config.group_by,
        validation_fraction=config.validation_fraction,
        test_fraction=config.test_fraction,
        on_leak=config.on_leak,
        seed=config.seed,
        hold_out=HoldOut(
            pattern=config.hold_out,
            metadata=config.hold_out_metadata,
            split=config.hold_out_split,
            shared=config.hold_out_shared,
        ),
    )
    warnings = (*plan.warnings, *description.warnings(descriptions, group_by=config.group_by))
    return dataclasses.replace(plan, warnings=warnings)


def _identity(
    config: BuildConfig, folder: ImageFolder, contents: Contents, plan: Plan
) -> BuildIdentity:
    arguments = _arguments(config)
    if config.hold_out_metadata is not None:
        arguments["hold_out_metadata"] = plan.audit["hold_out"]["metadata"]
    return BuildIdentity(
        arguments=arguments,
        source={
            "name": files.one_line(folder.root.resolve().name),
            "num_files": len(folder.examples),
            "fingerprint": contents.fingerprint,
        },
    )


def _arguments(config: BuildConfig) -> dict[str, Any]:
    """The settings that decide a byte; those of holding out where something is held out, so that
    builds without it are what they always were."""
    left_out = free_settings(BuildConfig)
    if not config.holds_out:
        left_out |= {"hold_out", "hold_out_metadata", "hold_out_split", "hold_out_shared"}
    return {name: value for name, value in config.to_json().items() if name not in left_out}


def _record_format(config: BuildConfig) -> RecordFormat:
    return RecordFormat(
        image_format=ImageFormat(
            image_size=config.image_size,
            channels=config.channels,
            keep_aspect_ratio=config.keep_aspect_ratio,
        ),
        max_pixels=config.max_pixels,
        encoding=config.encoding,
        jpeg_quality=config.jpeg_quality,
    )


def _bits(config: BuildConfig, contents: Contents, pool: DecodePool) -> tuple[int, tuple[str, ...]]:
    """How many bits the values of 16-bit files are taken to have, and a note that says so.

    One range for all images, found from the largest value of all: the same for any number of workers,
    and again when a build is resumed, since the files are the same.
    """
    if config.bits != "auto":
        return int(config.bits), ()
    if not contents.deep:
        return bit_depth.DEFAULT, ()
    with ProgressBar("range of 16-bit files", total=len(contents.deep)) as progress:
        found = []
        for value in pool.largest_values(contents.deep):
            found.append(value)
            progress.advance()
    bits, note = bit_depth.assumed_of(found)
    return bits, (f"{note} (--bits)",) if note else ()


def _verify_only(config: BuildConfig, shards: Path) -> BuildResult:
    """Checks a finished build as it is, even if the images are gone."""
    manifest = build_checks.verified(shards)
    built, asked = dict(manifest.arguments), _arguments(config)
    if selected := built.get("hold_out_metadata"):
        built["hold_out_metadata"] = selected["selection"]
    if reference := asked.get("hold_out_metadata"):
        asked["hold_out_metadata"] = hold_out.without_folder(reference)
    differing = build_journal.differences(built, asked)
    notes = [f"verified as it is, built with other arguments: {'; '.join(differing)}"]
    return BuildResult(manifest, tuple(notes if differing else ()), 0, 0.0)
