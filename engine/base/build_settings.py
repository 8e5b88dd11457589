"""The settings of the commands that make data: `engine.build_tfrecords` and `engine.phantoms`."""

import dataclasses

from engine.base.config import FREE, Config, UserError, setting
from engine.base.setting_values import check_column_values, check_pattern, parse_image_size


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhantomConfig(Config):
    """How many phantoms there are, and of what kind."""

    train_images: int = setting(1600, minimum=0, maximum=99_999, help="images to train on")
    val_images: int = setting(
        16, minimum=0, maximum=99_999, help="images in val, too few on purpose as in the real set"
    )
    test_images: int = setting(320, minimum=0, maximum=99_999, help="images in test")
    pneumonia_share: float = setting(
        0.6, minimum=0.05, maximum=0.95, help="share of the images that show pneumonia"
    )
    images_per_patient: int = setting(
        3, minimum=1, maximum=50, help="most images of one patient; each has 1 to that many"
    )
    min_size: int = setting(
        256, minimum=32, maximum=4096, help="shortest longer side of an image, pixels"
    )
    max_size: int = setting(
        400, minimum=32, maximum=4096, help="longest longer side of an image, pixels"
    )
    seed: int = setting(0, minimum=0, maximum=2**31 - 1, help="seed of everything drawn")
    workers: int | None = setting(
        None, minimum=1, maximum=256, help="processes that draw; none: one per core"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_size > self.max_size:
            raise UserError(
                f"--min-size: got {self.min_size}, must be at most --max-size ({self.max_size})"
            )
        counts = (self.train_images, self.val_images, self.test_images)
        if 1 in counts or not any(counts):
            raise UserError(
                f"--train-images, --val-images, --test-images: got {counts}, expected 0 (no such "
                "split) or at least 2 (one per class) each, and one split at least"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreparationSettings(Config):
    """How images are prepared."""

    image_size: tuple[int, int] = setting(
        (224, 224),
        parse=parse_image_size,
        metavar="N|HxW",
        help="pixels that every image is resized to, antialiased",
    )
    channels: int = setting(1, choices=(1, 3), help="1 grey, 3 colour")
    keep_aspect_ratio: bool = setting(
        False, help="fit images inside and pad with black instead of stretching them"
    )
    bits: str = setting(
        "auto",
        parse=str,
        choices=("auto", "8", "12", "16"),
        help="bits in use of 16-bit PNG and TIFF, the same for all images; auto: the fewest that hold "
        "the largest value in IMAGES",
    )
    max_pixels: int = setting(
        80_000_000, minimum=1, help="larger images are left out, as decompression bombs"
    )
    encoding: str = setting(
        "raw",
        choices=("raw", "png", "jpeg"),
        help="how shards hold pixels; raw trains fastest, png halves the disk space",
    )
    jpeg_quality: int = setting(
        95, minimum=1, maximum=100, help="with --encoding jpeg, the only one that loses anything"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitSettings(Config):
    """How images are divided into splits."""

    validation_fraction: float | None = setting(
        None,
        minimum=0,
        maximum=0.9,
        help="share of train to hold back as validation, by class and patient, a validation folder "
        "joining train first; none: 0.1 where there is no validation folder",
    )
    test_fraction: float | None = setting(
        None,
        minimum=0,
        maximum=0.9,
        help="share of train to hold back as test; none: 0.1 where there are class folders only",
    )
    group_by: str = setting(
        "patient",
        metavar="patient|none|REGEX",
        help="which images a split keeps together: patient reads the headers of DICOM files and the "
        "names of the public chest X-ray set; a regular expression's group is the id, sought in the file name, then in the "
        "path",
    )
    hold_out: str | None = setting(
        None,
        parse=check_pattern,
        metavar="REGEX",
        help="images whose path (relative to IMAGES) contains a match form the test split, or external; "
        "their patients and copies are removed from train and validation",
    )
    hold_out_metadata: str | None = setting(
        None,
        parse=check_column_values,
        metavar="FILE.csv:COLUMN=VALUE[,VALUE]",
        help="the same for images that have one of these values in a column of a CSV file, which "
        "names them by path or file name",
    )
    hold_out_split: str = setting(
        "auto",
        choices=("auto", "test", "external"),
        help="the split that held-out images form; auto: external where IMAGES has a test folder of "
        "its own, else test",
    )
    hold_out_shared: str = setting(
        "held-out",
        choices=("held-out", "train"),
        help="who keeps patients and copies that both sides have: held-out removes them from train and "
        "validation; train removes them from what is held out, which leaves more to train on",
    )
    on_leak: str = setting(
        "warn",
        choices=("warn", "fail", "drop"),
        help="when a patient or a duplicate stands in two of the folders' own splits; drop leaves "
        "out train's images for those in validation, and either's for those in test",
    )
    seed: int = setting(
        0, minimum=0, maximum=2**31 - 1, help="seed of the splits drawn and the order in shards"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        held = (self.validation_fraction or 0) + (self.test_fraction or 0)
        if held > 0.9:
            raise UserError(
                f"--validation-fraction and --test-fraction: got {self.validation_fraction} and "
                f"{self.test_fraction}, must leave at least a tenth for train"
            )
        for name, default in (("hold_out_split", "auto"), ("hold_out_shared", "held-out")):
            value = getattr(self, name)
            if value != default and not self.holds_out:
                raise UserError(
                    f"--{name.replace('_', '-')}: got {value}, but nothing is held out; give "
                    "--hold-out or --hold-out-metadata too"
                )

    @property
    def holds_out(self) -> bool:
        """Whether images are held out by their path or metadata."""
        return self.hold_out is not None or self.hold_out_metadata is not None


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildRunSettings(Config):
    """How the build runs."""

    on_error: str = setting(
        "skip",
        choices=("skip", "fail"),
        help="leave bad images out, named in rejected.csv, or stop at the first",
    )
    shard_size_mb: float = setting(
        64, above=0, maximum=16384, help="size of a shard that the builder aims at, megabytes"
    )
    workers: int | None = setting(
        None,
        minimum=1,
        maximum=256,
        help="processes that decode; none: one per core",
        on_resume=FREE,
    )
    overwrite: bool = setting(
        False, help="start again where SHARDS holds another build", on_resume=FREE
    )
    verify: bool = setting(
        False,
        help="re-read every shard against its checksum and count; checks a finished build too",
        on_resume=FREE,
    )
    repair: bool = setting(
        False, help="verify, and rebuild the shards that are damaged", on_resume=FREE
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildConfig(PreparationSettings, SplitSettings, BuildRunSettings):
    """How an image folder becomes shards."""
