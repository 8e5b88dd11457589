"""From an image folder to a shards directory: the orchestration.

    scan, hash -> plan -> range of 16-bit files -> worker processes: read, decode, resize, frame -> shards, one at a time
       -> rejected.csv, TFDS metadata -> manifest.json, last

Crash-safe by two rules. A shard takes its name only when it is whole and synced, and is then noted
in the journal. And what goes into a shard is decided before anything is decoded: a file that turns
out bad only shortens its shard. So a build that was killed goes on at the first shard that is
missing and ends with the bytes of an undisturbed one, and a damaged shard can be rebuilt alone.

One build at a time holds the directory (`engine.base.locks`).
"""

import contextlib
import dataclasses
import importlib.metadata
import io
import math
import platform
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import engine
from engine.base import files, locks, machine
from engine.base.config import UserError, free_settings
from engine.base.csv_rows import CsvRows
from engine.base.progress import ProgressBar
from engine.base.settings import BuildConfig
from engine.images import bit_depth, decoding, image_folder, split_plan
from engine.images.image_folder import Contents, Example, ImageFolder
from engine.images.split_plan import Plan
from engine.shards import build_checks, build_journal, decode_pool, tfrecords
from engine.shards.build_journal import BuildIdentity, Journal, ShardRecord
from engine.shards.decode_pool import DecodePool, Outcome, Record, RecordFormat, SourceFile
from engine.shards.tfrecords import Manifest, SplitInfo

FILES_PER_WORKER = 64  # fewer are decoded sooner than another process starts
SAMPLED_FILES = 32

# Size over that of raw pixels, for the number of shards only: grey X-rays at 224 x 224.
_COMPRESSION = {"raw": 1.0, "png": 0.55, "jpeg": 0.25}


@dataclasses.dataclass(frozen=True)
class BuildResult:
    """What a build did.

    Attributes:
        notes: what was decided about splits, or found out about the directory, a line each.
        num_decoded: images read by this process; 0 where everything was there already.
        seconds: from the first look at the images to the manifest.
    """

    manifest: Manifest
    notes: tuple[str, ...]
    num_decoded: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class ShardPlan:
    """One shard to be: its name and the examples that go into it, in order."""

    file: str
    split: str
    examples: tuple[Example, ...]


def build(config: BuildConfig, images: Path | str, shards: Path | str) -> Manifest:
    """Builds the shards of an image folder, or goes on with a build that was stopped.

    Returns:
        The manifest that was written, or that was there where the build is complete.

    Raises:
        UserError: the folder or the flags cannot be built from; the directory holds another build
            or files of somebody else, or another process builds there; no image of a class is
            usable; a shard is damaged.
    """
    return run(config, images, shards).manifest


def run(config: BuildConfig, images: Path | str, shards: Path | str) -> BuildResult:
    """As `build`, and tells what was done."""
    started = time.monotonic()
    images, shards = Path(images), Path(shards)
    image_folder.check_group_by(config.group_by)
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
    processes = decode_pool.prefers_processes(_sampled_sizes(folder), workers=workers)
    record_format = _record_format(config)
    with DecodePool(folder.root, record_format, workers=workers, processes=processes) as pool:
        contents = image_folder.hash_contents(folder, workers=workers)
        plan = _plan(config, folder, contents)
        identity = _identity(config, folder, contents)
        journal = build_journal.open_journal(shards, identity, overwrite=config.overwrite)
        shard_plans = plan_shards(config, plan)
        missing = build_checks.missing_shards(
            config, shards, journal, [one.file for one in shard_plans], folder.class_names
        )
        todo = [one for one in shard_plans if one.file in missing]
        bits, notes = _bits(config, contents, pool)
        manifest = None
        if build_journal.is_finished(shards) and not todo:
            described = _describe(config, journal, shard_plans, plan, folder, bits)
            manifest = build_checks.intact(shards, *described)
        if manifest is None:
            (shards / tfrecords.MANIFEST).unlink(missing_ok=True)
            _write_shards(
                config, shards, journal, shard_plans, todo, folder.class_names, pool, bits
            )
    if manifest is None:
        manifest, beside = _describe(config, journal, shard_plans, plan, folder, bits)
        _finish(shards, journal, shard_plans, manifest, beside)
    if config.verify or config.repair:
        build_checks.verified(shards)
    num_decoded = sum(len(one.examples) for one in todo)
    notes = (*plan.notes, *notes)
    return BuildResult(manifest, notes, num_decoded, time.monotonic() - started)


def _sampled_sizes(folder: ImageFolder) -> list[int]:
    """Sizes in bytes of some files, spread over the folder."""
    step = 1 + len(folder.examples) // SAMPLED_FILES
    sizes = []
    for example in folder.examples[::step]:
        with contextlib.suppress(decoding.DecodeError):
            sizes.append(decoding.file_size(folder.root / example.path))
    return sizes


# ---------------------------------------------------------------------------- what is built


