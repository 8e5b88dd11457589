"""Figures of a search: the objective by trial, by parameter, over all parameters, and by epoch."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from engine.runs import figure_style
from tuning.leaderboard import Trial, best_trial
from tuning.live_table import value_text
from tuning.search_space import Choices, Parameter, Range, SearchSpace
from tuning.trial_files import PRUNED, is_minimized

FILES = {
    "objective.png": "Objective by trial",
    "parameters.png": "Objective over each parameter",
    "parallel.png": "Parallel coordinates",
    "learning_curves.png": "Learning curves",
}
_COLUMNS = 3


def draw(
    trials: Sequence[Trial], space: SearchSpace, objective: str, directory: Path
) -> list[Path]:
    """Draws all figures of the trials that have a value; no figure if no trial has one."""
    shown = [trial for trial in trials if trial.best is not None]
    if not shown:
        return []
    draws: dict[str, Callable[[Path], None]] = {
        "objective.png": lambda path: objective_by_trial(shown, objective, path),
        "parameters.png": lambda path: objective_by_parameter(shown, space, objective, path),
        "parallel.png": lambda path: parallel_coordinates(shown, space, objective, path),
        "learning_curves.png": lambda path: learning_curves(shown, objective, path),
    }
    for name, draw_one in draws.items():
        draw_one(directory / name)
    return [directory / name for name in draws]


def objective_by_trial(trials: Sequence[Trial], objective: str, path: Path) -> None:
    """Each trial's best value, and the best so far as a step line."""
    values = _values(trials)
    places = np.arange(1, len(trials) + 1)
    so_far = np.minimum.accumulate if is_minimized(objective) else np.maximum.accumulate
    figure = figure_style.new_figure(7, 4)
    axes = figure_style.styled(
        figure.add_subplot(), title="Objective by trial", xlabel="Trial", ylabel=objective
    )
    axes.step(
        places,
        so_far(values),
        where="post",
        color=figure_style.VERMILION,
        linewidth=1.8,
        label="best so far",
    )
    _scatter(axes, places, trials)
    axes.set_xticks(places, [trial.trial_id for trial in trials])
    if len(trials) > 20:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure_style.legend(axes)
    figure_style.save(figure, path)


