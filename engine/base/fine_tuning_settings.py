"""The settings of fine-tuning: which part of a network is trained from when on, and how fast."""

import dataclasses

from engine.base.config import Config, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTuningSettings(Config):
    """How the body of a network (all but its last dense layer, the head) is trained."""

    freeze_epochs: int = setting(
        0, minimum=0, help="epochs that train the head alone, before the body joins"
    )
    fine_tune_from: str = setting(
        "all",
        parse=str,
        metavar="all|none|LAYER",
        help="the first layer that is trained, by its name or the beginning of it; those before it stay "
        "as they are; none: the head alone is trained",
    )
    body_rate: float = setting(
        1.0, above=0, maximum=10, help="factor on the learning rate of the body"
    )
    layer_decay: float = setting(
        1.0,
        above=0,
        maximum=1,
        help="factor on the learning rate per stage of the body, counted from the head backwards; a "
        "stage ends where the feature map gets smaller",
    )
    freeze_batch_norm: bool | None = setting(
        None,
        help="batch normalization of the body keeps its mean and variance (gamma and beta are trained); "
        "none: where the network starts from pretrained weights",
    )
