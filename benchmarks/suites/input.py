"""`input`: the speed of the input alone.

Two groups; the sides of each alternate. In the first, images are decoded in memory or, by other loaders,
decoded from files each epoch; the upper bound is NumPy copying the same batches, the speed of memory.
Datasets that tf.data caches are measured both reopened each epoch, as `Model.fit(dataset)` does, and
kept open with `.repeat()`, as the engine keeps its own. In the second group, everything is read from
shards (in the page cache); the upper bound is reading the serialized records without parsing them.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks import consuming, harness, peers
from benchmarks.context import Context
from benchmarks.harness import Side
from benchmarks.reports import Report
from benchmarks.suites import scaling as generated
from benchmarks.workload import SPLIT
from engine.base import machine
from engine.pipeline import datasets, reading, windowed_streaming
from engine.shards import tfrecords

MEMORY, SHARDS = "from memory, shuffled", "from shards in the page cache"
TIER, STREAM = "engine, memory tier", "engine, streaming tier"
COPY, RECORDS = "NumPy copying the same batches", "serialized records only"
IMAGE_SIZES = (64, 128, 224, 512)
SWEPT_BYTES = 100 << 20  # bytes of pixels per image size
CACHE = "tf.data: cache of uint8 examples, shuffle, batch"
TARGETS = {
    COPY: 0.6,
    peers.load("image_dataset").TITLE: 8.0,
}  # the other sides in memory have no target
BEYOND_SPEED = (
    "The memory tier is as fast as memory allows, and so are other caches of decoded images. Beside "
    "speed it holds uint8 (a quarter of cached float32 batches), gives a fresh order of examples each "
    "epoch (cached batches stay the same), carries each example's augmentation draws, and resumes at "
    "any step with the batches it would have had."
)


def run(context: Context) -> Report:
    """Measures both groups, then sweeps batch sizes, threads and image sizes."""
    report = Report("input", "images/s of the input alone, read as a training step reads it")
    _from_memory(context, report)
    _from_shards(context, report)
    if not context.config.quick:
        _sweep(context, report)
    return report


def _from_memory(context: Context, report: Report) -> None:
    batch_size = context.batch_size
    with contextlib.ExitStack() as stack:
        images = context.workload.images
        sides = [
            Side(COPY, numpy_copy(images, batch_size), MEMORY),
            Side(TIER, engine_tier(context, "memory", batch_size), MEMORY),
        ]
        for way in peers.BOTH_WAYS:
            cached = cached_examples(images, batch_size, kept_open=way == peers.KEPT_OPEN)
            sides.append(Side(f"{CACHE}, {way}", cached, MEMORY))
        for name in ("image_dataset", "image_dataset_cached"):
            sides += context.open_peer_ways(name, stack, report, group=MEMORY)
        measured = context.measure(sides)
    report.measurements += measured
    tier = report.find(TIER)
    report.ratios += [
        harness.compare(tier, other, required=target_of(other.name))
        for other in measured
        if other is not tier
    ]
    report.sentences.append(BEYOND_SPEED)


def target_of(name: str) -> float | None:
    """The target for the memory tier's speed relative to the side of that name; None: no target."""
    ways = [f", {way}" for way in peers.BOTH_WAYS]
    plain = next((name.removesuffix(way) for way in ways if name.endswith(way)), name)
    return TARGETS.get(plain)


def _from_shards(context: Context, report: Report) -> None:
    steps = context.workload.num_images // context.batch_size
    records = serialized_records(context).batch(context.batch_size, drop_remainder=True)
    sides = [
        Side(
            RECORDS,
            consuming.endless(
                records.repeat().prefetch(reading.PREFETCHED_BATCHES),
                steps=steps,
            ),
            SHARDS,
        ),
        Side(STREAM, engine_tier(context, "streaming", context.batch_size), SHARDS),
        Side("engine, loading into memory", _load(context), SHARDS),
    ]
    measured = context.measure(sides)
    report.measurements += measured
    report.ratios.append(harness.compare(report.find(STREAM), report.find(RECORDS), required=0.75))


