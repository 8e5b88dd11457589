"""The settings of a training, declared once: the flags, JSON keys and defaults users see.

Cross-field rules live in `__post_init__`; a field's own bounds stand beside it in `setting`. A class is a
group of flags in `--help`, under the first line of its docstring.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from engine.base.config import FREE, RESOLVED, Config, FrozenSettings, UserError, setting
from engine.base.distillation_settings import DistillationSettings
from engine.base.figure_settings import FigureSettings
from engine.base.fine_tuning_settings import FineTuningSettings
from engine.base.setting_values import (
    check_interval,
    check_loss,
    check_service_address,
    check_step_range,
    check_steps_per_execution,
    parse_image_size,
)

AUGMENTATION_PRESETS = ("none", "light", "standard", "strong", "tutorial")


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputSettings(Config):
    """How batches are made from shards."""

    global_batch_size: int = setting(
        64, minimum=1, help="images a training step sees, over all replicas"
    )
    cache: str = setting(
        "auto",
        choices=("auto", "memory", "streaming"),
        help="keep the decoded split in host memory, or stream shards each epoch",
        on_resume=FREE,  # where it decides the order (PNG and JPEG), resuming compares the order
    )
    cache_memory_fraction: float = setting(
        0.5,
        above=0,
        maximum=1,
        help="share of free memory that --cache auto may take for training and validation split",
        on_resume=FREE,
    )
    shuffle_window: int = setting(
        4096, minimum=1, help="PNG or JPEG examples permuted together when streaming"
    )
    sampling: str = setting(
        "natural",
        choices=("natural", "balanced"),
        help="balanced draws every class equally often (not from streamed PNG or JPEG shards)",
    )
    data_service: str | None = setting(
        None,
        parse=check_service_address,
        metavar="grpc://HOST:PORT",
        help="stream from the workers of tf.data service; see engine.data_service",
        on_resume=FREE,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data_service is not None and self.cache == "memory":
            raise UserError(
                f"--cache memory keeps the images here, --data-service {self.data_service} brings "
                "them from elsewhere; give one of them"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentationSettings(Config):
    """What training images are put through; a strength left at none is the preset's."""

    augment: str = setting("standard", choices=AUGMENTATION_PRESETS, help="augmentation preset")
    rotation: float | None = setting(
        None, minimum=0, maximum=180, help="largest rotation, degrees either way"
    )
    shear: float | None = setting(None, minimum=0, maximum=1, help="largest shear, radians")
    zoom: float | None = setting(
        None, minimum=0, maximum=0.9, help="largest zoom in and out, drawn per axis; 0.2 is 20 %"
    )
    width_shift: float | None = setting(
        None, minimum=0, maximum=1, help="largest horizontal shift, share of the width"
    )
    height_shift: float | None = setting(
        None, minimum=0, maximum=1, help="largest vertical shift, share of the height"
    )
    horizontal_flip: bool | None = setting(None, help="mirror half of the images")
    vertical_flip: bool | None = setting(
        None, help="turn half of the images upside down, in addition (no preset does)"
    )
    brightness: float | None = setting(
        None, minimum=0, maximum=1, help="largest change of brightness, share of the full range"
    )
    contrast: float | None = setting(
        None, minimum=0, maximum=0.95, help="largest change of contrast; 0.4 is a factor 0.6-1.4"
    )
    gamma: float | None = setting(
        None, minimum=0, maximum=2, help="gamma is drawn from exp(-X) to exp(X)"
    )
    blur: float | None = setting(
        None, minimum=0, maximum=1, help="largest share of a four-times coarser image mixed in"
    )
    spectrum: float | None = setting(
        None,
        minimum=0,
        maximum=3,
        help="low spatial frequencies (up to 14 periods over the image) are each multiplied by a factor "
        "about 1 whose logarithm has this deviation, or by a share of it",
    )
    mixup: float = setting(
        0.0,
        minimum=0,
        maximum=100,
        metavar="ALPHA",
        help="average each image and its label with its neighbour's, by shares drawn from Beta(ALPHA, "
        "ALPHA), such as 0.2 (0: off)",
    )
    cutmix: float = setting(
        0.0,
        minimum=0,
        maximum=100,
        metavar="ALPHA",
        help="paste a rectangle of its neighbour into each image, the label by its area, drawn from "
        "Beta(ALPHA, ALPHA), such as 1 (0: off); with --mixup, each image takes one of both",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSettings(Config):
    """The network."""

    model: str = setting(
        "cnn",
        metavar="NAME|package.module:function|FILE.py:function",
        help="network: cnn, tutorial, a pretrained one (efficientnet_lite0, efficientnet_lite1, "
        "efficientnet_lite2, mobilenetv2, efficientnetv2b0, densenet121, vgg16, resnet50v2; "
        "docs/pretrained.md), or a function of your own, whose keyword parameters become flags "
        "(--model FILE.py:function --help shows them)",
    )
    model_outputs: str = setting(
        "auto",
        choices=("auto", "logits", "probabilities"),
        help="what a network of your own gives; auto: probabilities behind a sigmoid or softmax, else "
        "logits",
    )
    model_settings: Mapping[str, Any] = setting(
        FrozenSettings(), flag=False, help="the settings of a network of your own, by name"
    )
    weights: str = setting(
        "auto",
        metavar="auto|imagenet|none|FILE",
        help="what a pretrained network starts from; auto: imagenet; none: random weights; FILE: .keras, "
        ".weights.h5 or .h5, by layer",
    )
    pooling: str = setting(
        "statistics",
        choices=("average", "statistics"),
        help="what the classifier takes: the mean of the last feature map, or mean and deviation of the map "
        "behind every block (of the cnn, every stage)",
    )
    depth: int = setting(4, minimum=2, maximum=7, help="stages of the cnn, each at half the size")
    width: int = setting(48, minimum=4, maximum=512, help="channels of the first stage")
    blocks: int = setting(
        1, minimum=0, maximum=4, help="residual blocks per stage of the cnn (0: plain)"
    )
    dropout: float = setting(0.3, minimum=0, maximum=0.9, help="dropout before the classifier")
    normalization: str = setting(
        "weight",
        choices=("weight", "batch", "group", "none"),
        help="weight standardizes the kernels, not the activations, and costs next to nothing",
    )
    head: str = setting(
        "auto", choices=("auto", "sigmoid", "softmax"), help="auto: sigmoid for two classes"
    )
    image_size: tuple[int, int] | None = setting(
        None,
        parse=parse_image_size,
        metavar="N|HxW",
        help="pixels that the network averages images down to first; none: the shards' size",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class InitialSettings(Config):
    """What training starts from."""

    init_from: str | None = setting(
        None,
        parse=str,
        metavar="RUN|FILE.keras",
        help="start from the weights of an earlier run's best epoch, or of a model file, wherever layer "
        "and shape agree; none: random weights",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizationSettings(Config):
    """How the weights are found."""

    epochs: int = setting(12, minimum=1, help="passes over the training split")
    optimizer: str = setting("adamw", choices=("adam", "adamw"), help="optimizer")
    learning_rate: float = setting(1e-3, above=0, maximum=10, help="peak learning rate")
    schedule: str = setting(
        "cosine",
        choices=("cosine", "constant"),
        help="warm-up and cosine, or constant with reductions on a plateau",
    )
    warmup_epochs: float = setting(
        2.0, minimum=0, help="epochs of linear warm-up, at most a quarter of all"
    )
    plateau_patience: int = setting(
        3, minimum=1, help="epochs without progress before a constant rate is reduced"
    )
    plateau_factor: float = setting(
        0.3, above=0, maximum=0.99, help="what a constant rate is multiplied by on a plateau"
    )
    min_learning_rate: float = setting(
        0.0, minimum=0, help="a plateau does not reduce a constant rate below this (0: no limit)"
    )
    early_stopping_patience: int = setting(
        0, minimum=0, help="stop after this many epochs without progress (0: never)"
    )
    monitor: str = setting(
        "val_loss",
        choices=("val_auroc", "val_accuracy", "val_loss"),
        help="the metric that best weights, plateau and early stopping go by",
    )
    training_sample: int = setting(
        1024,
        minimum=0,
        maximum=100_000,
        help="training images that are measured after every epoch as validation is, to be drawn "
        "beside it; at most as many as validation has (0: none)",
        on_resume=FREE,
    )
    weight_decay: float = setting(1e-2, minimum=0, help="decoupled weight decay; adam has none")
    ema_momentum: float = setting(
        0.995,
        minimum=0,
        maximum=0.99999,
        help="largest momentum of averaged weights, which grows with the steps taken (0: off)",
    )
    average_from: float | None = setting(
        None,
        minimum=0,
        maximum=0.99,
        metavar="SHARE",
        help="average the weights of all steps from this share of the training on, such as 0.5, beyond the "
        "window of --ema-momentum; none: off",
    )
    global_clipnorm: float = setting(
        1.0, minimum=0, help="gradients are scaled to this global norm at most (0: off)"
    )
    loss: str = setting(
        "cross_entropy",
        parse=check_loss,
        metavar="cross_entropy|focal|package.module:function|FILE.py:function",
        help="a function of your own takes labels int64[B] and logits float32[B, units], and gives "
        "float32[B]",
    )
    focal_gamma: float | None = setting(
        None,
        minimum=0,
        maximum=20,
        help="how little well classified images count with --loss focal; none: 2",
    )
    label_smoothing: float = setting(
        0.05, minimum=0, maximum=0.5, help="label smoothing; not with a loss of your own"
    )
    class_weights: str = setting(
        "balanced",
        choices=("none", "balanced"),
        help="weight examples by 1 / class frequency; not needed by --sampling balanced",
    )
    seed: int = setting(
        0, minimum=0, maximum=2**31 - 1, help="seed of weights, order and augmentation"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_min_learning_rate()
        if self.focal_gamma is not None and self.loss != "focal":
            raise UserError(f"--focal-gamma applies to --loss focal only, got --loss {self.loss}")
        # The default is not meant for a loss of the user's own, and 0 is what such a loss has.
        is_given = self.label_smoothing not in (0, type(self).label_smoothing)
        if is_given and ":" in self.loss:
            raise UserError(
                f"--label-smoothing applies to --loss cross_entropy and focal only, got --loss {self.loss}"
            )

    def _check_min_learning_rate(self) -> None:
        if self.min_learning_rate and self.schedule != "constant":
            raise UserError(
                "--min-learning-rate limits what a plateau does to a constant rate, but --schedule "
                f"{self.schedule} knows no plateau; add --schedule constant, or leave it out"
            )
        if self.min_learning_rate > self.learning_rate:
            raise UserError(
                f"--min-learning-rate: got {self.min_learning_rate:g}, must be at most --learning-rate "
                f"({self.learning_rate:g})"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuntimeSettings(Config):
    """What the training runs on."""

    precision: str = setting(
        "auto",
        choices=("auto", "float32", "mixed_bfloat16", "mixed_float16"),
        help="compute precision; auto looks at the processor or GPU",
        on_resume=RESOLVED,
    )
    jit_compile: str = setting(
        "auto",
        choices=("auto", "on", "off"),
        help="XLA; auto: on for GPUs, off for CPUs",
        on_resume=RESOLVED,
    )
    strategy: str = setting(
        "auto",
        choices=("auto", "single", "mirrored", "multi_worker"),
        help="auto: mirrored for several GPUs, multi_worker where TF_CONFIG or SLURM name workers",
        on_resume=FREE,
    )
    num_logical_devices: int = setting(
        1,
        minimum=1,
        maximum=64,
        help="split the CPU into this many devices, to try strategies",
        on_resume=FREE,
    )
    sync_batch_norm: bool = setting(
        True, help="batch normalization over the whole batch, where devices share it"
    )
    steps_per_execution: str = setting(
        "auto",
        parse=check_steps_per_execution,
        metavar="auto|N",
        help="steps in one call of the compiled function; auto: a tenth of a second's on GPUs, 1 "
        "on CPUs unless steps are very short",
        on_resume=FREE,
    )
    deterministic: bool = setting(False, help="bit-identical runs, at some cost in speed")
    checkpoint_every: str | None = setting(
        None,
        parse=check_interval,
        metavar="STEPS|MINUTESm",
        help="save inside epochs too, as every 500 steps or every 10m",
        on_resume=FREE,
    )
    on_divergence: str = setting(
        "stop",
        choices=("stop", "rewind"),
        help="a loss that is not finite: stop, or go back to the last checkpoint with a tenth of "
        "the learning rate",
    )
    max_rewinds: int = setting(3, minimum=1, help="stop after going back so many times")
    profile: str | None = setting(
        None,
        parse=check_step_range,
        metavar="FROM:TO",
        help="trace these steps for TensorBoard, counted from 1",
        on_resume=FREE,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecisionSettings(Config):
    """The decision threshold, and the distance from the training images."""

    threshold: str = setting(
        "youden",
        parse=str,  # a number, given in Python or JSON, comes to it as text too
        metavar="RULE|X",
        help="decision threshold, chosen on validation: youden, f1, accuracy, "
        "sensitivity=X or specificity=X; or a number between 0 and 1, such as 0.5",
    )
    reference_images: int = setting(
        2000,
        minimum=0,
        maximum=20_000,
        help="training images that the distance of new images is measured from; 0: it is not "
        "measured",
        on_resume=FREE,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(
    InputSettings,
    AugmentationSettings,
    ModelSettings,
    InitialSettings,
    FineTuningSettings,
    OptimizationSettings,
    DistillationSettings,
    RuntimeSettings,
    DecisionSettings,
    FigureSettings,
):
    """Everything that decides what a training run computes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.mixup or self.cutmix) and self.global_batch_size % 2:
            raise UserError(
                f"--global-batch-size {self.global_batch_size}: --mixup and --cutmix mix images in "
                "pairs, so it must be even"
            )
