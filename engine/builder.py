"""From an image folder to a shards directory: the orchestration.

    scan, hash -> plan -> [worker processes: read, decode, resize, frame] -> shards, one at a time
       -> rejected.csv, TFDS metadata -> manifest.json, last

Crash-safe by two rules. A shard takes its name only when it is whole and synced, and is then noted in
the journal `build.jsonl`, whose first line holds the arguments and the source's fingerprint. What
goes into a shard is decided before anything is decoded; a file that turns out bad only shortens
its shard. So a build that was killed goes on at the first shard that is missing and ends with the
bytes of an undisturbed one, and a damaged shard can be rebuilt alone.
"""

import collections
import csv
import dataclasses
import importlib.metadata
import io
import json
import math
import multiprocessing
import multiprocessing.connection
import os
import platform
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import engine
from engine import decoding, files, image_folder, tfrecords
from engine.config import UserError, flag_name
from engine.image_folder import Example, Plan
from engine.progress import ProgressBar, say
from engine.settings import BuildConfig
from engine.tfrecords import DamagedShardError, Manifest, ShardInfo, SplitInfo

# Settings that do not change a byte of what is built.
NOT_IDENTITY = ("workers", "overwrite", "verify", "repair")
TASKS_PER_WORKER = 3  # in flight: enough that no worker waits while the parent writes
TASK_BYTES = 4 << 20  # of pixels a task sends back, at most

_SHARD_FILE = re.compile(r"(train|validation|test)-\d{5}-of-\d{5}(\.partial)?\.tfrecord")
# Decoded size over raw size, for the number of shards only: grey X-rays at 224 x 224.
_COMPRESSION = {"raw": 1.0, "png": 0.55, "jpeg": 0.25}


@dataclasses.dataclass(frozen=True)
class BuildResult:
    """What a build did.

    Attributes:
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


@dataclasses.dataclass(frozen=True)
class ShardRecord:
    """One finished shard, as the journal notes it; `rejected` is [(path, reason)]."""

    info: ShardInfo
    class_counts: dict[str, int]
    rejected: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ShardRecord":
        return cls(
            ShardInfo(**values["info"]),
            dict(values["class_counts"]),
            tuple((path, reason) for path, reason in values["rejected"]),
        )


def build(config: BuildConfig, images: Path | str, shards: Path | str) -> Manifest:
    """Builds the shards of an image folder, or goes on with a build that was stopped.

    Returns:
        The manifest that was written, or that was there where the build is complete.

    Raises:
        UserError: the folder or the flags cannot be built from; the directory holds another build
            or files of somebody else; no image of a class is usable; a shard is damaged.
    """
    return run(config, images, shards).manifest


def run(config: BuildConfig, images: Path | str, shards: Path | str) -> BuildResult:
    """As `build`, and tells what was done."""
    started = time.monotonic()
    images, shards = Path(images), Path(shards)
    image_folder.check_group_by(config.group_by)
    _check_directories(images, shards)
    if config.verify and not (config.overwrite or config.repair) and _is_finished(shards):
        manifest = _verified(shards)
        return BuildResult(manifest, _foreign_arguments(manifest, config), 0, 0.0)
    workers = config.workers or available_cores()
    with _Decoders(config, images, workers) as decoders:
        folder = image_folder.scan(images)
        contents = image_folder.hash_contents(folder, workers=workers)
        plan = _plan(config, folder, contents)
        header = _header(config, images, folder, contents)
        state = _open_state(config, shards, header)
        shard_plans = plan_shards(config, plan)
        manifest, num_decoded = _complete(config, shards, state, shard_plans, plan, decoders)
    if config.verify or config.repair:
        _verified(shards)
    return BuildResult(manifest, plan.notes, num_decoded, time.monotonic() - started)


def available_cores() -> int:
    """Cores this process may run on, which containers and `taskset` make fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# ---------------------------------------------------------------------------- what is built


