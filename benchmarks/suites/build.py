"""`build`: from image files to shards, compared with only decoding the same files.

The upper bound is libjpeg-turbo on all cores, decoding to grey as the builder does, without resizing,
encoding, checksums or writing.
"""

import contextlib
import io
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import simplejpeg

from benchmarks import harness
from benchmarks.context import Context
from benchmarks.harness import Side
from benchmarks.reports import Report
from engine.base import machine
from engine.base.build_settings import BuildConfig
from engine.shards import builder

BUILD, DECODE = "engine.build_tfrecords", "decoding alone, libjpeg-turbo, all cores"


def run(context: Context) -> Report:
    """Measures builds into a new directory, and decoding alone."""
    report = Report("build", "images/s from image files to finished shards")
    folder = context.workload.originals
    if folder is None:
        report.skipped["build"] = (
            "--shards was given without --images, so there is nothing to build"
        )
        return report
    sides = [
        Side(BUILD, _build(context, folder)),
        Side(DECODE, decode_all(jpeg_files(folder))),
    ]
    report.measurements += context.measure(sides)
    report.ratios.append(harness.compare(*report.measurements, required=0.85))
    if not context.config.quick:
        counts = sorted({1, 2, machine.usable_cores()})
        report.measurements += context.measure(
            [Side(f"{n} workers", _build(context, folder, workers=n), "workers") for n in counts]
        )
    return report


def jpeg_files(folder: Path) -> list[Path]:
    """The files in `folder` that start with the signature of JPEG."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with open(path, "rb") as file:
                if file.read(3) == b"\xff\xd8\xff":
                    found.append(path)
    return found


def decode_all(paths: list[Path]) -> Callable[[int], int]:
    """Decodes every file on all cores (the decoder releases the GIL): passes -> images."""

    def decode(path: Path) -> None:
        simplejpeg.decode_jpeg(path.read_bytes(), colorspace="GRAY")

    def run(passes: int) -> int:
        with ThreadPoolExecutor(machine.usable_cores()) as pool:
            for _ in range(passes):
                list(pool.map(decode, paths))
        return passes * len(paths)

    return run


def _build(context: Context, folder: Path, workers: int | None = None) -> Callable[[int], int]:
    target = context.workload.scratch / "build"
    height, width = context.workload.manifest.image_size
    config = BuildConfig(image_size=(height, width), overwrite=True, workers=workers)

    def run(passes: int) -> int:
        images = 0
        for _ in range(passes):
            shutil.rmtree(target, ignore_errors=True)
            with contextlib.redirect_stderr(io.StringIO()):
                images += builder.build(config, folder, target).num_examples
        shutil.rmtree(target, ignore_errors=True)
        return images

    return run
