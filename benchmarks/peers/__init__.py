"""What users would use instead of the engine: one file per peer, each with its usual best practice.

A peer is a module with

    TITLE      what tables call it
    REQUIRES   importable packages it needs
    KIND       FILES, PACKED or MEMORY: where images are read from after the first epoch
    WAYS       how its users hold it open, where both ways are usual (see `REOPENED`, `KEPT_OPEN`)
    open(request) -> run(passes) -> images

and, where it can be the input of a Keras training, `open_training(request)`, which trains the
`tutorial` network. Nothing is imported at the top but the standard library and NumPy: environments of
peers hold neither TensorFlow nor the engine's dependencies.
"""

import dataclasses
import importlib
import importlib.util
import math
from pathlib import Path
from types import ModuleType

FILES, PACKED = "decoding files each epoch", "packed formats"
MEMORY = "cached in memory after the first epoch"
# `for images in dataset` once an epoch, as `Model.fit(dataset)` does, starts threads and fills buffers again
# and again; `.repeat()` and a number of steps per epoch do so once, as the engine does.
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
    """What every peer is given: the same images, size, batch and cores.

    Attributes:
        folder: `<class>/<image>` of the training images.
        shards: the engine's shards, for peers that can read them.
        scratch: where a peer may keep what it packs; found again the next time.
        image_shape: (height, width, channels).
        workers: processes or threads, as many as there are cores.
        num_images: training images, which are in the folder and in the shards alike.
        kept_open: hold the loader open over epochs, for peers that name `WAYS`.
        training: open a training of the `tutorial` network rather than the loader alone.
        augment: apply the augmentation of the usual tutorial script.
        steps_a_pass: how many training steps a pass is.
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
    steps_a_pass: int = 8

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
        """Batches of an epoch, the last, smaller one included."""
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
        """Every image and its label, by class and name."""
        classes = sorted(path for path in self.folder.iterdir() if path.is_dir())
        return [
            (path, label) for label, one in enumerate(classes) for path in sorted(one.iterdir())
        ]


def load(name: str) -> ModuleType:
    """The module of a peer."""
    return importlib.import_module(f"benchmarks.peers.{name}")


def is_installed(name: str) -> bool:
    """Whether this environment has what a peer needs."""
    try:
        return all(importlib.util.find_spec(package) for package in load(name).REQUIRES)
    except ModuleNotFoundError:  # the package around a `package.part`
        return False
