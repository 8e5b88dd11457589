"""MosaicML Streaming: MDS shards of raw uint8 arrays under a PyTorch `DataLoader`."""

import os
from collections.abc import Callable

from benchmarks.peers import PACKED, Request, torch_pillow

TITLE = "MosaicML Streaming, MDS of raw images"
REQUIRES = ("streaming", "torch", "PIL")
KIND = PACKED


def open(request: Request) -> Callable[[int], int]:
    """Epochs -> images, shuffled."""
    import streaming
    from torch.utils.data import DataLoader

    folder = request.scratch / "mosaic"
    if not (folder / "index.json").exists():
        columns = {"image": "ndarray", "label": "int"}
        with streaming.MDSWriter(out=os.fspath(folder), columns=columns) as writer:
            for path, label in request.examples():
                pixels = torch_pillow.decode_with_pillow(path, request)
                writer.write({"image": pixels, "label": label})
    dataset = streaming.StreamingDataset(
        local=os.fspath(folder), shuffle=True, batch_size=request.batch_size
    )
    loader = DataLoader(
        dataset,
        batch_size=request.batch_size,
        num_workers=request.workers,
        persistent_workers=True,
    )
    return lambda passes: sum(len(batch["image"]) for _ in range(passes) for batch in loader)
