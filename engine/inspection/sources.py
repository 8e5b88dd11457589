"""Where images come from, an image folder or shards: what each of them is, measured, and a picture of it."""

import csv
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from engine.base import files, machine, ordered_pool
from engine.base.inspect_settings import InspectConfig
from engine.base.ordered_pool import OrderedPool, batches
from engine.base.progress import ProgressBar
from engine.images import (
    bit_depth,
    decoding,
    folder_contents,
    image_folder,
    patients,
)
from engine.images.dicom import description, recognition
from engine.images.folder_contents import Contents
from engine.images.format import ImageFormat
from engine.images.image_folder import Example, ImageFolder
from engine.images.source_file import DecodeError
from engine.inspection import file_header, measurement
from engine.inspection.image_table import ImageTable, TableBuilder
from engine.shards import record_scan, stored_examples, tfrecords
from engine.shards.record_scan import ScannedShard

AUTO = "auto"
TASK_FILES = 16
FILES_PER_WORKER = 64  # fewer are measured sooner than another process starts


class Source(Protocol):
    """A set of images.

    Attributes:
        path: as it was given.
        kind: `image folder` or `shards`.
        class_names: sorted.
        fingerprint: over the image files; see `Manifest.fingerprint`.
        notes: what the reader must know of the set as it was found.
    """

    path: Path
    kind: str
    class_names: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """See above."""

    def read(self) -> tuple[ImageTable, dict[str, str]]:
        """Every image measured; and path -> why it could not be."""

    def picture(self, path: str, side: int) -> Image.Image | None:
        """An image of the table, at most `side` pixels wide and high; None where it is gone."""


def opened(path: Path, settings: InspectConfig) -> Source:
    """The set of images at a path: shards where there is a manifest, else an image folder.

    Raises:
        UserError: there is no such directory, or it is no set of images.
    """
    if settings.group_by != AUTO:
        patients.check_group_by(settings.group_by)
    for name in (tfrecords.MANIFEST, tfrecords.BUILD_STATE):
        if (path / name).is_file():
            return ShardsSource(path, settings)
    return FolderSource(path, settings)


class FolderSource:
    """Image files; see `Source`."""

    kind = "image folder"

    def __init__(self, path: Path, settings: InspectConfig) -> None:
        folder = image_folder.scan(path, for_training=False)
        self._group_by = "patient" if settings.group_by == AUTO else settings.group_by
        examples, _ = patients.with_patients(folder.examples, self._group_by)
        self.path = path
        self.class_names = folder.class_names
        self._examples = examples
        self.notes = folder.warnings
        self._folder: ImageFolder = dataclasses.replace(folder, examples=examples)
        self._max_pixels = settings.max_pixels or decoding.DEFAULT_MAX_PIXELS
        self._workers = settings.workers or min(
            machine.usable_cores(), 1 + len(examples) // FILES_PER_WORKER
        )
        self._contents: Contents | None = None
        self._bits = bit_depth.DEFAULT

    @property
    def contents(self) -> Contents:
        """What distinguishes the files; read when it is first asked for."""
        if self._contents is None:
            self._contents = folder_contents.hash_contents(self._folder, workers=self._workers)
        return self._contents

    @property
    def fingerprint(self) -> str:
        """See `Source`."""
        return self.contents.fingerprint

    def read(self) -> tuple[ImageTable, dict[str, str]]:
        """See `Source`."""
        root, paths = str(self._folder.root), [one.path for one in self._examples]
        processes = ordered_pool.prefers_processes(
            self._folder.sampled_sizes(), workers=self._workers
        )
        rejected = dict(self._folder.unreadable)
        builder = TableBuilder(self.class_names)
        pool = OrderedPool(
            workers=self._workers,
            processes=processes,
            preload=measurement.__name__,
            on_kill="run the same command again with fewer --workers or smaller --max-pixels",
        )
        with pool:
            contents = self.contents
            recognition.require_readable(len(contents.dicom), len(paths))
            self._bits = self._found_bits(pool, contents)
            measured = pool.in_order(
                measurement.measure_files,
                batches(paths, TASK_FILES),
                root,
                self._max_pixels,
                self._bits,
            )
            with ProgressBar("measuring", total=len(paths)) as progress:
                found = (one for task in measured for one in task)
                for example, one in zip(self._examples, found, strict=True):
                    if isinstance(one, str):
                        rejected[example.path] = one
                    else:
                        builder.add(example, one, key=contents.keys[example.path])
                    progress.advance()
        return self._with_patients(builder.build()), rejected

    def _with_patients(self, table: ImageTable) -> ImageTable:
        """The table with the patients that headers of DICOM files name, others by their names."""
        described = {
            example.path: header.dicom
            for example, header in zip(table.examples, table.headers, strict=True)
            if header is not None and header.dicom is not None
        }
        if len(table):
            examples, warnings = patients.with_patients(
                table.examples, self._group_by, description.groups(described)
            )
            more = description.warnings(described, group_by=self._group_by)
            self.notes = (*self.notes, *warnings, *more)
            table = dataclasses.replace(table, examples=examples)
        return table

    def _found_bits(self, pool: OrderedPool, contents: Contents) -> int:
        """The range of 16-bit files, one for all of them, found as the builder finds it."""
        tasks = batches(contents.deep, TASK_FILES)
        root = str(self._folder.root)
        found = pool.in_order(decoding.largest_deep_values, tasks, root, self._max_pixels)
        bits, note = bit_depth.assumed_of(value for task in found for value in task)
        self.notes = (*self.notes, note) if note else self.notes
        return bits

    def picture(self, path: str, side: int) -> Image.Image | None:
        """See `Source`."""
        try:
            data = decoding.read_file(self._folder.root / path)
            header = file_header.read_header(data, max_pixels=self._max_pixels)
            size = (side, side)
            if header is not None:
                scale = side / max(header.width, header.height)
                size = (max(1, round(header.height * scale)), max(1, round(header.width * scale)))
            image_format = ImageFormat(
                image_size=size, channels=3, keep_aspect_ratio=header is None, bits=self._bits
            )
            pixels = decoding.decode_bytes(data, image_format, max_pixels=self._max_pixels)
            return Image.fromarray(pixels)
        except DecodeError:
            return None