def _plan(config: BuildConfig, folder: ImageFolder, contents: Contents) -> Plan:
    return split_plan.plan_splits(
        folder,
        contents,
        group_by=config.group_by,
        validation_fraction=config.validation_fraction,
        test_fraction=config.test_fraction,
        on_leak=config.on_leak,
        seed=config.seed,
    )


def _identity(config: BuildConfig, folder: ImageFolder, contents: Contents) -> BuildIdentity:
    free = free_settings(BuildConfig)
    return BuildIdentity(
        arguments={name: value for name, value in config.to_json().items() if name not in free},
        source={
            "name": files.one_line(folder.root.resolve().name),
            "num_files": len(folder.examples),
            "fingerprint": contents.fingerprint,
        },
    )


def _record_format(config: BuildConfig) -> RecordFormat:
    return RecordFormat(
        image_size=config.image_size,
        channels=config.channels,
        keep_aspect_ratio=config.keep_aspect_ratio,
        max_pixels=config.max_pixels,
        encoding=config.encoding,
        jpeg_quality=config.jpeg_quality,
    )


def _bits(config: BuildConfig, contents: Contents, pool: DecodePool) -> tuple[int, tuple[str, ...]]:
    """How many bits the values of 16-bit files are taken to have, and a note that says so.

    One range for all images, found from the largest value of all: the same for any number of workers,
    and again when a build goes on, since the files are the same.
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
    values = [value for value in found if value is not None]
    if not values:
        return bit_depth.DEFAULT, ()
    bits = bit_depth.assumed(max(values))
    return bits, (
        f"{image_folder.counted(len(values), 'image')} with more than 8 bits, the largest value "
        f"{max(values):,}: read as {bits}-bit, 0 to {2**bits - 1:,} (--bits)",
    )


def plan_shards(config: BuildConfig, plan: Plan) -> list[ShardPlan]:
    """Cuts each split into shards of about `--shard-size-mb`, equal to within one example."""
    height, width = config.image_size
    pixels = height * width * config.channels * _COMPRESSION[config.encoding]
    plans = []
    for split, examples in plan.splits.items():
        total_bytes = len(examples) * (pixels + 128)
        count = min(len(examples), math.ceil(total_bytes / (config.shard_size_mb * 1e6)))
        cuts = [len(examples) * index // count for index in range(count + 1)]
        for index in range(count):
            name = tfrecords.shard_name(split, index, count)
            plans.append(ShardPlan(name, split, examples[cuts[index] : cuts[index + 1]]))
    return plans


# ---------------------------------------------------------------------------- writing shards


def _write_shards(
    config: BuildConfig,
    shards: Path,
    journal: Journal,
    shard_plans: Sequence[ShardPlan],
    todo: Sequence[ShardPlan],
    class_names: Sequence[str],
    pool: DecodePool,
    bits: int,
) -> None:
    """Writes the shards in `todo`, in order, noting each in the journal."""
    labels = {name: index for index, name in enumerate(class_names)}
    sources = (
        SourceFile(example.path, labels[example.class_name], example.patient)
        for one in todo
        for example in one.examples
    )
    outcomes = pool.outcomes(sources, bits=bits)
    for split in dict.fromkeys(one.split for one in todo):
        mine = [one for one in todo if one.split == split]
        total = sum(len(one.examples) for one in shard_plans if one.split == split)
        done = total - sum(len(one.examples) for one in mine)
        with ProgressBar(f"building {split}", total=total, done=done) as progress:
            for one in mine:
                journal.note(_write_shard(config, shards, one, outcomes, progress))


def _write_shard(
    config: BuildConfig,
    shards: Path,
    one: ShardPlan,
    outcomes: Iterator[Outcome],
    progress: ProgressBar,
) -> ShardRecord:
    """Takes the outcomes of one shard's examples and writes it, whole or not at all."""
    counts: Counter[str] = Counter()
    rejected, doubts = [], []
    with (
        files.written_aside(shards / one.file) as aside,
        tfrecords.ShardWriter(aside, name=one.file) as writer,
    ):
        for example in one.examples:
            outcome = next(outcomes)
            if isinstance(outcome, Record):
                writer.write(outcome.framed)
                counts[example.class_name] += 1
                doubts += [(example.path, doubt) for doubt in outcome.doubts]
            else:
                rejected.append((example.path, _rejection(config, example, outcome)))
            progress.advance()
    return ShardRecord(writer.info(), dict(sorted(counts.items())), tuple(rejected), tuple(doubts))


def _rejection(config: BuildConfig, example: Example, reason: str) -> str:
    if config.on_error == "fail":
        raise UserError(
            f"{files.one_line(example.path)}: {reason}; fix or remove the file, or leave bad images "
            "out with --on-error skip"
        )
    return reason


# ---------------------------------------------------------------------------- finishing


