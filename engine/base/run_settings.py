"""The settings of the commands that use trained runs: evaluate, compare, predict and explain."""

import dataclasses

from engine.base.config import Config, UserError, setting
from engine.base.figure_settings import FigureSettings
from engine.base.setting_values import (
    check_class_mapping,
    check_directory_name,
    check_part,
    check_prevalence,
    check_prevalence_or_estimate,
    check_rates,
    check_strata,
)

# Each batch is padded to its size: at 224 x 224 a cnn of 24 channels takes 10 GB for so many images.
MAX_BATCH_SIZE = 4096
EVIDENCE_METHODS = ("auto", "grad-cam", "grad-cam++", "occlusion")
OCCLUSION_BASELINES = ("mean", "black", "blur")
LARGEST_PATCH = 8192  # pixels, as the largest side of images
_ABSTAIN_HELP = "leave images undecided that are unlike the training images (distance above 1)"
PREVALENCE_HELP = (
    "the share of the positive class where the images come from (P,P,... for each of several classes), "
    "for which probabilities are given; none: the share that training implied"
)
_PREVALENCE_OR_ESTIMATE_HELP = (
    f"{PREVALENCE_HELP}; estimate: that which these images' own probabilities speak for (EM)"
)
_FLIP_HELP = "average each image's log-odds with those of its mirror image (twice the time)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateConfig(FigureSettings):
    """How a run is measured."""

    split: str = setting("test", metavar="NAME", help="the split to measure")
    name: str | None = setting(
        None,
        parse=check_directory_name,
        metavar="NAME",
        help="directory of the results in RUN/evaluation; none: the split's name, with a part of the "
        "data's identity behind it if the run was trained on other data, and what was set that changes "
        "probabilities, such as the prevalence",
    )
    batch_size: int = setting(
        128, minimum=1, maximum=MAX_BATCH_SIZE, help="images per step of the model"
    )
    resamples: int = setting(
        1000,
        minimum=200,
        maximum=100_000,
        help="bootstrap resamples behind the intervals of loss, Brier score, F1, average precision "
        "and means over classes",
    )
    seed: int = setting(0, minimum=0, maximum=2**31 - 1, help="seed of the resamples")
    shifts: bool = setting(
        False, help="also measure under changed exposure, contrast, framing and sharpness"
    )
    classes: str | None = setting(
        None,
        parse=check_class_mapping,
        metavar="'NAME=RUN NAME,...'",
        help="which class of the run each class of the shards is, by name; classes that are not "
        "listed are left out; none: the run's classes",
    )
    strata: str | None = setting(
        None,
        parse=check_strata,
        metavar="FILE.csv:COLUMN[,...]",
        help="also measure by the values of columns, such as view or age:18,40,60 (numbers without "
        "limits are divided into quartiles)",
    )
    prevalence: str | None = setting(
        None,
        parse=check_prevalence_or_estimate,
        separator=",",
        metavar="P",
        help=_PREVALENCE_OR_ESTIMATE_HELP,
    )
    at_specificity: str = setting(
        "0.9",
        parse=check_rates,
        separator=",",
        metavar="RATE[,RATE...]",
        help="give the sensitivity at these specificities",
    )
    at_sensitivity: str = setting(
        "0.95",
        parse=check_rates,
        separator=",",
        metavar="RATE[,RATE...]",
        help="give the specificity at these sensitivities",
    )
    flip_average: bool = setting(False, help=_FLIP_HELP)
    recalibrate: int | None = setting(
        None,
        minimum=4,
        maximum=1_000_000,
        help="also show what so many labelled images of this place would give: calibration and "
        "threshold fitted on them, measured on the rest",
    )
    abstain: bool = setting(False, help=_ABSTAIN_HELP)
    contact_sheets: int = setting(
        12,
        minimum=0,
        maximum=200,
        metavar="N",
        help="draw the N most wrong and the N least certain images with their evidence; 0: none",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareConfig(FigureSettings):
    """Which evaluations are compared, and how."""

    split: str = setting("test", metavar="NAME", help="the split that was measured")
    name: str | None = setting(
        None,
        parse=check_directory_name,
        metavar="NAME",
        help="the evaluation in each RUN/evaluation; none: that of the split, on images that all runs "
        "were measured on",
    )
    resamples: int = setting(
        2000,
        minimum=200,
        maximum=100_000,
        help="paired bootstrap resamples of patients behind the intervals of differences",
    )
    seed: int = setting(0, minimum=0, maximum=2**31 - 1, help="seed of the resamples")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportConfig(Config):
    """What is written besides RUN/report.md and RUN/model_card.md."""

    html: str | None = setting(
        None, metavar="FILE", help="also write the report as one HTML page that holds its figures"
    )
    output: str | None = setting(
        None,
        metavar="FILE",
        help="also write the model card here, such as README.md, with links to the run's files",
    )
    template: bool = setting(
        False, help="write RUN/card.md, to be filled in: intended use, limits, licence, contact"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilesConfig(Config):
    """How image files are read and run through the model."""

    batch_size: int = setting(
        32, minimum=1, maximum=MAX_BATCH_SIZE, help="images per step of the model"
    )
    workers: int | None = setting(
        None, minimum=1, maximum=256, help="threads that decode; none: one per core"
    )
    max_pixels: int | None = setting(
        None, minimum=1, help="largest image to decode, in pixels; none: as engine.build_tfrecords"
    )
    prevalence: str | None = setting(
        None, parse=check_prevalence, separator=",", metavar="P", help=PREVALENCE_HELP
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictConfig(FilesConfig):
    """How files are read and predicted."""

    prevalence: str | None = setting(
        None,
        parse=check_prevalence_or_estimate,
        separator=",",
        metavar="P",
        help=_PREVALENCE_OR_ESTIMATE_HELP,
    )
    flip_average: bool = setting(False, help=_FLIP_HELP)
    part: str | None = setting(
        None,
        parse=check_part,
        separator="/",
        metavar="K/N",
        help="predict the K-th of N equal parts of the files, in their order; none: all of them",
    )
    abstain: bool = setting(False, help=_ABSTAIN_HELP)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvidenceConfig(FilesConfig):
    """How evidence is found."""

    target: str = setting(
        "predicted", metavar="CLASS", help="the class to show the evidence for, or predicted"
    )
    method: str = setting(
        "auto",
        choices=EVIDENCE_METHODS,
        help="auto: the score divided among places exactly, where the classifier takes statistics of "
        "feature maps and no --layer is given, else Grad-CAM",
    )
    layer: str | None = setting(
        None,
        metavar="NAME",
        help="the layer whose feature map is looked at (with --filters, whose kernels); none: the last "
        "feature map (the first kernels)",
    )
    patch: int | None = setting(
        None,
        minimum=1,
        maximum=LARGEST_PATCH,
        help="pixels per side of what occlusion covers, of the network's images; none: an eighth of the "
        "shorter side",
    )
    stride: int | None = setting(
        None,
        minimum=1,
        maximum=LARGEST_PATCH,
        help="pixels between the parts that occlusion covers; none: half a patch",
    )
    baseline: str | None = setting(
        None,
        choices=OCCLUSION_BASELINES,
        help="what occlusion covers with: the image's mean grey level, black, or the blurred image; "
        "none: mean",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("patch", "stride", "baseline"):
            if getattr(self, name) is not None and self.method != "occlusion":
                raise UserError(f"--{name}: is for --method occlusion, got --method {self.method}")
        if self.patch is not None and self.stride is not None and self.stride > self.patch:
            raise UserError(
                f"--stride: got {self.stride}, must be at most --patch ({self.patch}), or what lies "
                "between patches would never be covered"
            )
        if self.layer is not None and not self._uses_layer:
            raise UserError(
                "--layer: --method occlusion covers parts of the image and looks at no layer; leave out "
                "--layer"
            )

    @property
    def _uses_layer(self) -> bool:
        return self.method != "occlusion"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExplainConfig(EvidenceConfig, FigureSettings):
    """What is drawn and checked."""

    scale: float | None = setting(
        None,
        above=0,
        metavar="X",
        help="what the strongest colour stands for, in the method's unit, so that pictures can be "
        "compared; none: the strongest place of each image",
    )
    filters: bool = setting(
        False, help="also draw the kernels of the first convolution, or of --layer; needs no PATH"
    )
    feature_maps: bool = setting(
        False,
        help="also draw each image's feature maps: those of --layer, or the last of each resolution",
    )
    sanity_check: bool = setting(
        False,
        help="compare the maps with those of the same network with shuffled weights, whose maps must "
        "differ (Adebayo et al. 2018)",
    )
    boxes: str | None = setting(
        None,
        metavar="FILE.csv",
        help="say how often the strongest place lies in a box: columns path, x, y, width, height, in "
        "pixels of the image file, one row per box",
    )
    outside_body: bool = setting(
        False, help="say how often the strongest place lies outside the body (for chest films)"
    )
    seed: int = setting(
        0, minimum=0, maximum=2**31 - 1, help="seed of the weights that --sanity-check shuffles"
    )

    @property
    def _uses_layer(self) -> bool:
        return super()._uses_layer or self.filters or self.feature_maps

    @property
    def measures(self) -> bool:
        """Whether something is measured over all images."""
        return self.sanity_check or self.boxes is not None or self.outside_body
