"""Loss, accuracy and AUROC over the epochs of a run, drawn from plain rows."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from engine.runs.figure_style import BLUE, MUTED, VERMILION, legend, new_figure, save_all, styled


def draw(
    rows: Sequence[Mapping[str, Any]],
    path: Path,
    *,
    best_epoch: int | None = None,
    learned_with: Sequence[str] = (),
    formats: Sequence[str] = ("png",),
) -> None:
    """Loss, accuracy and AUROC over epochs, training beside validation.

    Args:
        rows: one mapping per epoch, as read from `history.csv` (text or numbers): `epoch` (counted
            from 1; without it, by place), `loss`, `accuracy`, `auroc`, and each as `val_...`.
            A panel is drawn for each metric that is there.
        best_epoch: the epoch whose weights were kept, marked by a line.
        learned_with: what made training unlike validation (`augmented images`, `dropout`, ...); named
            below the panels, because the two curves of a panel are then not of the same thing.
        formats: see `figure_style.save_all`.
    """
    columns = _columns(rows)
    epochs = columns.pop("epoch", np.arange(1, len(rows) + 1))
    wanted = (("loss", "Loss"), ("accuracy", "Accuracy"), ("auroc", "AUROC"))
    panels = [(k, t) for k, t in wanted if k in columns or f"val_{k}" in columns] or [wanted[0]]
    figure = new_figure(4.4 * len(panels), 4)
    for place, (key, title) in enumerate(panels):
        axes = styled(figure.add_subplot(1, len(panels), place + 1), title=title, xlabel="Epoch")
        for name, label, colour in (
            (key, "training, over the epoch", BLUE),
            (f"val_{key}", "validation, after it", VERMILION),
        ):
            if name in columns:
                _draw_line_over_epochs(axes, epochs, columns[name], label, colour)
        if best_epoch is not None:
            axes.axvline(best_epoch, color=MUTED, linewidth=1, linestyle="--", zorder=1)
            axes.plot(
                [], [], color=MUTED, linewidth=1, linestyle="--", label=f"best ({best_epoch})"
            )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if key == "loss":
            axes.set_ylim(bottom=0)
        legend(axes)
    if learned_with:
        figure.supxlabel(
            textwrap.fill(
                f"Training figures are with {_listed(learned_with)}; validation has none of it.",
                58 * len(panels),
            ),
            fontsize=8.5,
            color=MUTED,
        )
    save_all(figure, path, formats)


def _draw_line_over_epochs(
    axes: Axes, epochs: np.ndarray, values: np.ndarray, label: str, colour: str
) -> None:
    marker = "o" if len(epochs) <= 40 else None
    known = np.isfinite(values)
    axes.plot(
        epochs[known],
        values[known],
        color=colour,
        linewidth=1.8,
        marker=marker,
        markersize=3.5,
        label=label,
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
