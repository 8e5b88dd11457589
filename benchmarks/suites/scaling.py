"""`scaling`: whether cost per image stays constant as the data grows, and what dividing a training costs.

Generated images of 64 x 64 are written directly into shards. Each tier should give the same images/s at
every size, and the streaming tier should use the same memory. Each point runs in its own process, since
memory that was once allocated is seldom returned to the system.

The same training is then divided among logical devices and workers; see `benchmarks.division`.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import division, harness
from benchmarks.context import Context
from benchmarks.harness import Measurement, Sample, Side
from benchmarks.peer_process import ROOT
from benchmarks.reports import Report
from engine.base import files
from engine.shards import tfrecords

SIZES, QUICK_SIZES = (1_000, 10_000, 50_000, 200_000), (1_000, 4_000)
IMAGE_SIZE = (64, 64)
EXAMPLES_PER_SHARD = 10_000


def run(context: Context) -> Report:
    """Measures both tiers at every size, then one training with every division."""
    report = Report("scaling", "images/s and memory of the input as the data grows, 64 x 64 x 1")
    sizes = QUICK_SIZES if context.config.quick else SIZES
    for tier in ("memory", "streaming"):
        for count in sizes:
            context.tell(f"{tier} tier, {count:,} images")
            directory = generated_shards(context.workload.scratch / "generated", count)
            settings = {
                "shards": str(directory.resolve()),
                "tier": tier,
                "batch_size": context.batch_size,
            }
            report.measurements.append(
                _in_process(settings, context, f"{count:,} images", f"{tier} tier")
            )
        points = report.measurements[-len(sizes) :]
        speeds = [point.images_per_second.median for point in points]
        report.figures[f"{tier} tier, largest / smallest, images/s"] = speeds[-1] / speeds[0]
        memory = [point.peak_memory_bytes for point in points]
        report.figures[f"{tier} tier, growth of memory, MiB"] = (memory[-1] - memory[0]) / 2**20
    _divide(context, report)
    return report


def _divide(context: Context, report: Report) -> None:
    epochs = division.QUICK_EPOCHS if context.config.quick else division.EPOCHS
    whole: division.Divided | None = None
    for way in division.DIVISIONS:
        if context.batch_size % way.parts:
            report.skipped[way.name] = (
                f"a batch of {context.batch_size} cannot be divided by {way.parts}"
            )
            continue
        context.tell(f"training, {way.name}, {epochs} epochs")
        try:
            done = division.train(
                way, context.workload.shards, epochs=epochs, batch_size=context.batch_size
            )
        except division.DivisionError as error:
            report.skipped[way.name] = str(error)
            continue
        report.measurements.append(done.measurement)
        report.figures[f"final loss, {way.name}"] = done.losses[-1]
        report.commands[way.name] = done.shown
        whole = whole or done
        if done is not whole:
            name = f"largest difference of losses, {way.name} to {whole.measurement.name}"
            report.figures[name] = done.distance(whole)


def generated_shards(directory: Path, count: int, image_size: tuple[int, int] = IMAGE_SIZE) -> Path:
    """Shards of `count` noise images in one training split; reused the next time."""
    target = (
        directory
        / (f"{image_size[0]}x{image_size[1]}" if image_size != IMAGE_SIZE else "")
        / str(count)
    )
    if (target / tfrecords.MANIFEST).is_file():
        return target
    target.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    num_shards = -(-count // EXAMPLES_PER_SHARD)
    shards = []
    for index, part in enumerate(np.array_split(np.arange(count), num_shards)):
        name = tfrecords.shard_name("train", index, num_shards)
        with (
            files.written_aside(target / name) as aside,
            tfrecords.ShardWriter(aside, name=name) as writer,
        ):
            for number in part:
                pixels = rng.integers(0, 256, image_size, dtype=np.uint8).tobytes()
                record = tfrecords.serialize_example(
                    image=pixels, label=int(number % 2), path=str(number), patient=""
                )
                writer.write(tfrecords.frame_record(record))
        shards.append(writer.info())
    split = tfrecords.SplitInfo(
        num_examples=count,
        class_counts={"even": count - count // 2, "odd": count // 2},
        shards=tuple(shards),
    )
    manifest = tfrecords.Manifest(
        class_names=("even", "odd"),
        image_size=image_size,
        channels=1,
        encoding="raw",
        keep_aspect_ratio=False,
        resize_method="none",
        group_by="none",
        seed=0,
        source={"name": "generated", "num_files": count, "fingerprint": str(count)},
        splits={"train": split},
    )
    tfrecords.write_manifest(target, manifest)
    return target


def _in_process(settings: dict[str, Any], context: Context, name: str, group: str) -> Measurement:
    settings = {**settings, **context.config.measuring}
    command = [sys.executable, "-m", "benchmarks.suites.scaling", json.dumps(settings)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    samples = tuple(Sample(*values) for values in found["samples"])
    return Measurement(name, group, found["warmup_seconds"], samples)


def main(argument: str) -> None:
    """Measures one point; prints its samples as a line of JSON."""
    settings = json.loads(argument)
    side = Side("point", _input(settings))
    (found,) = harness.measure([side], repeats=settings["repeats"], seconds=settings["seconds"])
    samples = [
        (sample.images, sample.seconds, sample.cpu_seconds, sample.peak_memory_bytes)
        for sample in found.samples
    ]
    print(json.dumps({"warmup_seconds": found.warmup_seconds, "samples": samples}))


def _input(settings: dict[str, Any]) -> Callable[[int], int]:
    from benchmarks import consuming
    from engine.pipeline import datasets

    size = settings["batch_size"]
    dataset = datasets.training(settings["shards"], global_batch_size=size, cache=settings["tier"])
    # Batches per pass, the same at every size.
    return consuming.endless(dataset, steps=15)


if __name__ == "__main__":
    main(sys.argv[1])
