"""The alternatives to the engine: one file per peer, written by its recommended practice.

A peer is a module with

    TITLE      its name in tables
    REQUIRES   the importable packages it needs
    KIND       FILES, PACKED or MEMORY: where images are read from after the first epoch
    WAYS       how it is kept open, if both ways are common (see `REOPENED`, `KEPT_OPEN`)
    open(request) -> run(passes) -> images

and, if it can be the input of a Keras training, `open_training(request)`, which trains the `tutorial`
network. At the top it imports only the standard library and NumPy: the environment of a peer may have
neither TensorFlow nor the engine's dependencies.
"""

import dataclasses
import importlib
import importlib.util
import math
from pathlib import Path
from types import ModuleType

FILES, PACKED = "decoding files each epoch", "packed formats"
MEMORY = "cached in memory after the first epoch"
# Iterating over a dataset once per epoch, as `Model.fit(dataset)` does, starts threads and fills buffers
# every epoch; `.repeat()` with a number of steps per epoch does so once, as the engine does.
REOPENED, KEPT_OPEN = "reopened each epoch", "kept open"
BOTH_WAYS = (REOPENED, KEPT_OPEN)

NAMES = (
    "keras2_generator",
    "image_dataset",
    "image_dataset_cached",
    "tfds_shards",
    "tfds_shards_cached",
    "torch_pillow",
    "torch_simplejpeg",
    "grain_array_record",
    "web_dataset",
    "lit_data",
    "mosaic_streaming",
    "dali_cpu",
    "ffcv_loader",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """The request to every peer: the same images, size, batch and cores.

    Attributes:
        folder: `<class>/<image>` of the training images.
        shards: the engine's shards, for peers that can read them.
        scratch: a directory for the packed data of a peer, reused the next time.
        image_shape: (height, width, channels).
        workers: processes or threads, as many as there are cores.
        num_images: the number of training images, the same in the folder and in the shards.
        kept_open: keep the loader open over epochs, for peers with `WAYS`.
        training: train the `tutorial` network instead of reading the loader alone.
        augment: apply the augmentation of the usual tutorial script.
        steps_per_pass: training steps per pass.
    """

    folder: Path
    shards: Path
    scratch: Path
    image_shape: tuple[int, int, int]
    batch_size: int
    workers: int
    num_images: int
    kept_open: bool = False
    training: bool = False
    augment: bool = False
    steps_per_pass: int = 8

    def to_json(self) -> dict[str, object]:
        """JSON values; the inverse of `from_json`."""
        values = dataclasses.asdict(self)
        return {k: str(v.resolve()) if isinstance(v, Path) else v for k, v in values.items()}

    @classmethod
    def from_json(cls, values: dict) -> "Request":
        """From the values of `to_json`."""
        paths = {name: Path(values[name]) for name in ("folder", "shards", "scratch")}
        return cls(**{**values, **paths, "image_shape": tuple(values["image_shape"])})

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch, including a smaller last one."""
        return math.ceil(self.num_images / self.batch_size)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.image_shape[:2]

    @property
    def grey(self) -> bool:
        """Whether images have one channel."""
        return self.image_shape[2] == 1

    def examples(self) -> list[tuple[Path, int]]:
        """Every image with its label, ordered by class and name."""
        classes = sorted(path for path in self.folder.iterdir() if path.is_dir())
        return [
            (path, label)
            for label, directory in enumerate(classes)
            for path in sorted(directory.iterdir())
        ]


def load(name: str) -> ModuleType:
    """The module of a peer."""
    return importlib.import_module(f"benchmarks.peers.{name}")


def is_installed(name: str) -> bool:
    """Whether this environment has the packages of a peer."""
    try:
        return all(importlib.util.find_spec(package) for package in load(name).REQUIRES)
    except ModuleNotFoundError:  # the package around a `package.part`
        return False
