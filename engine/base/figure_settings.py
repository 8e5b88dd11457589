"""What figures are written as: a setting of the commands that draw into a run."""

import dataclasses

from engine.base.config import FREE, Config, setting
from engine.base.setting_values import parse_figure_formats


@dataclasses.dataclass(frozen=True, kw_only=True)
class FigureSettings(Config):
    """How figures are written."""

    figures: tuple[str, ...] = setting(
        ("png",),
        parse=parse_figure_formats,
        separator=",",
        metavar="FORMAT[,...]",
        help="write figures as svg or pdf too, such as png,svg,pdf; png, which reports show, always",
        on_resume=FREE,
    )
