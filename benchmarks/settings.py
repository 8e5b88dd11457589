"""The flags of `python -m benchmarks`; no TensorFlow, so that `--help` answers at once."""

import dataclasses

from engine.base.config import Config, setting
from engine.base.setting_values import parse_image_size


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkConfig(Config):
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
    num_seeds: int = setting(3, minimum=1, help="number of trainings of the accuracy suite")
    epochs: int = setting(12, minimum=1, help="epochs per training of the accuracy suite")

    @property
    def measuring(self) -> dict[str, float]:
        """The keyword arguments of `harness.measure`."""
        if self.quick:
            return {"repeats": min(self.repeats, 3), "seconds": min(self.seconds, 0.25)}
        return {"repeats": self.repeats, "seconds": self.seconds}
