"""Grain over ArrayRecord files of raw uint8 images, with one reading thread per core."""

import os
import struct
from collections.abc import Callable

import numpy as np

from benchmarks.peers import BOTH_WAYS, PACKED, Request, torch_pillow

TITLE = "Grain, ArrayRecord of raw images"
REQUIRES = ("grain", "array_record", "PIL")
KIND = PACKED
WAYS = BOTH_WAYS


def open(request: Request) -> Callable[[int], int]:
    """Epochs -> images, in a global shuffle."""
    import grain.python as grain

    path = _pack(request)
    source = grain.ArrayRecordDataSource([path])
    shape = request.image_shape
    shuffled = grain.MapDataset.source(source).shuffle(seed=0)
    dataset = (
        (shuffled.repeat() if request.kept_open else shuffled)
        .map(lambda record: (np.frombuffer(record, np.uint8, offset=4).reshape(shape), record[0]))
        .to_iter_dataset(grain.ReadOptions(num_threads=request.workers, prefetch_buffer_size=512))
        .batch(request.batch_size)
    )
    if request.kept_open:
        batches = iter(dataset)
        steps = request.steps_per_epoch
        return lambda passes: sum(len(next(batches)[0]) for _ in range(passes * steps))
    return lambda passes: sum(len(batch[0]) for _ in range(passes) for batch in dataset)


def _pack(request: Request) -> str:
    from array_record.python.array_record_module import ArrayRecordWriter

    path = request.scratch / "images.array_record"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".partial")
        # Grain's documentation requires group_size:1 for random access.
        writer = ArrayRecordWriter(os.fspath(aside), "group_size:1")
        for file, label in request.examples():
            pixels = torch_pillow.decode_with_pillow(file, request)
            writer.write(struct.pack("<i", label) + pixels.tobytes())
        writer.close()
        aside.replace(path)
    return os.fspath(path)
