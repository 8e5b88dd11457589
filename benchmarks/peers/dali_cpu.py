"""NVIDIA DALI in CPU mode: its file reader, JPEG decoder and resize, one thread per core."""

import os
from collections.abc import Callable

from benchmarks.peers import FILES, Request

TITLE = "NVIDIA DALI, CPU mode"
REQUIRES = ("nvidia.dali",)
KIND = FILES


def open(request: Request) -> Callable[[int], int]:
    """Passes of the data set -> images."""
    from nvidia.dali import fn, pipeline_def, types

    height, width = request.size
    kind = types.GRAY if request.grey else types.RGB

    @pipeline_def(batch_size=request.batch_size, num_threads=request.workers, device_id=None)
    def pipeline():
        encoded, labels = fn.readers.file(
            file_root=os.fspath(request.folder), random_shuffle=True, name="reader"
        )
        images = fn.decoders.image(encoded, device="cpu", output_type=kind)
        return fn.resize(images, resize_y=height, resize_x=width), labels

    pipe = pipeline()
    pipe.build()
    steps = len(request.examples()) // request.batch_size

    def run(passes: int) -> int:
        return sum(len(pipe.run()[0]) for _ in range(passes * steps))

    return run
