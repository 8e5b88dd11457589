"""Loss, accuracy, AUROC and learning rate over the epochs of a run, drawn from plain rows.

Training and validation are drawn as far as they are of the same thing: training images measured as validation is
(`sample_...` of `history.csv`). Rows without those have the figures of the training steps alone, which are then
drawn, and named as what they are.
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from engine.runs.figure_style import (
    BLUE,
    INK,
    MUTED,
    VERMILION,
    legend,
    new_figure,
    save_all,
    styled,
)

_PANELS = (("loss", "Loss"), ("accuracy", "Accuracy"), ("auroc", "AUROC"))
_RATE, _SAMPLE = "learning_rate", "sample_"
_MEASURED_ALIKE = "Training and validation images are measured alike after each epoch: as they are, by the same weights."
_MOST_MARKED = 40  # epochs; the marks of more would touch
_WIDTH, _HEIGHT = 4.4, 3.6  # inches of a panel


def draw(
    rows: Sequence[Mapping[str, Any]],
    path: Path,
    *,
    best_epoch: int | None = None,
    learned_with: Sequence[str] = (),
    formats: Sequence[str] = ("png",),
) -> None:
    """Draws a panel for each metric that the rows have, and one for the learning rate.

    Args:
        rows: one mapping per epoch, as read from `history.csv` (text or numbers): `epoch` (counted
            from 1; without it, by place), `loss`, `accuracy`, each as `sample_...` and `val_...`,
            `sample_auroc`, `val_auroc` and `learning_rate`.
        best_epoch: the epoch whose weights were kept, marked by a line.
        learned_with: what made training steps unlike validation (`augmented images`, `dropout`, ...);
            named below the panels where figures of steps are drawn.
        formats: see `figure_style.save_all`.
    """
    columns = _columns(rows)
    epochs = columns.pop("epoch", np.arange(1, len(rows) + 1))
    columns = {name: values for name, values in columns.items() if np.isfinite(values).any()}
    panels = [(key, title) for key, title in _PANELS if _has(columns, key)] or [_PANELS[0]]
    panels += [(_RATE, "Learning rate")] if _RATE in columns else []
    across = 2 if len(panels) in (2, 4) else len(panels)
    down = -(-len(panels) // across)
    figure = new_figure(_WIDTH * across, _HEIGHT * down + 0.4)
    measured_alike = of_steps = False
    for place, (key, title) in enumerate(panels):
        axes = styled(figure.add_subplot(down, across, place + 1), title=title, xlabel="Epoch")
        curves = _curves(columns, key)
        of_steps |= any(name == key != _RATE for name, _, _ in curves)
        measured_alike |= any(name.startswith(_SAMPLE) for name, _, _ in curves)
        for name, label, colour in curves:
            _draw_line_over_epochs(axes, epochs, columns[name], label, colour)
        if best_epoch is not None:
            _mark_best(axes, best_epoch)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if key in ("loss", _RATE):
            _start_at_zero(axes, [columns[name] for name, _, _ in curves])
        if key == _RATE:
            axes.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
        legend(axes)
    told = _MEASURED_ALIKE if measured_alike else ""
    if of_steps and learned_with:
        told = f"Training figures are with {_listed(learned_with)}; validation has none of it."
    if told:
        figure.supxlabel(textwrap.fill(told, 58 * across), fontsize=8.5, color=MUTED)
    save_all(figure, path, formats)


def _has(columns: Mapping[str, np.ndarray], key: str) -> bool:
    return any(name in columns for name in (key, _SAMPLE + key, f"val_{key}"))


def _curves(columns: Mapping[str, np.ndarray], key: str) -> list[tuple[str, str, str]]:
    """(column, label, colour) of each curve in a panel."""
    if key == _RATE:
        return [(_RATE, "at the epoch's last step", INK)]
    training = (
        (_SAMPLE + key, "training images")
        if _SAMPLE + key in columns
        else (key, "training steps, over the epoch")
    )
    wanted = [(*training, BLUE), (f"val_{key}", "validation", VERMILION)]
    return [curve for curve in wanted if curve[0] in columns]


def _start_at_zero(axes: Axes, drawn: Sequence[np.ndarray]) -> None:
    """Zero below, and room above the highest point for the whole of its mark."""
    highest = max((float(np.nanmax(values)) for values in drawn), default=1.0)
    axes.set_ylim(0, 1.07 * highest if highest > 0 else 1.0)


def _mark_best(axes: Axes, epoch: int) -> None:
    style: dict[str, Any] = {"color": MUTED, "linewidth": 1, "linestyle": "--"}
    axes.axvline(epoch, zorder=1, **style)
    axes.plot([], [], label=f"best ({epoch})", **style)


def _draw_line_over_epochs(
    axes: Axes, epochs: np.ndarray, values: np.ndarray, label: str, colour: str
) -> None:
    known = np.isfinite(values)
    axes.plot(
        epochs[known],
        values[known],
        color=colour,
        linewidth=1.8,
        marker="o" if len(epochs) <= _MOST_MARKED else None,
        markersize=3.5,
        label=label,
        clip_on=False,
    )


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Rows of text or numbers to float columns; what is no number is NaN."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: np.array([_number(row.get(name)) for row in rows]) for name in names}


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _listed(things: Sequence[str]) -> str:
    """`a, b and c`."""
    *others, last = things
    return f"{', '.join(others)} and {last}" if others else last
