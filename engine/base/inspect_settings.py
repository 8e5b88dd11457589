"""The settings of `engine.inspect_images`."""

import dataclasses

from engine.base.config import Config, setting

NEAR_DISTANCE = 32  # of the 255 bits of a perceptual hash; see docs/inspecting.md for its rates


@dataclasses.dataclass(frozen=True, kw_only=True)
class InspectConfig(Config):
    """How images are looked at."""

    group_by: str = setting(
        "auto",
        metavar="auto|patient|none|REGEX",
        help="which images show one patient, as engine.build_tfrecords takes it; auto: patient, and of "
        "shards as they were built",
    )
    near_distance: int = setting(
        NEAR_DISTANCE,
        minimum=0,
        maximum=80,
        help="largest number of differing bits, of 255, between the perceptual hashes of near copies",
    )
    samples: int = setting(8, minimum=1, maximum=64, help="sample images shown of each class")
    shown: int = setting(
        12, minimum=1, maximum=1000, help="how many of each kind of finding a list shows"
    )
    seed: int = setting(0, minimum=0, maximum=2**31 - 1, help="seed of the sample images")
    predictions: str = setting(
        "auto",
        choices=("auto", "stored", "new"),
        help="with --run, where its probabilities come from: stored by its evaluations of these images, "
        "or new ones of every image; auto: stored, where there are any",
    )
    max_pixels: int | None = setting(
        None, minimum=1, help="largest image to decode, in pixels; none: as engine.build_tfrecords"
    )
    workers: int | None = setting(
        None, minimum=1, maximum=256, help="how many decode at a time; none: one per core"
    )
