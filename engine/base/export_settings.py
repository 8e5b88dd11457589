"""The settings of `engine.export`."""

import dataclasses

from engine.base.config import Config, UserError, setting
from engine.base.run_settings import PREVALENCE_HELP
from engine.base.setting_values import check_directory_name, check_prevalence

EXPORT_FORMATS = ("saved_model", "litert", "onnx", "joblib")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportConfig(Config):
    """What is exported, and how it is checked."""

    format: str = setting("saved_model", choices=EXPORT_FORMATS, help="what is written")
    quantize: str | None = setting(
        None, choices=("int8",), help="int8: whole numbers of 8 bits, for litert only"
    )
    name: str | None = setting(
        None,
        parse=check_directory_name,
        metavar="NAME",
        help="saved_model: what TensorFlow Serving calls the model; none: the name of RUN",
    )
    version: int = setting(
        1, minimum=1, maximum=2**31 - 1, help="saved_model: its version, the name of its directory"
    )
    prevalence: str | None = setting(
        None, parse=check_prevalence, separator=",", metavar="P", help=PREVALENCE_HELP
    )
    split: str = setting(
        "validation", metavar="NAME", help="the split of the shards that the export is checked on"
    )
    num_images: int = setting(
        200, minimum=1, maximum=100_000, help="images that the export is checked on, at most"
    )
    num_representative: int = setting(
        200,
        minimum=1,
        maximum=10_000,
        help="int8: images, as many of each class, that its ranges are taken from",
    )
    seed: int = setting(0, minimum=0, maximum=2**31 - 1, help="seed of the choice of images")
    max_pixels: int | None = setting(
        None,
        minimum=1,
        help="saved_model: largest image that is decoded, in pixels; none: as engine.build_tfrecords",
    )

    def __post_init__(self) -> None:
        """Checks each field, and that they fit each other.

        Raises:
            UserError: as for every configuration; a quantization of a format that has none, or a name or
                a version of one that lies in a directory of its own.
        """
        super().__post_init__()
        if self.format != "saved_model":
            for flag, is_given in (("name", self.name is not None), ("version", self.version != 1)):
                if is_given:
                    raise UserError(
                        f"--{flag}: is for --format saved_model, got --format {self.format}; say where it "
                        "goes by --output"
                    )
        if self.quantize is not None and self.format != "litert":
            raise UserError(
                f"--quantize {self.quantize}: --format {self.format} is always float32; expected "
                "--format litert with it"
            )
