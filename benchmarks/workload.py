"""What is measured on: shards, and the same images as files for those who read files.

Every side of a comparison sees the same images at the same size. Given a folder, its shards are
built from it and the training images are linked into a folder of their own; given only shards, their
training images are written out as JPEG; given neither, phantoms are drawn.
"""

import dataclasses
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from engine.base import files
from engine.base.config import UserError
from engine.pipeline import input_pipeline
from engine.shards import tfrecords
from engine.shards.tfrecords import Manifest

SPLIT = "train"
_COMPLETE = ".complete.json"
_JPEG_QUALITY = 90


@dataclasses.dataclass(frozen=True)
class Workload:
    """Shards and the same training images as files.

    Attributes:
        originals: the image folder the shards were built from; None if only shards were given.
        folder: `<class>/<image>` of the training split, JPEG files (or what the originals are).
        scratch: a directory for what peers pack.
    """

    shards: Path
    manifest: Manifest
    originals: Path | None
    folder: Path
    scratch: Path

    @property
    def num_images(self) -> int:
        """Images of the training split."""
        return self.manifest.splits[SPLIT].num_examples

    @property
    def images(self) -> np.ndarray:
        """The training split, uint8[N, H, W, C]; decoded again at every call."""
        return input_pipeline.load_split(self.shards, self.manifest, SPLIT)["image"]

    def describe(self) -> dict[str, object]:
        """What results say of the data."""
        return {
            "source": self.manifest.source.get("name"),
            "training_images": self.num_images,
            "image_shape": list(self.manifest.image_shape),
            "encoding": self.manifest.encoding,
        }


def prepare(
    *,
    images: Path | None,
    shards: Path | None,
    workdir: Path,
    image_size: tuple[int, int],
    num_images: int,
    tell: Callable[[str], None],
) -> Workload:
    """Makes what is missing below `workdir`, and finds it there the next time.

    Raises:
        UserError: the folder or the shards cannot be used.
    """
    originals = images
    if images is None and shards is None:
        originals = _phantoms(workdir / f"phantoms-{num_images}", num_images, tell)
    if shards is None:
        assert originals is not None
        height, width = image_size
        shards = workdir / f"{originals.name}-{_name(originals)}-{height}x{width}"
        tell(f"shards of {originals} go to {shards}")
        _build(originals, shards, image_size)
    manifest = tfrecords.read_manifest(shards)
    input_pipeline.split_info(manifest, SPLIT)
    folder = workdir / f"files-{_name(shards)}-{manifest.fingerprint[:8]}"
    if not (folder / _COMPLETE).is_file():
        tell(f"the training images as files go to {folder}")
        # Linked only where the files are as large as the examples: peers then decode, and resize
        # nothing, as the engine's shards were resized when they were built.
        if images is not None and _has_size(images, manifest.image_size):
            _link(images, shards, manifest, folder)
        else:
            _write_files(shards, manifest, folder)
        files.write_json(folder / _COMPLETE, {"images": manifest.splits[SPLIT].num_examples})
    return Workload(shards, manifest, originals, folder, workdir / "peers")


def _phantoms(directory: Path, count: int, tell: Callable[[str], None]) -> Path:
    from engine.base.build_settings import PhantomConfig
    from engine.phantoms import phantom_folder

    tell(f"phantoms go to {directory}")
    held_out = max(32, count // 10)
    config = PhantomConfig(train_images=count, val_images=held_out, test_images=held_out)
    phantom_folder.make_phantoms(config, directory)
    return directory


def _build(images: Path, shards: Path, image_size: tuple[int, int]) -> None:
    from engine.base.build_settings import BuildConfig
    from engine.shards import builder

    builder.build(BuildConfig(image_size=image_size), images, shards)


def _has_size(images: Path, image_size: tuple[int, int]) -> bool:
    first = next(_image_files(images), None)
    if first is None:
        raise UserError(f"{images}: holds no image; expected a folder per class")
    try:
        with Image.open(first) as image:
            return (image.height, image.width) == tuple(image_size)
    except OSError:
        return False


def _image_files(images: Path) -> Iterator[Path]:
    for path in sorted(images.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            yield path


def _link(images: Path, shards: Path, manifest: Manifest, folder: Path) -> None:
    """Links the training images into `<class>/<file>`."""
    by_name = {path.name: path for path in _image_files(images)}
    features = ("label", "path")
    arrays = input_pipeline.load_split(shards, manifest, SPLIT, features)
    for label, name in zip(arrays["label"], arrays["path"], strict=True):
        relative = Path(os.fsdecode(name))
        source = images / relative
        if not source.is_file():
            source = by_name.get(relative.name, source)
        if not source.is_file():
            raise UserError(
                f"{images}: has no {relative}, which {shards} was built from; give the folder that "
                "the shards were made of, or leave --images out"
            )
        target = folder / manifest.class_names[label] / f"{_name(relative)}-{relative.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.symlink_to(source.resolve())


def _write_files(shards: Path, manifest: Manifest, folder: Path) -> None:
    """Writes the training images as JPEG files into `<class>/<number>.jpeg`."""
    arrays = input_pipeline.load_split(shards, manifest, SPLIT)
    for number, (image, label) in enumerate(zip(arrays["image"], arrays["label"], strict=True)):
        path = folder / manifest.class_names[label] / f"{number:06d}.jpeg"
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        pixels = image[..., 0] if image.shape[-1] == 1 else image
        Image.fromarray(pixels).save(buffer, "JPEG", quality=_JPEG_QUALITY)
        path.write_bytes(buffer.getvalue())


def _name(path: Path) -> str:
    """A short name that differs between paths."""
    return hashlib.sha256(str(path).encode()).hexdigest()[:8]
