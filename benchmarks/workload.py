"""The data of the benchmarks: shards, and the same images as files for loaders that read files.

All sides of a comparison use the same images at the same size. Given a folder, shards are built from it
and the training images are linked into their own folder; given only shards, their training images are
written as JPEG files; given neither, phantoms are generated.
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
from engine.pipeline.reading import StoredSplit
from engine.shards import dataset_checks, tfrecords
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
        scratch: a directory for the packed data of peers.
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
        """The training split, uint8[N, H, W, C]; decoded anew at every access."""
        return StoredSplit(self.shards, SPLIT, self.manifest).load(("image",))["image"]

    def describe(self) -> dict[str, object]:
        """The description of the data in results."""
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
    """Creates what is missing in `workdir`, and reuses it the next time.

    Raises:
        UserError: the folder or the shards cannot be used.
    """
    originals = images
    if images is None and shards is None:
        originals = phantoms(workdir / f"phantoms-{num_images}", num_images, tell)
    if shards is None:
        assert originals is not None
        height, width = image_size
        shards = workdir / f"{originals.name}-{_name(originals)}-{height}x{width}"
        tell(f"building shards of {originals} in {shards}")
        _build(originals, shards, image_size)
    manifest = tfrecords.read_manifest(shards)
    dataset_checks.split_info(manifest, SPLIT)
    folder = workdir / f"files-{_name(shards)}-{manifest.fingerprint[:8]}"
    if not (folder / _COMPLETE).is_file():
        tell(f"writing the training images as files to {folder}")
        # Linked only if the files have the size of the examples: the engine's shards were resized when
        # they were built, so peers must not have to resize either.
        if images is not None and _has_size(images, manifest.image_size):
            _link(images, shards, manifest, folder)
        else:
            _write_files(shards, manifest, folder)
        files.write_json(folder / _COMPLETE, {"images": manifest.splits[SPLIT].num_examples})
    return Workload(shards, manifest, originals, folder, workdir / "peers")


def phantoms(directory: Path, count: int, tell: Callable[[str], None]) -> Path:
    """A folder of phantoms, generated where it is missing."""
    from engine.base.build_settings import PhantomConfig
    from engine.phantoms import phantom_folder

    tell(f"generating phantoms in {directory}")
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
        raise UserError(f"{images}: holds no image; expected one folder per class")
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
    arrays = StoredSplit(shards, SPLIT, manifest).load(("label", "path"))
    for label, name in zip(arrays["label"], arrays["path"], strict=True):
        relative = Path(os.fsdecode(name))
        source = images / relative
        if not source.is_file():
            source = by_name.get(relative.name, source)
        if not source.is_file():
            raise UserError(
                f"{images}: does not hold {relative}, from which {shards} was built; give the folder "
                "that the shards were built from, or omit --images"
            )
        target = folder / manifest.class_names[label] / f"{_name(relative)}-{relative.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.symlink_to(source.resolve())


def _write_files(shards: Path, manifest: Manifest, folder: Path) -> None:
    """Writes the training images as JPEG files into `<class>/<number>.jpeg`."""
    arrays = StoredSplit(shards, SPLIT, manifest).load()
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