def _plan(
    config: BuildConfig, folder: image_folder.ImageFolder, contents: image_folder.Contents
) -> Plan:
    return image_folder.plan(
        folder,
        contents,
        group_by=config.group_by,
        validation_fraction=config.validation_fraction,
        test_fraction=config.test_fraction,
        on_leak=config.on_leak,
        seed=config.seed,
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


def _header(
    config: BuildConfig,
    images: Path,
    folder: image_folder.ImageFolder,
    contents: image_folder.Contents,
) -> dict[str, Any]:
    """What makes a build this build: the journal's first line."""
    return {
        "format_version": tfrecords.FORMAT_VERSION,
        "arguments": arguments_of(config),
        "class_names": list(folder.class_names),
        "source": {
            "name": images.resolve().name,
            "num_files": len(folder.examples),
            "fingerprint": contents.fingerprint,
        },
    }


def arguments_of(config: BuildConfig) -> dict[str, Any]:
    """The settings that decide the bytes of a build."""
    return {name: value for name, value in config.to_json().items() if name not in NOT_IDENTITY}


def _versions() -> dict[str, str]:
    packages = ("numpy", "pillow", "simplejpeg")
    return {
        "tfdata-engine": engine.__version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
    }


# ---------------------------------------------------------------------------- the directory


def _check_directories(images: Path, shards: Path) -> None:
    if shards.exists() and not shards.is_dir():
        raise UserError(f"{shards}: is a file; expected a directory to write shards to")
    if images.exists() and images.resolve() in (shards.resolve(), *shards.resolve().parents):
        raise UserError(
            f"{shards}: lies inside the image folder {images}, where shards would be taken for "
            "images; give a directory outside it"
        )
    if not shards.exists():
        return
    names = sorted(entry.name for entry in shards.iterdir() if not entry.name.startswith("."))
    if names and not any(name in names for name in (tfrecords.BUILD_STATE, tfrecords.MANIFEST)):
        raise UserError(
            f"{shards}: holds files that are not of a build ({', '.join(names[:3])}); give a new or "
            "empty directory"
        )


def _is_finished(shards: Path) -> bool:
    return (shards / tfrecords.MANIFEST).is_file()


@dataclasses.dataclass
class _State:
    """The journal in memory: the header and the finished shards by file name."""

    path: Path
    header: dict[str, Any]
    records: dict[str, ShardRecord]

    def note(self, record: ShardRecord) -> None:
        """Adds a finished shard, durably: a line that is torn by a crash is not read back."""
        self.records[record.info.file] = record
        with open(self.path, "ab") as file:
            file.write(_line(record.to_json()))
            file.flush()
            os.fsync(file.fileno())

    def rewrite(self, order: Sequence[str]) -> None:
        """The journal as an undisturbed build leaves it."""
        lines = [self.header, *(self.records[name].to_json() for name in order)]
        with files.written_aside(self.path) as aside:
            aside.write_bytes(b"".join(map(_line, lines)))


def _line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _open_state(config: BuildConfig, shards: Path, header: dict[str, Any]) -> _State:
    """The state to go on from: a new one, or that of the same build begun before.

    Raises:
        UserError: the directory holds another build, and `--overwrite` is not given.
    """
    path = shards / tfrecords.BUILD_STATE
    lines = _read_journal(path)
    known = bool(lines) or _is_finished(shards)
    if known and config.overwrite:
        _remove_build(shards)
    elif known:
        _require_same(shards, lines[0] if lines else {}, header)
    if not lines or config.overwrite:
        shards.mkdir(parents=True, exist_ok=True)
        state = _State(path, header, {})
        state.rewrite([])
        return state
    records = [ShardRecord.from_json(line) for line in lines[1:]]
    state = _State(path, header, {record.info.file: record for record in records})
    # Leaves out a line that a crash tore, which the next line would else be glued to.
    state.rewrite(list(state.records))
    return state


def _read_journal(path: Path) -> list[dict[str, Any]]:
    """Its whole lines; those after a torn one are not trusted."""
    if not path.is_file():
        return []
    lines = []
    for line in path.read_bytes().split(b"\n")[:-1]:
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def _require_same(shards: Path, found: Mapping[str, Any], header: Mapping[str, Any]) -> None:
    differences = _differences(found.get("arguments", {}), header["arguments"])
    if found.get("source", {}) != header["source"] and found:
        before = found["source"]
        differences.append(
            f"the images ({before['name']}, {before['num_files']:,} files; now "
            f"{header['source']['name']}, {header['source']['num_files']:,} files"
            + (")" if before["num_files"] != header["source"]["num_files"] else ", changed)")
        )
    if not found:
        differences = ["its journal is missing"]
    if found.get("format_version") != header["format_version"] and found:
        differences.append("the format version")
    if differences:
        kind = "a finished build" if _is_finished(shards) else "an unfinished build"
        raise UserError(
            f"{shards}: holds {kind} that differs: {'; '.join(differences)}; give the same "
            "arguments, another directory, or --overwrite to start anew"
        )


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """`--image-size 128x128, now 224x224` for each argument that is not the same."""
    return [
        f"{flag_name(name)} {_shown(before.get(name))}, now {_shown(now.get(name))}"
        for name in now
        if before.get(name) != now.get(name)
    ]


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "x".join(map(str, value))
    return {None: "none", True: "on", False: "off"}.get(value, str(value)) if (
        value is None or isinstance(value, bool)
    ) else str(value)


def _remove_build(shards: Path) -> None:
    """Removes what builds write, and nothing else; the manifest first, the journal last."""
    own = [tfrecords.MANIFEST, tfrecords.REJECTED, *tfrecords.TFDS_FILES]
    for name in own:
        (shards / name).unlink(missing_ok=True)
    for entry in list(shards.iterdir()):
        if _SHARD_FILE.fullmatch(entry.name) or _is_aside(entry.name, own):
            entry.unlink()
    (shards / tfrecords.BUILD_STATE).unlink(missing_ok=True)


def _is_aside(name: str, own: Iterable[str]) -> bool:
    """Left by a crash in the middle of writing one of `own` aside."""
    return files.ASIDE_SUFFIX in name and name.replace(files.ASIDE_SUFFIX, "") in own


# ---------------------------------------------------------------------------- building


def _complete(
    config: BuildConfig,
    shards: Path,
    state: _State,
    shard_plans: Sequence[ShardPlan],
    plan: Plan,
    decoders: "_Decoders",
) -> tuple[Manifest, int]:
    """Writes what is missing; (the manifest, how many images were decoded for it)."""
    missing = _missing_shards(config, shards, state, shard_plans)
    if _is_finished(shards) and not missing:
        return tfrecords.read_manifest(shards), 0
    if _is_finished(shards):
        (shards / tfrecords.MANIFEST).unlink()
    num_decoded = _write_shards(config, shards, state, shard_plans, missing, decoders)
    manifest = _manifest(config, state, shard_plans, plan)
    _require_usable(manifest)
    _write_rejected(shards, _rejected_rows(state, shard_plans, plan))
    tfrecords.write_tfds_metadata(shards, manifest)
    _remove_asides(shards)
    state.rewrite([one.file for one in shard_plans])
    tfrecords.write_manifest(shards, manifest)
    return manifest, num_decoded


def _missing_shards(
    config: BuildConfig, shards: Path, state: _State, shard_plans: Sequence[ShardPlan]
) -> set[str]:
    """Names of the shards to write: never written, gone, or not what was written.

    Checksums are compared where a build was interrupted, or on request; of a finished build, the sizes.
    """
    thorough = config.repair or not _is_finished(shards)
    missing = set()
    for one in shard_plans:
        record = state.records.get(one.file)
        if record is None:
            missing.add(one.file)
            continue
        try:
            if thorough:
                tfrecords.verify_shard(shards, record.info)
            elif (shards / one.file).stat().st_size != record.info.bytes:
                raise DamagedShardError(f"{shards / one.file}: has another size than was written")
        except FileNotFoundError:
            missing.add(one.file)
        except DamagedShardError as error:
            say(f"{error}; building it again")
            missing.add(one.file)
    return missing


def _write_shards(
    config: BuildConfig,
    shards: Path,
    state: _State,
    shard_plans: Sequence[ShardPlan],
    missing: set[str],
    decoders: "_Decoders",
) -> int:
    """Writes the missing shards in order; returns the number of images decoded."""
    todo = [one for one in shard_plans if one.file in missing]
    wanted = ((one.file, example) for one in todo for example in one.examples)
    with decoders.decoded(wanted) as outcomes:
        for split in dict.fromkeys(one.split for one in todo):
            total = sum(len(one.examples) for one in shard_plans if one.split == split)
            mine = [one for one in todo if one.split == split]
            done = total - sum(len(one.examples) for one in mine)
            with ProgressBar(f"building {split}", total=total, done=done) as progress:
                for one in mine:
                    state.note(_write_shard(config, shards, one, outcomes, progress))
    return sum(len(one.examples) for one in todo)


def _write_shard(
    config: BuildConfig,
    shards: Path,
    one: ShardPlan,
    outcomes: Iterator["Outcome"],
    progress: ProgressBar,
) -> ShardRecord:
    """Takes the outcomes of one shard's examples and writes it, whole or not at all."""
    counts: Counter[str] = Counter()
    rejected = []
    with files.written_aside(shards / one.file) as aside:
        with tfrecords.ShardWriter(aside, name=one.file) as writer:
            for example in one.examples:
                outcome = next(outcomes)
                if isinstance(outcome, str):
                    _reject(config, example, outcome)
                    rejected.append((example.path, outcome))
                else:
                    writer.write(outcome)
                    counts[example.class_name] += 1
                progress.advance()
        info = writer.info()
    return ShardRecord(info, dict(sorted(counts.items())), tuple(rejected))


def _reject(config: BuildConfig, example: Example, reason: str) -> None:
    if config.on_error == "fail":
        raise UserError(
            f"{example.path}: {reason}; mend or remove the file, or leave bad images out with "
            "--on-error skip"
        )


# ---------------------------------------------------------------------------- finishing


def _manifest(
    config: BuildConfig, state: _State, shard_plans: Sequence[ShardPlan], plan: Plan
) -> Manifest:
    header = state.header
    splits = {split: _split(header, state, shard_plans, split) for split in plan.splits}
    rejected = _rejected_rows(state, shard_plans, plan)
    warnings = list(plan.warnings)
    for split, info in splits.items():
        warnings += [
            f"{split} has no usable image of class {name!r}"
            for name, count in info.class_counts.items()
            if count == 0 and any(one.class_name == name for one in plan.splits[split])
        ]
    return Manifest(
        class_names=tuple(header["class_names"]),
        image_size=config.image_size,
        channels=config.channels,
        encoding=config.encoding,
        keep_aspect_ratio=config.keep_aspect_ratio,
        resize_method=decoding.RESIZE_METHOD,
        group_by=config.group_by,
        seed=config.seed,
        source=header["source"],
        splits={split: info for split, info in splits.items() if info.num_examples},
        rejected=len(rejected),
        audit=plan.audit,
        warnings=tuple(warnings),
        arguments=header["arguments"],
        versions=_versions(),
    )


def _split(
    header: Mapping[str, Any], state: _State, shard_plans: Sequence[ShardPlan], split: str
) -> SplitInfo:
    records = [state.records[one.file] for one in shard_plans if one.split == split]
    counts: Counter[str] = sum((Counter(one.class_counts) for one in records), Counter())
    return SplitInfo(
        num_examples=sum(one.info.num_examples for one in records),
        class_counts={name: counts[name] for name in header["class_names"]},
        shards=tuple(one.info for one in records),
    )


def _require_usable(manifest: Manifest) -> None:
    for name in manifest.class_names:
        if not any(split.class_counts[name] for split in manifest.splits.values()):
            raise UserError(
                f"class {name!r} has no usable image: all of its files were left out; see the "
                "reasons with --on-error fail, and add images or remove the folder"
            )


def _rejected_rows(
    state: _State, shard_plans: Sequence[ShardPlan], plan: Plan
) -> list[tuple[str, str]]:
    """(path, reason) of every file left out, sorted by path."""
    bad = [row for one in shard_plans for row in state.records[one.file].rejected]
    return sorted([*bad, *plan.dropped.items()])


def _write_rejected(shards: Path, rows: Sequence[tuple[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "reason"))
    writer.writerows(rows)
    with files.written_aside(shards / tfrecords.REJECTED) as aside:
        aside.write_bytes(text.getvalue().encode("utf-8", "surrogateescape"))


def _remove_asides(shards: Path) -> None:
    """What a kill in the middle of a write left behind."""
    for entry in list(shards.iterdir()):
        if _SHARD_FILE.fullmatch(entry.name) and files.ASIDE_SUFFIX in entry.name:
            entry.unlink()


def _verified(shards: Path) -> Manifest:
    """Re-reads every shard of a finished build.

    Raises:
        UserError: one is missing or damaged; the line names it and the cure.
    """
    manifest = tfrecords.read_manifest(shards, check_files=False)
    infos = [shard for split in manifest.splits.values() for shard in split.shards]
    damaged = []
    with ProgressBar("verifying", total=len(infos), unit="shards") as progress:
        for shard in infos:
            try:
                tfrecords.verify_shard(shards, shard)
            except DamagedShardError as error:
                damaged.append(str(error))
            progress.advance()
    if damaged:
        raise UserError(
            f"{'; '.join(damaged[:3])}{'; ...' if len(damaged) > 3 else ''} ({len(damaged)} of "
            f"{len(infos)} shards damaged); give the arguments of the build with --repair instead "
            "of --verify to rebuild what is damaged"
        )
    return manifest


def _foreign_arguments(manifest: Manifest, config: BuildConfig) -> tuple[str, ...]:
    """A note where shards that were only verified were built with other arguments."""
    differences = _differences(manifest.arguments, arguments_of(config))
    if not differences:
        return ()
    return (f"verified as they are; built with other arguments: {'; '.join(differences)}",)


# ---------------------------------------------------------------------------- worker processes

Outcome = bytes | str  # a framed record, or the reason why there is none


@dataclasses.dataclass(frozen=True)
class _Task:
    """Files for one worker to turn into records; settings by value, so that workers keep no state."""

    root: str
    files: tuple[tuple[str, int, str], ...]  # (path, label, patient)
    image_size: tuple[int, int]
    channels: int
    keep_aspect_ratio: bool
    max_pixels: int
    encoding: str
    jpeg_quality: int


def _decode_task(task: _Task) -> list[Outcome]:
    """Runs in a worker process (which never imports TensorFlow)."""
    return [_decode_one(task, path, label, patient) for path, label, patient in task.files]


def _decode_one(task: _Task, path: str, label: int, patient: str) -> Outcome:
    try:
        pixels = decoding.decode_file(
            os.path.join(task.root, path),  # noqa: PTH118 (10 times as fast as pathlib)
            image_size=task.image_size,
            channels=task.channels,
            keep_aspect_ratio=task.keep_aspect_ratio,
            max_pixels=task.max_pixels,
        )
    except decoding.DecodeError as error:
        return error.reason
    image = decoding.encode(pixels, task.encoding, jpeg_quality=task.jpeg_quality)
    record = tfrecords.serialize_example(image=image, label=label, path=path, patient=patient)
    return tfrecords.frame_record(record)
