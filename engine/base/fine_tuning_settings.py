"""The settings of fine-tuning: which part of a network is trained from when on, and how fast."""

import dataclasses

from engine.base.config import FREE, Config, UserError, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTuningSettings(Config):
    """How the body of a network (all but its last dense layer, the head) is trained."""

    freeze_epochs: int = setting(
        0, minimum=0, help="epochs that train the head alone, before the body joins"
    )
    head_solver: str = setting(
        "adam",
        choices=("adam", "lbfgs"),
        help="how the epochs of the head alone find its weights: by steps, or lbfgs: one epoch computes "
        "the features of all images and solves for the best weights (with --freeze-epochs 1)",
    )
    refit_head: bool | None = setting(
        None,
        help="when training ends, solve for the head of the best epoch as --head-solver lbfgs does; none: "
        "for built-in networks with --pooling statistics, unless they start from pretrained weights, have "
        "another loss than cross_entropy, or a teacher",
        on_resume=FREE,
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

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head_solver == "lbfgs" and self.freeze_epochs != 1:
            raise UserError(
                "--head-solver lbfgs solves for the head in the one epoch of --freeze-epochs 1, got "
                f"--freeze-epochs {self.freeze_epochs}; give 1, or --head-solver adam"
            )
