"""WebDataset: tar shards of the JPEG files, one worker per core, shuffled in a buffer, Pillow decoding."""

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.peers import FILES, Request, torch_pillow

TITLE = "WebDataset, tar of JPEG"
REQUIRES = ("webdataset", "torch", "PIL")
KIND = FILES  # packed, but decoded each epoch
_SHARDS = 8


def open(request: Request) -> Callable[[int], int]:
    """Epochs -> images."""
    import webdataset as wds

    urls = _pack(request)
    grey = request.grey

    def unpack(sample: tuple) -> tuple[np.ndarray, int]:
        pixels = np.asarray(sample[0].convert("L" if grey else "RGB"))
        return (pixels[..., None] if grey else pixels), int(sample[1])

    dataset = (
        wds.WebDataset(urls, shardshuffle=_SHARDS)
        .shuffle(1000)
        .decode("pil")
        .to_tuple("jpg", "cls")
        .map(unpack)
        .batched(request.batch_size)
    )
    loader = wds.WebLoader(
        dataset, batch_size=None, num_workers=request.workers, persistent_workers=True
    )
    return lambda passes: sum(len(batch[0]) for _ in range(passes) for batch in loader)


def _pack(request: Request) -> list[str]:
    folder = request.scratch / "webdataset"
    paths = [folder / f"train-{index:05d}.tar" for index in range(_SHARDS)]
    if not all(path.exists() for path in paths):
        folder.mkdir(parents=True, exist_ok=True)
        order = np.random.default_rng(0).permutation(len(request.examples()))
        for path, part in zip(paths, np.array_split(order, _SHARDS), strict=True):
            _write_tar(path, [request.examples()[i] for i in part], request)
    return [os.fspath(path) for path in paths]


def _write_tar(path: Path, examples: list, request: Request) -> None:
    from PIL import Image

    aside = path.with_suffix(".partial")
    with tarfile.open(aside, "w") as tar:
        for number, (file, label) in enumerate(examples):
            data = file.read_bytes()
            if not data.startswith(b"\xff\xd8\xff"):
                buffer = io.BytesIO()
                pixels = torch_pillow.decode_with_pillow(file, request)
                Image.fromarray(pixels.squeeze()).save(buffer, "JPEG", quality=95)
                data = buffer.getvalue()
            for suffix, content in (("jpg", data), ("cls", str(label).encode())):
                info = tarfile.TarInfo(f"{number:06d}.{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    aside.replace(path)
