"""The look that all figures share: size, colours, axes, legends, and how they are written.

Colours are those of Okabe and Ito (Color universal design, 2008), which colour-blind readers can tell apart.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text

from engine.base import files
from engine.base.setting_values import FIGURE_FORMATS

BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE, YELLOW = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#56B4E9",
    "#CC79A7",
    "#F0E442",
)
CLASS_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
INK, MUTED, GRID = "#222222", "#6B6B6B", "#E3E3E3"
BLUES = LinearSegmentedColormap.from_list("white to blue", ["#FFFFFF", "#9CC9E5", BLUE, "#00395C"])
DOTS_PER_INCH = 150
PADDING = 0.1  # inches around each panel
_SETTINGS = {"svg.hashsalt": "engine", "svg.fonttype": "none", "pdf.fonttype": 42}
_MAKER = "tfdata-engine"  # written into every figure
_METADATA: dict[str, dict[str, str | None]] = {  # without what differs by day, or by matplotlib
    "png": {"Software": _MAKER},
    "svg": {"Date": None, "Creator": _MAKER},
    "pdf": {"CreationDate": None, "Creator": _MAKER, "Producer": None},
}
_NOT_IN_XML = re.compile(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def new_figure(width: float, height: float, *, dots_per_inch: float = DOTS_PER_INCH) -> Figure:
    """An empty figure of so many inches, drawn by Agg and laid out without overlaps."""
    # Without compress, the room that axes of a fixed aspect leave empty is counted as free for labels.
    figure = Figure(
        figsize=(width, height),
        dpi=dots_per_inch,
        layout=ConstrainedLayoutEngine(w_pad=PADDING, h_pad=PADDING, compress=True),
    )
    figure.set_facecolor("white")
    FigureCanvasAgg(figure)
    return figure


def styled(axes: Axes, *, title: str = "", xlabel: str = "", ylabel: str = "") -> Axes:
    """The axes with titles, a light grid, and no frame above and to the right."""
    axes.set_title(title, fontsize=11, color=INK, loc="left", fontweight="bold", pad=8)
    axes.set_xlabel(xlabel, fontsize=9.5, color=INK)
    axes.set_ylabel(ylabel, fontsize=9.5, color=INK)
    axes.tick_params(labelsize=8.5, colors=MUTED, length=3, color=GRID)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#BBBBBB")
    return axes


def legend(
    axes: Axes, location: str = "best", *, anchor: tuple[float, float] | None = None
) -> None:
    """A legend, if anything drawn has a label.

    Args:
        anchor: where the legend's corner `location` stands, in shares of the axes; None: inside them.
    """
    if axes.get_legend_handles_labels()[1]:
        axes.legend(
            loc=location,
            bbox_to_anchor=anchor,
            fontsize=8.5,
            frameon=True,
            framealpha=0.9,
            edgecolor="none",
            labelcolor=INK,
        )


def save(figure: Figure, path: Path) -> None:
    """Writes the figure as its suffix says, whole or not at all, with every text as it is.

    PNG is for screens; SVG and PDF are for papers, their text being text that can be searched and edited
    (SVG names its fonts, PDF holds them). Equal arrays give equal bytes: neither date nor version is
    written, and the names inside an SVG are drawn by a fixed salt.

    Args:
        path: ends in one of `FIGURE_FORMATS`.
    """
    path = Path(path)
    kind = path.suffix.removeprefix(".").lower()
    if kind not in FIGURE_FORMATS:
        raise ValueError(f"{path}: expected a figure's name to end in one of {FIGURE_FORMATS}")
    for text in figure.findobj(Text):
        # Names of classes and files are no formulas: `$\\frac{$` would fail to be drawn.
        text.set_parse_math(False)
    with files.written_aside(path) as aside, rc_context(_SETTINGS):
        figure.savefig(aside, format=kind, metadata=_METADATA[kind])
        if kind == "svg":
            _replace_what_no_xml_holds(aside)


def is_figure(path: Path) -> bool:
    """Whether `save` wrote a file, as far as one can tell: it says so in all that it writes."""
    try:
        return _MAKER.encode() in path.read_bytes()
    except OSError:
        return False


def _replace_what_no_xml_holds(path: Path) -> None:
    """Control characters, which names of folders and files may have, but no XML, escaped or not."""
    text = path.read_text(encoding="utf-8")
    if _NOT_IN_XML.search(text):
        path.write_text(_NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text), encoding="utf-8")


def save_all(figure: Figure, path: Path, formats: Sequence[str] = ("png",)) -> None:
    """Writes the figure in several formats: `path` with each of them as its suffix.

    Args:
        formats: some of `FIGURE_FORMATS`.
    """
    for each in formats:
        save(figure, Path(path).with_suffix(f".{each}"))
