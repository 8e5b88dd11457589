"""FFCV: its own `.beton` file of JPEG images, decoded by its compiled pipeline.

Building it needs the headers and pkg-config files of OpenCV and libjpeg-turbo (on Debian and Ubuntu:
`apt install libopencv-dev libturbojpeg0-dev pkg-config`); without them, pip stops with "Could not find
required package: opencv4".
"""

import os
from collections.abc import Callable

from benchmarks.peers import FILES, Request, torch_pillow

TITLE = "FFCV, beton of JPEG"
REQUIRES = ("ffcv", "torch", "PIL")
KIND = FILES  # packed, but decoded each epoch


def open(request: Request) -> Callable[[int], int]:
    """Epochs -> images, in random order."""
    from ffcv.fields import IntField, RGBImageField
    from ffcv.fields.decoders import IntDecoder, SimpleRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.writer import DatasetWriter

    path = request.scratch / "images.beton"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fields = {"image": RGBImageField(write_mode="jpg"), "label": IntField()}
        writer = DatasetWriter(os.fspath(path), fields, num_workers=request.workers)
        writer.from_indexed_dataset(_Colour(request))
    loader = Loader(
        os.fspath(path),
        batch_size=request.batch_size,
        num_workers=request.workers,
        order=OrderOption.RANDOM,
        os_cache=True,
        pipelines={"image": [SimpleRGBImageDecoder()], "label": [IntDecoder()]},
    )
    return lambda passes: sum(len(batch[0]) for _ in range(passes) for batch in loader)


class _Colour:
    """The examples with three channels, as FFCV supports no others."""

    def __init__(self, request: Request) -> None:
        self._examples, self._request = request.examples(), request

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int):
        path, label = self._examples[index]
        pixels = torch_pillow.decode_with_pillow(path, self._request)
        return (pixels.repeat(3, axis=2) if self._request.grey else pixels), label
