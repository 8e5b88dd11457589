"""The flags of `python -m benchmarks`; no TensorFlow, so that `--help` answers at once."""

import dataclasses

from engine.base.config import Config, setting
from engine.base.setting_values import check_pattern, parse_image_size


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneralizationSettings(Config):
    """What the suite generalization trains."""

    hold_out: str | None = setting(
        None,
        parse=check_pattern,
        metavar="REGEX",
        help="images whose path contains a match are the other series; see engine.build_tfrecords",
    )
    hold_out_shared: str = setting(
        "held-out",
        choices=("held-out", "train"),
        help="who keeps patients that the other series and the rest have both; see engine.build_tfrecords",
    )
    train_flags: str = setting(
        "",
        parse=str,
        metavar="'FLAGS'",
        help="flags of engine.train for every training, such as '--epochs 10 --augment strong'; none, "
        "without --candidates: the default network and the default pretrained one",
    )
    target_auroc: float = setting(
        0.97, above=0.5, maximum=1, help="AUROC on the other series that minutes are counted to"
    )
    watch_images: int = setting(
        1000,
        minimum=0,
        help="images of the other series that are measured after each epoch, to count these minutes; "
        "their time is not counted (0: none)",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkConfig(GeneralizationSettings):
    """How long to measure, and on which data."""

    repeats: int = setting(
        5, minimum=1, maximum=1000, help="alternating runs per side; 5 or more give a 90 % interval"
    )
    seconds: float = setting(1.5, above=0, help="minimum length of a run in seconds")
    quick: bool = setting(
        False, help="3 short runs per side and few sweeps: for a try, not for publication"
    )
    global_batch_size: int = setting(64, minimum=1, help="images per batch")
    image_size: tuple[int, int] = setting(
        (224, 224),
        parse=parse_image_size,
        metavar="N|HxW",
        help="image size of the shards to build, if --shards gives none",
    )
    num_images: int = setting(
        2048, minimum=64, help="number of phantoms to generate without --images and --shards"
    )
    num_seeds: int = setting(
        3, minimum=1, help="trainings of the accuracy suite, and per candidate of generalization"
    )
    epochs: int = setting(12, minimum=1, help="epochs per training of the accuracy suite")

    @property
    def phantoms(self) -> int:
        """How many phantoms are generated to train on."""
        return min(self.num_images, 512) if self.quick else self.num_images

    @property
    def measuring(self) -> dict[str, float]:
        """The keyword arguments of `harness.measure`."""
        if self.quick:
            return {"repeats": min(self.repeats, 3), "seconds": min(self.seconds, 0.25)}
        return {"repeats": self.repeats, "seconds": self.seconds}
