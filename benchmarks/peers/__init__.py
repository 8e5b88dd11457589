"""What users would use instead of the engine: one file a peer, each with its usual best practice.

A peer is a module with

    TITLE      what tables call it
    REQUIRES   importable packages it needs
    PACKED     whether it reads a packed format of its own, made once before it is timed
    open(request) -> run(passes) -> images

and, where it can be the input of a Keras training, `open_training(request)`, which trains the
`tutorial` network. Nothing is imported at the top but the standard library and NumPy: environments of
peers hold neither TensorFlow nor the engine's dependencies.
"""

import dataclasses
import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

NAMES = (
    "keras2_generator",
    "image_dataset",
    "image_dataset_cached",
    "tfds_shards",
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
