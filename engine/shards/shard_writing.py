"""Shards: which examples each holds, decided before decoding, and how each is written, whole or not at all."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from engine.base import files
from engine.base.build_settings import BuildConfig
from engine.base.config import UserError
from engine.base.progress import ProgressBar
from engine.images.image_folder import Example
from engine.images.split_plan import Plan
from engine.shards import tfrecords
from engine.shards.build_journal import Journal, ShardRecord
from engine.shards.decode_pool import DecodePool, Outcome, Record, SourceFile

# Size over that of raw pixels, for the number of shards only: grey X-rays at 224 x 224.
_COMPRESSION = {"raw": 1.0, "png": 0.55, "jpeg": 0.25}


@dataclasses.dataclass(frozen=True)
class ShardPlan:
    """One shard to be: its name and the examples that go into it, in order."""

    file: str
    split: str
    examples: tuple[Example, ...]


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


def write_shards(
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
        for shard_plan in todo
        for example in shard_plan.examples
    )
    outcomes = pool.outcomes(sources, bits=bits)
    for split in dict.fromkeys(shard_plan.split for shard_plan in todo):
        mine = [shard_plan for shard_plan in todo if shard_plan.split == split]
        total = sum(
            len(shard_plan.examples) for shard_plan in shard_plans if shard_plan.split == split
        )
        done = total - sum(len(shard_plan.examples) for shard_plan in mine)
        with ProgressBar(f"building {split}", total=total, done=done) as progress:
            for shard_plan in mine:
                journal.note(_write_shard(config, shards, shard_plan, outcomes, progress))


def _write_shard(
    config: BuildConfig,
    shards: Path,
    shard_plan: ShardPlan,
    outcomes: Iterator[Outcome],
    progress: ProgressBar,
) -> ShardRecord:
    """Takes the outcomes of one shard's examples and writes it, whole or not at all."""
    counts: Counter[str] = Counter()
    rejected, doubts = [], []
    with (
        files.written_aside(shards / shard_plan.file) as aside,
        tfrecords.ShardWriter(aside, name=shard_plan.file) as writer,
    ):
        for example in shard_plan.examples:
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
