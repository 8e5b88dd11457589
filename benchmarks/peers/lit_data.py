"""LitData: chunks of raw uint8 arrays made by `optimize`, read by `StreamingDataLoader`."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers import PACKED, Request, torch_pillow

TITLE = "LitData, chunks of raw images"
REQUIRES = ("litdata", "torch", "PIL")
KIND = PACKED


def open(request: Request) -> Callable[[int], int]:
    """Epochs -> images, shuffled."""
    import litdata

    folder = request.scratch / "litdata"
    if not (folder / "index.json").exists():
        litdata.optimize(
            fn=functools.partial(_example, request=request),
            inputs=request.examples(),
            output_dir=os.fspath(folder),
            chunk_bytes="64MB",
            num_workers=request.workers,
        )
    dataset = litdata.StreamingDataset(os.fspath(folder), shuffle=True, drop_last=True)
    loader = litdata.StreamingDataLoader(
        dataset,
        batch_size=request.batch_size,
        num_workers=request.workers,
        persistent_workers=True,
    )
    return lambda passes: sum(len(batch["image"]) for _ in range(passes) for batch in loader)


def _example(example: tuple[Path, int], *, request: Request) -> dict[str, Any]:
    path, label = example
    return {"image": torch_pillow.decode_with_pillow(path, request), "label": label}