def _describe(
    config: BuildConfig,
    journal: Journal,
    shard_plans: Sequence[ShardPlan],
    plan: Plan,
    folder: ImageFolder,
    bits: int,
) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest of a build whose shards are all there, and what the files beside it hold."""
    records = [journal.records[one.file] for one in shard_plans]
    bad = [row for record in records for row in record.rejected]
    doubts = sorted(row for record in records for row in record.doubts)
    rejected = sorted([*bad, *plan.dropped.items(), *folder.unreadable.items()])
    class_names = folder.class_names
    splits = {
        split: _split_info(
            class_names, [journal.records[one.file] for one in shard_plans if one.split == split]
        )
        for split in plan.splits
    }
    _require_usable(class_names, splits, rejected)
    manifest = Manifest(
        class_names=class_names,
        image_size=config.image_size,
        channels=config.channels,
        encoding=config.encoding,
        keep_aspect_ratio=config.keep_aspect_ratio,
        resize_method=decoding.RESIZE_METHOD,
        group_by=config.group_by,
        seed=config.seed,
        source=journal.identity.source,
        splits={split: info for split, info in splits.items() if info.num_examples},
        rejected=len(rejected),
        audit=plan.audit,
        bits=bits,
        warnings=(*plan.warnings, *_emptied(plan, splits), *image_folder.by_reason(doubts)),
        arguments=journal.identity.arguments,
        versions=_versions(),
    )
    texts = {tfrecords.REJECTED: _csv_text(rejected), **tfrecords.tfds_metadata(manifest)}
    # Names of files that are not UTF-8 go out as the bytes they were.
    return manifest, {name: text.encode("utf-8", "surrogateescape") for name, text in texts.items()}


def _finish(
    shards: Path,
    journal: Journal,
    shard_plans: Sequence[ShardPlan],
    manifest: Manifest,
    contents: dict[str, bytes],
) -> None:
    """Writes everything but the shards, the manifest last."""
    build_journal.remove_leftovers(shards)
    _write_together(shards, journal, [one.file for one in shard_plans], contents)
    tfrecords.write_manifest(shards, manifest)


def _write_together(
    shards: Path, journal: Journal, order: Sequence[str], contents: dict[str, bytes]
) -> None:
    """Everything that must be durable before the manifest. Waiting for the disk once for all takes
    15 ms; file after file it took 60, a tenth of the time that 250 images of 1.3 megapixels take."""
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(journal.rewrite, order)]
        for name, content in contents.items():
            waiting.append(pool.submit(_write_bytes, shards / name, content))
        for one in waiting:
            one.result()


def _write_bytes(path: Path, content: bytes) -> None:
    with files.written_aside(path) as aside:
        aside.write_bytes(content)


def _split_info(class_names: Sequence[str], records: Sequence[ShardRecord]) -> SplitInfo:
    counts: Counter[str] = Counter()
    for record in records:
        counts.update(record.class_counts)
    return SplitInfo(
        num_examples=sum(record.info.num_examples for record in records),
        class_counts={name: counts[name] for name in class_names},
        shards=tuple(record.info for record in records),
    )


def _require_usable(
    class_names: Sequence[str],
    splits: dict[str, SplitInfo],
    rejected: Sequence[tuple[str, str]],
) -> None:
    for name in class_names:
        if not any(split.class_counts[name] for split in splits.values()):
            path, reason = next(
                row for row in rejected if f"/{name}/".casefold() in f"/{row[0]}/".casefold()
            )
            raise UserError(
                f"class {name!r} has no usable image: all of its files were left out "
                f"(as {files.one_line(path)}: {reason}); add images or remove the folder"
            )


def _emptied(plan: Plan, splits: dict[str, SplitInfo]) -> list[str]:
    """A warning for each class that bad files emptied in a split."""
    planned = {(split, one.class_name) for split, many in plan.splits.items() for one in many}
    return [
        f"{split} has no usable image of class {name!r}"
        for split, info in splits.items()
        for name, count in info.class_counts.items()
        if not count and (split, name) in planned
    ]


def _csv_text(rows: Sequence[tuple[str, str]]) -> str:
    """`rejected.csv`: `path,reason`."""
    text = io.StringIO()
    writer = CsvRows(text)
    for row in (("path", "reason"), *rows):
        writer.writerow(row)
    return text.getvalue()


def _versions() -> dict[str, str]:
    packages = ("numpy", "pillow", "simplejpeg")
    return {
        "tfdata-engine": engine.__version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
    }


# ---------------------------------------------------------------------------- verifying


def _verify_only(config: BuildConfig, shards: Path) -> BuildResult:
    """Checks a finished build as it is, even if the images are gone."""
    manifest = build_checks.verified(shards)
    arguments: dict[str, Any] = config.to_json()
    asked = {name: arguments[name] for name in manifest.arguments if name in arguments}
    differing = build_journal.differences(manifest.arguments, asked)
    notes = [f"verified as it is, built with other arguments: {'; '.join(differing)}"]
    return BuildResult(manifest, tuple(notes if differing else ()), 0, 0.0)
