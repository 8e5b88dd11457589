"""What is wrong with a build: which shards are to be built again, and whether a finished one is right.

A build that continues or is repeated compares what is there with its journal and with what it would
write; `--verify` compares it with the manifest, and needs no images.
"""

import csv
import dataclasses
import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine.base.build_settings import BuildConfig
from engine.base.config import UserError
from engine.base.progress import ProgressBar, say
from engine.shards import build_journal, record_scan, tfrecords
from engine.shards.build_journal import Journal, ShardRecord
from engine.shards.manifest import Manifest
from engine.shards.tfrecords import DamagedShardError


def missing_shards(
    config: BuildConfig,
    shards: Path,
    journal: Journal,
    names: Sequence[str],
    class_names: Sequence[str],
) -> set[str]:
    """Those of `names` to write: never written, gone, or not what was written.

    Every byte is compared where a build was interrupted and on request; of a finished build, what
    stands around the images, which identifies the shards of another build.
    """
    thorough = config.repair or not build_journal.is_finished(shards)
    missing = set()
    for name in names:
        record = journal.records.get(name)
        if record is None or not (shards / name).is_file():
            missing.add(name)
            continue
        try:
            _compare(config, shards, record, class_names, thorough=thorough)
        except DamagedShardError as error:
            say(f"{error}; building it again")
            missing.add(name)
    return missing


def _compare(
    config: BuildConfig,
    shards: Path,
    record: ShardRecord,
    class_names: Sequence[str],
    *,
    thorough: bool,
) -> None:
    """Raises `DamagedShardError` where a shard is not the one that the journal noted."""
    if thorough:
        tfrecords.verify_shard(shards, record.info)
    pixels = math.prod((*config.image_size, config.channels))
    found = record_scan.scan_shard(
        shards,
        record.info,
        num_classes=len(class_names),
        image_bytes=pixels if config.encoding == "raw" else None,
    )
    counts = record_scan.count_classes([found], class_names)
    if Counter(counts) != Counter(record.class_counts):
        raise DamagedShardError(f"{shards / record.info.file}: has not the labels that were noted")


def intact(shards: Path, manifest: Manifest, beside: dict[str, bytes]) -> Manifest | None:
    """The manifest that is there, unless it, or a file written with it, is not what this build writes.

    Args:
        beside: file name -> what it holds.

    The versions of the programs that wrote it may be others.
    """
    differing = _differing_files(shards, beside)
    try:
        found = tfrecords.read_manifest(shards, check_files=False)
        if _without_versions(found) != _without_versions(manifest):
            differing.append(tfrecords.MANIFEST)
    except UserError:
        differing.append(tfrecords.MANIFEST)
    for name in differing:
        say(f"{shards / name}: is not what this build wrote; writing it again")
    return None if differing else found


def _without_versions(manifest: Manifest) -> str:
    return json.dumps(dataclasses.replace(manifest, versions={}).to_json(), sort_keys=True)


def _differing_files(shards: Path, beside: dict[str, bytes]) -> list[str]:
    """Names of the files that are missing or hold something else."""
    return [
        name
        for name, content in beside.items()
        if not (shards / name).is_file() or (shards / name).read_bytes() != content
    ]


def verified(shards: Path) -> Manifest:
    """Re-reads every shard of a finished build, and the files written with them.

    Raises:
        UserError: one is missing or damaged; the line names it and how to fix it.
    """
    manifest = tfrecords.read_manifest(shards, check_files=False)
    infos = [shard for split in manifest.splits.values() for shard in split.shards]
    damaged = []
    with ProgressBar("verifying", total=len(infos), unit="shards") as progress:
        for shard in infos:
            damaged += _faults(tfrecords.verify_shard, shards, shard)
            progress.advance()
    if not damaged:
        for split in manifest.splits:
            damaged += _faults(record_scan.scan_split, shards, manifest, split)
    count = len(damaged)
    metadata = {name: text.encode() for name, text in tfrecords.tfds_metadata(manifest).items()}
    damaged += [
        f"{shards / name}: is not what the manifest asks for"
        for name in _differing_files(shards, metadata)
    ]
    if _count_rejected(shards) != manifest.rejected:
        damaged.append(f"{shards / tfrecords.REJECTED}: does not list {manifest.rejected:,} files")
    described = manifest.audit.get("dicom")
    if described and _sha256(shards / tfrecords.DICOM) != described.get("sha256"):
        damaged.append(f"{shards / tfrecords.DICOM}: is not what the build wrote")
    if damaged:
        raise UserError(
            f"{'; '.join(damaged[:3])}{'; ...' if len(damaged) > 3 else ''} ({count} of "
            f"{len(infos)} shards damaged); give the build's own arguments and --repair instead of "
            "--verify to rebuild what is damaged"
        )
    return manifest


def _faults(check: Callable[..., Any], *arguments: Any) -> list[str]:
    """What `check` finds damaged: one line or none."""
    try:
        check(*arguments)
    except DamagedShardError as error:
        return [str(error)]
    return []


def _sha256(path: Path) -> str | None:
    """Of a file's contents (hex); None where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _count_rejected(shards: Path) -> int | None:
    """How many files `rejected.csv` lists; None where it cannot be read."""
    try:
        with open(
            shards / tfrecords.REJECTED, encoding="utf-8", errors="replace", newline=""
        ) as file:
            return sum(1 for _ in csv.reader(file)) - 1
    except (OSError, csv.Error):
        return None