def objective_by_parameter(
    trials: Sequence[Trial], space: SearchSpace, objective: str, path: Path
) -> None:
    """One panel per parameter: its value on the x-axis, the objective on the y-axis."""
    columns = min(_COLUMNS, len(space.parameters))
    rows = -(-len(space.parameters) // columns)
    figure = figure_style.new_figure(4 * columns, 3.3 * rows)
    shared: Axes | None = None
    for place, parameter in enumerate(space.parameters):
        axes = figure.add_subplot(rows, columns, place + 1, sharey=shared)
        shared = shared or axes
        up = objective if place % columns == 0 else ""
        figure_style.styled(axes, xlabel=parameter.name, ylabel=up)
        _scatter(axes, _positions(parameter, trials), trials)
        _scale(axes, parameter)
        if place == 0:
            figure_style.legend(axes)
    figure.suptitle(
        "Objective over each parameter", fontsize=11, fontweight="bold", x=0.02, ha="left"
    )
    figure_style.save(figure, path)


def parallel_coordinates(
    trials: Sequence[Trial], space: SearchSpace, objective: str, path: Path
) -> None:
    """One line per trial through the values of all parameters, coloured by the objective.

    Each axis covers the whole range that is searched. Colours show ranks, since by value one outlier would
    make all other trials look alike.
    """
    ranks = _values(trials).argsort().argsort().astype(float)
    if is_minimized(objective):
        ranks = ranks.max() - ranks
    heights = np.stack([_heights(parameter, trials) for parameter in space.parameters], axis=1)
    figure = figure_style.new_figure(max(6.0, 1.7 * len(space.parameters) + 1.5), 4.2)
    axes = figure_style.styled(figure.add_subplot(), title="Parallel coordinates")
    places = np.arange(len(space.parameters))
    order = ranks.argsort()
    lines = LineCollection(
        [np.column_stack([places, heights[i]]) for i in order],
        cmap="viridis_r",
        norm=Normalize(0, max(1.0, ranks.max())),
        linewidths=np.where(ranks[order] == ranks.max(), 3, 1.3),
        alpha=0.9,
    )
    lines.set_array(ranks[order])
    axes.add_collection(lines)
    axes.grid(False)
    for place, parameter in enumerate(space.parameters):
        _draw_axis(axes, place, parameter)
    axes.set_xlim(-0.2, len(places) - 0.5)
    axes.set_ylim(-0.06, 1.06)
    axes.set_xticks(places, [p.name for p in space.parameters], fontsize=9, color=figure_style.INK)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    bar = figure.colorbar(lines, ax=axes, fraction=0.05, pad=0.06, ticks=[0, max(1.0, ranks.max())])
    bar.ax.set_yticklabels(["worst", "best"])
    bar.set_label(f"{objective}, by rank", color=figure_style.MUTED, fontsize=9)
    bar.outline.set_visible(False)
    figure_style.save(figure, path)


def learning_curves(trials: Sequence[Trial], objective: str, path: Path) -> None:
    """The objective over epochs: the best trial, the others, and those that were pruned."""
    best = best_trial(trials, objective)
    figure = figure_style.new_figure(7, 4)
    axes = figure_style.styled(
        figure.add_subplot(), title="Learning curves", xlabel="Epoch", ylabel=objective
    )
    labelled: set[str] = set()
    for trial in sorted(trials, key=lambda trial: trial is best):
        label, style = _curve_style(trial, trial is best)
        epochs = np.arange(1, len(trial.history) + 1)
        shown = label if label not in labelled else None
        labelled.add(label)
        axes.plot(epochs, trial.history, label=shown, **style)
        if trial.outcome is not None and trial.outcome.status == PRUNED:
            axes.plot(
                epochs[-1], trial.history[-1], marker="x", markersize=6, color=figure_style.ORANGE
            )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _leave_out_the_start(axes, [trial.history for trial in trials])
    figure_style.legend(axes)
    figure_style.save(figure, path)


def _leave_out_the_start(axes: Axes, curves: Sequence[Sequence[float]]) -> None:
    """Fits the y-axis to the values after the first quarter of the epochs, where curves converge."""
    start = max(map(len, curves)) // 4
    later = [value for curve in curves for value in curve[start:] if math.isfinite(value)]
    if later and min(later) < max(later):
        margin = 0.06 * (max(later) - min(later))
        axes.set_ylim(min(later) - margin, max(later) + margin)


def _curve_style(trial: Trial, is_best: bool) -> tuple[str, dict[str, Any]]:
    if is_best:
        style = {
            "color": figure_style.BLUE,
            "linewidth": 2.4,
            "zorder": 4,
            "marker": "o",
            "markersize": 4,
        }
        return f"best (trial {trial.trial_id})", style
    if trial.outcome is not None and trial.outcome.status == PRUNED:
        return "pruned", {"color": figure_style.ORANGE, "linewidth": 1.2, "alpha": 0.9}
    return "others", {"color": "#9A9A9A", "linewidth": 1.2, "alpha": 0.8}


def _scatter(axes: Axes, across: np.ndarray, trials: Sequence[Trial]) -> None:
    values = _values(trials)
    pruned = np.array([t.outcome is not None and t.outcome.status == PRUNED for t in trials])
    for members, colour, marker, label in (
        (~pruned, figure_style.BLUE, "o", "completed"),
        (pruned, figure_style.ORANGE, "x", "pruned"),
    ):
        if members.any():
            axes.scatter(
                across[members],
                values[members],
                color=colour,
                marker=marker,
                s=34,
                label=label,
                zorder=3,
            )


def _scale(axes: Axes, parameter: Parameter) -> None:
    if isinstance(parameter, Choices):
        axes.set_xticks(range(len(parameter.values)), [value_text(v) for v in parameter.values])
        axes.set_xlim(-0.5, len(parameter.values) - 0.5)
    elif parameter.scale == "log":
        axes.set_xscale("log")
        axes.set_xlim(parameter.low / 1.1, parameter.high * 1.1)
        decades = math.log10(parameter.high / parameter.low)
        marks = (1.0, 2.0, 5.0) if decades < 2 else (1.0,)
        axes.xaxis.set_major_locator(LogLocator(subs=marks))
        axes.xaxis.set_major_formatter(lambda value, place: value_text(value))
        axes.xaxis.set_minor_formatter(NullFormatter())
    elif parameter.is_integer:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _positions(parameter: Parameter, trials: Sequence[Trial]) -> np.ndarray:
    """Each trial's position on the parameter's axis; choices are at 0, 1, 2, ..."""
    values = [trial.values[parameter.name] for trial in trials]
    if isinstance(parameter, Choices):
        return np.array([parameter.values.index(value) for value in values], float)
    return np.array(values, float)


def _heights(parameter: Parameter, trials: Sequence[Trial]) -> np.ndarray:
    """The same, scaled to [0, 1] over the whole range or all choices."""
    positions = _positions(parameter, trials)
    if isinstance(parameter, Choices):
        return positions / (len(parameter.values) - 1)
    return np.array([_height(parameter, value) for value in positions])


def _height(parameter: Range, value: float) -> float:
    change: Callable[[float], float] = math.log if parameter.scale == "log" else float
    low, high = change(parameter.low), change(parameter.high)
    return (change(value) - low) / (high - low)


def _draw_axis(axes: Axes, place: int, parameter: Parameter) -> None:
    """A vertical axis with the ends of a range, or every choice."""
    axes.axvline(place, color="#BBBBBB", linewidth=1, zorder=0)
    if isinstance(parameter, Choices):
        marks = [(i / (len(parameter.values) - 1), v) for i, v in enumerate(parameter.values)]
    else:
        marks = [(0.0, parameter.low), (1.0, parameter.high)]
    for height, value in marks:
        axes.annotate(
            value_text(value),
            (place, height),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=figure_style.MUTED,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8},
        )


def _values(trials: Sequence[Trial]) -> np.ndarray:
    return np.array([trial.best for trial in trials], float)
