"""The look that all figures share: size, colours, axes, legends, and how they are written.

Colours are those of Okabe and Ito (Color universal design, 2008), which colour-blind readers can tell apart.
"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text

from engine.base import files

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


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, drawn by Agg and laid out without overlaps."""
    # Without compress, the room that axes of a fixed aspect leave empty is counted as free for labels.
    figure = Figure(
        figsize=(width, height),
        dpi=DOTS_PER_INCH,
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
    """Writes a PNG, whole or not at all, in which every text stands as it is."""
    for text in figure.findobj(Text):
        # Names of classes and files are no formulas: `$\\frac{$` would fail to be drawn.
        text.set_parse_math(False)
    with files.written_aside(Path(path)) as aside:
        # The version of matplotlib is left out, so that equal arrays give equal bytes.
        figure.savefig(aside, format="png", metadata={"Software": None})