class ShardsSource:
    """The images in shards, as they were resized; see `Source`."""

    kind = "shards"

    def __init__(self, path: Path, settings: InspectConfig) -> None:
        self._manifest = tfrecords.read_manifest(path)
        self.path = path
        self.class_names = self._manifest.class_names
        self.fingerprint = self._manifest.fingerprint
        height, width = self._manifest.image_size
        self.notes: tuple[str, ...] = (
            f"shards hold images resized to {width} x {height}; the sizes, formats and file sizes of the "
            f"originals are not stored in them: inspect the image folder "
            f"{files.one_line(self._manifest.source['name'])!r} for these",
        )
        self._group_by = settings.group_by
        self._workers = settings.workers or machine.usable_cores()
        self._places: dict[str, tuple[ScannedShard, int]] = {}

    @property
    def image_format(self) -> ImageFormat:
        """How the images were decoded and resized."""
        return self._manifest.image_format

    def read(self) -> tuple[ImageTable, dict[str, str]]:
        """See `Source`."""
        builder = TableBuilder(self.class_names)
        for example, one in self._measured():
            builder.add(example, one, key=one.key)
        table = builder.build()
        if self._group_by != AUTO:
            examples, notes = patients.with_patients(table.examples, self._group_by)
            self.notes = (*self.notes, *notes)
            table = dataclasses.replace(table, examples=examples)
        return table, self._rejected()

    def _measured(self) -> Iterator[tuple[Example, measurement.Measurement]]:
        pool = OrderedPool(workers=self._workers, processes=False, preload=measurement.__name__)
        bar = ProgressBar("measuring", total=self._manifest.num_examples)
        with bar, pool:
            for split in self._manifest.splits:
                tasks = [
                    (shard, range(start, min(start + TASK_FILES, len(shard.starts))))
                    for shard in record_scan.scan_split(self.path, self._manifest, split)
                    for start in range(0, len(shard.starts), TASK_FILES)
                ]
                for found in pool.in_order(self._measure, tasks, split):
                    yield from found
                    bar.advance(len(found))

    def _measure(
        self, task: tuple[ScannedShard, range], split: str
    ) -> list[tuple[Example, measurement.Measurement]]:
        shard, places = task
        found = []
        for place, one in zip(
            places, stored_examples.read_examples(shard, places, self._manifest), strict=True
        ):
            self._places[one.path] = (shard, place)
            name = self.class_names[one.label]
            example = Example(path=one.path, class_name=name, split=split, patient=one.patient)
            found.append((example, measurement.measure_pixels(one.image)))
        return found

    def _rejected(self) -> dict[str, str]:
        """What `rejected.csv` lists."""
        try:
            path = self.path / tfrecords.REJECTED
            with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
                rows = list(csv.reader(file))[1:]
        except (OSError, csv.Error):
            return {}
        return {row[0]: row[1] for row in rows if len(row) == 2}

    def images(self, paths: Sequence[str]) -> np.ndarray:
        """The images of some paths, uint8[N, H, W, C]."""
        found = []
        for path in paths:
            shard, place = self._places[path]
            found += stored_examples.read_examples(shard, range(place, place + 1), self._manifest)
        return np.stack([one.image for one in found])

    def picture(self, path: str, side: int) -> Image.Image | None:
        """See `Source`."""
        pixels = self.images([path])[0]
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        image = image.convert("RGB")
        image.thumbnail((side, side))
        return image
