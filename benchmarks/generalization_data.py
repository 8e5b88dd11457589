"""The two divisions of an image folder that the suite `generalization` trains on.

The *series split* holds out a series: images whose path matches a pattern are its held-out set, and their
patients are in no other split. The *own split* draws its test images by patient, as usual, or has those of
the folder's own test folder.
"""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

from benchmarks import outcomes
from engine.base.build_settings import BuildConfig
from engine.base.config import UserError
from engine.shards import builder, data_identity, dataset_checks, tfrecords
from engine.shards.tfrecords import Manifest

FRACTION = 0.1  # of the images that are not held out: validation, and test on the own split
TEST, EXTERNAL = "test", "external"


@dataclasses.dataclass(frozen=True)
class Division:
    """A set of shards to train and measure on.

    Attributes:
        name: as in tables.
        held_out: the split that is measured.
    """

    name: str
    shards: Path
    manifest: Manifest
    held_out: str

    @property
    def identity(self) -> str:
        """A name of the data; see `data_identity`."""
        return data_identity.describe(self.manifest)["identity"]


def divide(
    images: Path,
    workdir: Path,
    *,
    hold_out: str | None,
    hold_out_shared: str,
    image_size: tuple[int, int],
    tell: Callable[[str], None],
) -> tuple[Division, Division]:
    """The series split and the own split, built where they are missing.

    Raises:
        UserError: nothing is held out, or the folder cannot be divided so.
    """
    if hold_out is None:
        raise UserError(
            "--hold-out REGEX is missing: which images form the other series, by their path; for the "
            "public chest X-rays and for phantoms 'NORMAL2-|_virus_'"
        )
    series = _build(
        images,
        workdir,
        BuildConfig(
            image_size=image_size,
            validation_fraction=FRACTION,
            hold_out=hold_out,
            hold_out_shared=hold_out_shared,
        ),
        tell,
    )
    # A test folder of the tree's own stays the test split of both.
    has_test = EXTERNAL in tfrecords.read_manifest(series).splits
    own = _build(
        images,
        workdir,
        BuildConfig(
            image_size=image_size,
            validation_fraction=FRACTION,
            test_fraction=None if has_test else FRACTION,
        ),
        tell,
    )
    return (
        _division(outcomes.SERIES, series, EXTERNAL if has_test else TEST),
        _division(outcomes.OWN, own, TEST),
    )


def external(shards: Path, like: Manifest) -> Division:
    """Shards of another place, measured on their split `external` or `test`.

    Raises:
        UserError: they do not have the classes and the image format of `like`.
    """
    manifest = tfrecords.read_manifest(shards)
    pairs = {
        "classes": (manifest.class_names, like.class_names),
        "image size": (manifest.image_size, like.image_size),
        "channels": (manifest.channels, like.channels),
    }
    for what, (found, expected) in pairs.items():
        if found != expected:
            raise UserError(
                f"--external {shards}: got {what} {found}, but the trainings have {expected}; build "
                "it as the images are built"
            )
    held_out = EXTERNAL if EXTERNAL in manifest.splits else TEST
    dataset_checks.split_info(manifest, held_out)
    return Division(shards.resolve().name, shards, manifest, held_out)


def _build(images: Path, workdir: Path, config: BuildConfig, tell: Callable[[str], None]) -> Path:
    """The directory of the shards, which is named by what they are made of."""
    text = f"{images.resolve()} {config.hold_out} {config.hold_out_shared} {config.image_size}"
    shards = workdir / f"{images.name}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
    tell(f"building shards of {images} in {shards}")
    builder.build(config, images, shards)
    return shards


def _division(name: str, shards: Path, held_out: str) -> Division:
    return Division(name, shards, tfrecords.read_manifest(shards), held_out)