def _sweep(context: Context, report: Report) -> None:
    batch_sizes = [size for size in (16, 32, 64, 128, 256) if size <= context.workload.num_images]
    for tier in ("memory", "streaming"):
        sides = [
            Side(f"batch {size}", engine_tier(context, tier, size), f"{tier} tier, batch sizes")
            for size in batch_sizes
        ]
        report.measurements += context.measure(sides)
    for tier in ("memory", "streaming"):
        threads = sorted({1, 2, 4, machine.usable_cores()})
        sides = [
            Side(
                f"{count} {'thread' if count == 1 else 'threads'}",
                engine_tier(context, tier, context.batch_size, threads=count),
                f"{tier} tier, threads",
            )
            for count in threads
        ]
        report.measurements += context.measure(sides)
    scratch = context.workload.scratch / "generated"
    for tier in ("memory", "streaming"):
        sides = []
        for size in IMAGE_SIZES:
            count = max(256, SWEPT_BYTES // size**2)
            shards = generated.generated_shards(scratch, count, (size, size))
            name = f"{size} x {size}, generated"
            sides.append(
                Side(name, tier_of(shards, tier, context.batch_size), f"{tier} tier, image sizes")
            )
        report.measurements += context.measure(sides)


def engine_tier(
    context: Context, tier: str, batch_size: int, *, threads: int | None = None
) -> Callable[[int], int]:
    """The engine's training batches without augmentation: passes -> images."""
    return tier_of(context.workload.shards, tier, batch_size, threads=threads)


def tier_of(
    shards: Path, tier: str, batch_size: int, *, threads: int | None = None
) -> Callable[[int], int]:
    """The same for any shards, on `threads` private threads or on the shared ones."""
    dataset = datasets.training(shards, split=SPLIT, global_batch_size=batch_size, cache=tier)
    if threads is not None:
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        dataset = dataset.with_options(options)
    manifest = tfrecords.read_manifest(shards)
    steps = datasets.steps_per_epoch(manifest, SPLIT, batch_size)
    return consuming.endless(dataset, steps=steps)


def numpy_copy(images: np.ndarray, batch_size: int) -> Callable[[int], int]:
    """Copies shuffled batches of images in memory: passes -> images."""
    rng = np.random.default_rng(0)
    steps = len(images) // batch_size

    def run(passes: int) -> int:
        for _ in range(passes):
            order = rng.permutation(len(images))
            for step in range(steps):
                np.take(images, order[step * batch_size : (step + 1) * batch_size], axis=0)
        return passes * steps * batch_size

    return run


def cached_examples(
    images: np.ndarray, batch_size: int, *, kept_open: bool
) -> Callable[[int], int]:
    """A tf.data pipeline over images in memory, as an experienced user would write it: passes -> images."""
    examples = tf.data.Dataset.from_tensor_slices(images).cache().shuffle(len(images), seed=0)
    if kept_open:
        examples = examples.repeat()
    batches = examples.batch(batch_size, drop_remainder=True, num_parallel_calls=2).prefetch(
        tf.data.AUTOTUNE
    )
    if kept_open:
        return consuming.endless(batches, steps=len(images) // batch_size)
    return consuming.finite(batches)


def serialized_records(context: Context) -> tf.data.Dataset:
    """The unparsed records of the training split, from several files in parallel."""
    workload = context.workload
    paths = reading.StoredSplit(workload.shards, SPLIT, workload.manifest).shard_paths
    return tf.data.Dataset.from_tensor_slices(paths).interleave(
        lambda path: tf.data.TFRecordDataset(path, buffer_size=8 << 20),
        cycle_length=min(windowed_streaming.READ_CYCLE, len(paths)),
        block_length=windowed_streaming.READ_BLOCK,
        num_parallel_calls=min(2, len(paths)),
        deterministic=True,
    )


def _load(context: Context) -> Callable[[int], int]:
    def run(passes: int) -> int:
        return sum(len(context.workload.images) for _ in range(passes))

    return run
