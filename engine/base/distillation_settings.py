"""The settings of a training that is taught by a trained run."""

import dataclasses

from engine.base.config import Config, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistillationSettings(Config):
    """What a trained run, or several, teach."""

    distill_from: str | None = setting(
        None,
        parse=str,
        metavar="RUN",
        help="a trained run or an ensemble, whose probabilities of the unaltered training images are "
        "learned besides the labels; none: labels alone",
    )
    distill_weight: float = setting(
        0.5,
        minimum=0,
        maximum=1,
        help="share of the loss that --distill-from has; the labels have the rest",
    )
    distill_temperature: float = setting(
        2.0,
        minimum=0.1,
        maximum=100,
        help="what the logits of both are divided by in that part of the loss; the higher, the more counts "
        "how the teacher ranks what it is sure of",
    )
