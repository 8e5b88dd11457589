"""The flags of `python -m benchmarks`; no TensorFlow, so that `--help` answers at once."""

import dataclasses

from engine.base.config import Config, setting
from engine.base.setting_values import parse_image_size


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkConfig(Config):
    """How long and on what is measured."""

    repeats: int = setting(
        5, minimum=1, maximum=1000, help="runs of each side, taking turns; 5 give a 90 % interval"
    )
    seconds: float = setting(1.5, above=0, help="how long a run takes at least, seconds")
    quick: bool = setting(False, help="3 short runs of each side, few sweeps: to try, not to quote")
    global_batch_size: int = setting(64, minimum=1, help="images per batch")
    image_size: tuple[int, int] = setting(
        (224, 224),
        parse=parse_image_size,
        metavar="N|HxW",
        help="size that shards are built at, where --shards gives none",
    )
    num_images: int = setting(
        2048, minimum=64, help="phantoms to draw where neither --images nor --shards is given"
    )
    num_seeds: int = setting(3, minimum=1, help="trainings of the accuracy suite")
    epochs: int = setting(12, minimum=1, help="epochs of a training of the accuracy suite")

    @property
    def measuring(self) -> dict[str, float]:
        """The keyword arguments of `harness.measure`."""
        if self.quick:
            return {"repeats": min(self.repeats, 3), "seconds": min(self.seconds, 0.25)}
        return {"repeats": self.repeats, "seconds": self.seconds}
