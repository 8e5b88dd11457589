"""The images that an export is checked on, and those that its int8 ranges are taken from.

From a split of shards (labels known), from image files, or, where there is neither, made by a formula: such
images show whether an export computes what the run computes, not how well it does.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.base import progress
from engine.base.config import UserError
from engine.base.export_settings import ExportConfig
from engine.images import decoding, image_files, source_file
from engine.images.format import ImageFormat
from engine.runs.contract import InferenceContract
from engine.runs.run_directory import RunDirectory
from engine.shards import data_identity, dataset_checks, tfrecords
from engine.shards.tfrecords import Manifest

_NUM_GENERATED = 32
_REPRESENTATIVE_SPLIT = "train"


@dataclasses.dataclass(frozen=True)
class CheckedImages:
    """Images with what is known of them.

    Attributes:
        images: uint8[N, H, W, C].
        described: where they come from, such as `split validation of data/shards`.
        labels: int64[N]; None where they are not known.
        given_files: the files that the images were decoded from, where they were.
        representative: uint8[M, H, W, C], for int8 ranges.
    """

    images: np.ndarray
    described: str
    labels: np.ndarray | None = None
    given_files: tuple[bytes, ...] | None = None
    representative: np.ndarray | None = None

    @functools.cached_property
    def files(self) -> tuple[bytes, ...]:
        """An encoded file of each image: those given, or else PNG, which are decoded to the same pixels."""
        if self.given_files is not None:
            return self.given_files
        return tuple(decoding.encode(image, "png") for image in self.images)


@dataclasses.dataclass(frozen=True)
class ImageSource:
    """Where images are taken from, known to be there.

    Attributes:
        shards: a directory of shards; with its manifest.
        files: or image files.
    """

    shards: Path | None = None
    manifest: Manifest | None = None
    files: tuple[Path, ...] = ()

    def read(self, contract: InferenceContract, settings: ExportConfig) -> CheckedImages:
        """Reads the images that the settings ask for.

        Raises:
            UserError: none of the files can be read, or the shards are damaged.
        """
        if self.shards is not None and self.manifest is not None:
            return _of_shards(self.shards, self.manifest, settings)
        if self.files:
            return _of_files(self.files, contract.image_format, settings)
        progress.say(
            "warning: no real images; checked on generated ones (give --shards SHARDS or --images PATH...)"
        )
        images = generated(contract.image_format, seed=settings.seed)
        return CheckedImages(images, f"{len(images)} generated images")


def find_source(
    run: RunDirectory,
    contract: InferenceContract,
    settings: ExportConfig,
    *,
    shards: Path | None,
    paths: Sequence[str],
) -> ImageSource:
    """What the arguments name, or else the shards that the run was trained on, if they are still there.

    Needs no TensorFlow.

    Raises:
        UserError: what they name is missing or does not fit the run; or images are needed and there are
            none.
    """
    if shards is not None and paths:
        raise UserError("--images and --shards both say what to check the export on; give one")
    if paths:
        image_files.check_paths(paths)
        return ImageSource(files=tuple(image_files.require_files(paths, image_files.Failures())))
    if shards is not None:
        manifest = tfrecords.read_manifest(shards)
        dataset_checks.split_info(manifest, settings.split)
        _check_fits(shards, manifest, contract)
        return ImageSource(shards, manifest)
    own = _own_shards(run, contract, settings)
    if own is None and settings.quantize is not None:
        raise UserError(
            f"--quantize {settings.quantize}: needs images to take its ranges from, and the shards of the "
            f"training, with a split {settings.split!r}, are not there; give --shards SHARDS or --images PATH..."
        )
    return own or ImageSource()


def generated(image_format: ImageFormat, *, seed: int, count: int = _NUM_GENERATED) -> np.ndarray:
    """uint8[count, H, W, C]: waves of random length and direction, under noise."""
    random = np.random.default_rng(seed)
    height, width, channels = image_format.image_shape
    rows, columns = np.mgrid[:height, :width][..., None, None]
    frequencies = random.uniform(-8, 8, (2, channels, count)) / max(height, width)
    phase = rows * frequencies[0] + columns * frequencies[1] + random.uniform(0, 1, count)
    levels = 127.5 * (1 + np.sin(2 * np.pi * phase)) * random.uniform(0.2, 1, count)
    noisy = levels + random.normal(0, 12, levels.shape)
    return np.ascontiguousarray(np.moveaxis(np.clip(noisy, 0, 255).astype(np.uint8), -1, 0))


def balanced_choice(labels: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """Sorted indices of about `count` examples, equally many of each class as far as there are."""
    random = np.random.default_rng(seed)
    classes = np.unique(labels)
    share = -(-count // len(classes))
    chosen = [random.permutation(np.flatnonzero(labels == label))[:share] for label in classes]
    return np.sort(np.concatenate(chosen))


def _of_shards(shards: Path, manifest: Manifest, settings: ExportConfig) -> CheckedImages:
    from engine.pipeline.reading import StoredSplit

    stored = StoredSplit(shards, settings.split, manifest)
    random = np.random.default_rng(settings.seed)
    indices = np.sort(random.permutation(stored.num_examples)[: settings.num_images])
    representative = None
    if settings.quantize is not None:
        has_train = _has_split(manifest, _REPRESENTATIVE_SPLIT)
        taken_from = StoredSplit(shards, _REPRESENTATIVE_SPLIT, manifest) if has_train else stored
        chosen = balanced_choice(taken_from.labels, settings.num_representative, seed=settings.seed)
        representative = taken_from.images_at(chosen)
    return CheckedImages(
        stored.images_at(indices),
        f"{len(indices)} images of split {settings.split} of {shards}",
        labels=stored.labels[indices],
        representative=representative,
    )


def _of_files(
    found: Sequence[Path], image_format: ImageFormat, settings: ExportConfig
) -> CheckedImages:
    random = np.random.default_rng(settings.seed)
    most = settings.num_images + (settings.num_representative if settings.quantize else 0)
    chosen = [found[place] for place in random.permutation(len(found))[:most]]
    decoded = dict(
        image_files.decoded_images(
            chosen,
            image_files.Failures(),
            image_format=image_format,
            max_pixels=settings.max_pixels,
        )
    )
    if not decoded:
        raise UserError("--images: none of the paths holds an image that can be read")
    images = np.stack(list(decoded.values()))
    return CheckedImages(
        images[: settings.num_images],
        f"{len(images[: settings.num_images])} image files",
        given_files=tuple(map(source_file.read_file, list(decoded)[: settings.num_images])),
        # The last ones: those checked are among them only where there are too few others.
        representative=images[-settings.num_representative :] if settings.quantize else None,
    )


def _own_shards(
    run: RunDirectory, contract: InferenceContract, settings: ExportConfig
) -> ImageSource | None:
    """The shards that the run was trained on; None if they are gone, or replaced by others.

    Raises:
        UserError: they are there, without a split that was asked for.
    """
    try:
        trained_on = run.read_environment()["data"]
        shards = Path(trained_on["shards"])
        manifest = tfrecords.read_manifest(shards)
        _check_fits(shards, manifest, contract)
        others = data_identity.differences(trained_on, data_identity.describe(manifest))
    except (UserError, KeyError, TypeError):
        return None
    if others:
        progress.say(f"warning: {shards}: not as in the training: {'; '.join(others)}; not used")
        return None
    if settings.split != ExportConfig.split:  # by default, a set without validation images will do
        dataset_checks.split_info(manifest, settings.split)
    return ImageSource(shards, manifest) if _has_split(manifest, settings.split) else None


def _has_split(manifest: Manifest, split: str) -> bool:
    info = manifest.splits.get(split)
    return info is not None and info.num_examples > 0


def _check_fits(shards: Path, manifest: Manifest, contract: InferenceContract) -> None:
    """Raises `UserError` unless shards hold images and classes as the run takes and names them."""
    pairs = {
        "image size": (manifest.image_size, contract.image_format.image_size),
        "channels": (manifest.channels, contract.image_format.channels),
        "classes": (manifest.class_names, contract.class_names),
    }
    for name, (found, expected) in pairs.items():
        if found != expected:
            raise UserError(
                f"--shards {shards}: got {name} {found}, the run has {expected}; give shards built as "
                "those of its training, or --images PATH..."
            )
