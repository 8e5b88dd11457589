"""Figures are whole PNG files, show what they are given, and leave matplotlib's state alone."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from PIL import Image

from engine.metrics import calibration
from engine.metrics.estimate import Estimate
from engine.runs import figure_style, history_plot, plots

CURVE = (np.array([0, 0.1, 0.4, 1.0]), np.array([0, 0.8, 0.95, 1.0]))


def drawn(path):
    """The figure's pixels, float[H, W, 3]; fails unless it is a PNG with something on it."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB"), float)
    assert pixels.std() > 5
    return pixels


def has_colour(pixels, colour):
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], float)
    return bool((np.abs(pixels - wanted).max(axis=-1) < 6).any())


def history_rows():
    return [
        {
            "epoch": str(i),
            "loss": 1 / i,
            "val_loss": 1.2 / i,
            "accuracy": 1 - 0.4 / i,
            "val_auroc": "",
        }
        for i in range(1, 6)
    ]


def figures(directory):
    """Draws one of each; name -> path."""
    paths = {
        name: directory / f"{name}.png"
        for name in (
            "history",
            "roc",
            "precision_recall",
            "confusion_matrix",
            "calibration",
            "grid",
        )
    }
    history_plot.draw(history_rows(), paths["history"], best_epoch=4)
    plots.roc(
        [("a", *CURVE)], paths["roc"], area="0.9000 (0.8000 to 0.9500)", operating_point=(0.1, 0.8)
    )
    plots.precision_recall(
        [("a", *CURVE)],
        paths["precision_recall"],
        area="0.9000",
        operating_point=(0.8, 0.9),
        prevalence=0.4,
    )
    plots.confusion_matrix(np.array([[8, 2], [1, 30]]), ["a", "b"], paths["confusion_matrix"])
    edges = np.linspace(0, 1, 6)
    nan = np.nan
    plots.calibration(
        edges,
        np.array([0.1, nan, 0.5, 0.7, 0.9]),
        np.array([0.0, nan, 0.4, 0.8, 1.0]),
        (np.array([0.0, nan, 0.1, 0.5, 0.8]), np.array([0.5, nan, 0.8, 0.9, 1.0])),
        np.array([5, 0, 5, 9, 12]),
        paths["calibration"],
        error=0.05,
    )
    images = np.random.default_rng(0).integers(0, 256, (5, 20, 30, 1), np.uint8)
    plots.image_grid(images, [f"image {i}" for i in range(5)], paths["grid"], columns=3)
    return paths


def test_every_figure_is_a_png_and_nothing_else_is_left(tmp_path):
    paths = figures(tmp_path / "new" / "folder")
    for path in paths.values():
        drawn(path)
    assert sorted((tmp_path / "new" / "folder").iterdir()) == sorted(paths.values())


def test_equal_arrays_give_equal_bytes(tmp_path):
    first, second = figures(tmp_path / "1"), figures(tmp_path / "2")
    for name in first:
        assert first[name].read_bytes() == second[name].read_bytes(), name


def test_pyplot_is_never_loaded():
    # Its global figures leak memory in long runs and meddle with notebooks.
    program = "import sys, engine.runs.plots, engine.runs.history_plot; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_operating_point_is_drawn_only_where_there_is_one(tmp_path):
    path = tmp_path / "roc.png"
    plots.roc([("a", *CURVE)], path, operating_point=(0.1, 0.8))
    assert has_colour(drawn(path), figure_style.ORANGE)
    for point in (None, (float("nan"), 0.5)):
        plots.roc([("a", *CURVE)], path, operating_point=point)
        assert not has_colour(drawn(path), figure_style.ORANGE)


def test_the_best_epoch_moves_with_its_number(tmp_path):
    paths = [tmp_path / f"{best}.png" for best in (2, 4)]
    for best, path in zip((2, 4), paths, strict=True):
        history_plot.draw(history_rows(), path, best_epoch=best)
    assert np.abs(drawn(paths[0]) - drawn(paths[1])).max() > 50


@pytest.mark.parametrize("count", [1, 2, 7, 25])
def test_confusion_matrices_of_any_size(tmp_path, count):
    matrix = np.eye(count, dtype=int) * 50
    plots.confusion_matrix(
        matrix, [f"a class called {i}" for i in range(count)], tmp_path / "m.png"
    )
    drawn(tmp_path / "m.png")


@pytest.fixture
def saved(monkeypatch):
    """The figures that are saved, drawn once."""
    figures = []
    for module in (plots, history_plot):
        monkeypatch.setattr(
            module, "save_all", lambda figure, path, formats: figures.append(figure)
        )

    def drawn_figures():
        for figure in figures:
            figure.canvas.draw()
        return figures

    return drawn_figures


LONG_NAMES = ("Bacterial pneumonia, confirmed", "Normal chest", "Viral pneumonia of a child")


@pytest.mark.parametrize(
    ("count", "name"),
    [
        *((count, name) for count in (2, 3) for name in (LONG_NAMES[2], "W" * 40, "x")),
        *((count, "class {} of many") for count in (5, 12, 40)),
    ],
)
def test_no_text_of_a_confusion_matrix_is_cut_off(saved, tmp_path, count, name):
    names = [name.format(i) if i else LONG_NAMES[0] for i in range(count)]
    plots.confusion_matrix(np.eye(count, dtype=int) * 9000, names, tmp_path / "m.png")
    (figure,) = saved()
    width, height = figure.canvas.get_width_height()
    for text in figure.findobj(Text):
        if text.get_text() and text.get_visible():
            left, bottom, right, top = text.get_window_extent().extents
            assert left >= 0 and bottom >= 0 and right <= width and top <= height, text


def test_long_names_that_differ_at_their_ends_stay_different(saved, tmp_path):
    names = [f"a class with a long name, number {i}" for i in range(8)]
    plots.confusion_matrix(np.eye(8, dtype=int), names, tmp_path / "m.png")
    (figure,) = saved()
    assert len({label.get_text() for label in figure.axes[0].get_xticklabels()}) == 8


@pytest.mark.parametrize("name", [r"$\frac{$", "$x^$", "a $ b", r"\$", "50 % _ {} ^"])
def test_names_are_no_formulas(tmp_path, name):
    plots.confusion_matrix(np.eye(2, dtype=int), [name, "b"], tmp_path / "m.png", title=name)
    plots.roc([(name, *CURVE), ("b", *CURVE)], tmp_path / "roc.png", title=name)
    plots.precision_recall([(name, *CURVE), ("b", *CURVE)], tmp_path / "pr.png", title=name)
    bins = np.array([0.2, 0.8])
    edges = np.array([0, 0.5, 1])
    plots.calibration(
        edges, bins, bins, (bins, bins), np.array([3, 4]), tmp_path / "cal.png", subject=name
    )
    plots.image_grid(np.zeros((1, 9, 9, 1), np.uint8), [name], tmp_path / "g.png", title=name)
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            assert image.format == "PNG"


def test_the_history_says_what_training_is_measured_with(saved, tmp_path):
    learned = {"learned_with": ["noise", "dropout", "luck"]}
    history_plot.draw(history_rows(), tmp_path / "h.png", **learned)
    history_plot.draw(history_rows(), tmp_path / "h.png")
    history_plot.draw(sampled_rows(), tmp_path / "h.png", **learned)
    steps, plain, alike = (
        " ".join(" ".join(text.get_text() for text in figure.findobj(Text)).split())
        for figure in saved()
    )
    assert "noise, dropout and luck; validation has none of it" in steps
    assert "luck" not in plain and "training steps, over the epoch" in plain
    assert "luck" not in alike and "steps, over" not in alike and "measured alike" in alike


def sampled_rows():
    """As `history_rows`, with training images measured as validation is, and the learning rate."""
    sampled = {"sample_loss": 0.4, "sample_accuracy": 0.9, "sample_auroc": 0.95}
    return [{**row, **sampled, "learning_rate": 1e-3} for row in history_rows()]


def test_a_history_draws_training_images_beside_validation_and_the_learning_rate(saved, tmp_path):
    history_plot.draw(sampled_rows(), tmp_path / "h.png", best_epoch=4)
    (figure,) = saved()
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["Loss", "Accuracy", "AUROC", "Learning rate"]
    loss, _, area, rate = (
        {line.get_label(): line.get_ydata() for line in axes.lines if len(line.get_ydata()) == 5}
        for axes in figure.axes
    )
    assert loss["training images"] == pytest.approx([0.4] * 5)
    assert loss["validation"] == pytest.approx([1.2 / i for i in range(1, 6)])
    assert list(area) == ["training images"]  # of validation there is none
    assert next(iter(rate.values())) == pytest.approx([1e-3] * 5)
    for axes, highest in ((figure.axes[0], 1.2), (figure.axes[3], 1e-3)):
        assert axes.get_ylim()[0] == 0 and axes.get_ylim()[1] > highest


def test_rows_of_which_some_have_a_sample_are_drawn_as_far_as_they_have_it(saved, tmp_path):
    rows = [*history_rows()[:2], *sampled_rows()[2:]]
    history_plot.draw(rows, tmp_path / "h.png")
    (figure,) = saved()
    lines = {line.get_label(): line.get_xdata() for line in figure.axes[0].lines}
    assert list(lines["training images"]) == [3, 4, 5]


def contrast(one, other):
    """The contrast ratio of WCAG 2.2."""
    low, high = sorted(plots._luminance(colour) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def test_the_text_of_every_cell_is_legible(saved, tmp_path):
    filled = np.arange(12)  # of 11 images in a row, so many are on the diagonal
    counts = np.diag(filled)
    counts[filled, filled - 1] = 11 - filled
    plots.confusion_matrix(counts, [f"{i}" for i in filled], tmp_path / "m.png")
    (figure,) = saved()
    for text in figure.axes[0].texts:
        column, row = (int(place) for place in text.get_position())
        shade = figure_style.BLUES(counts[row, column] / 11)
        assert contrast(to_rgb(text.get_color()), shade) >= 4.5, (row, column)


def test_a_calibration_bin_without_positives_has_an_interval(saved, tmp_path):
    curve = calibration.reliability_curve(np.array([0] * 20 + [1] * 20), np.repeat([0.1, 0.9], 20))
    limits = (curve.low, curve.high)
    plots.calibration(
        curve.edges, curve.predicted, curve.observed, limits, curve.counts, tmp_path / "c.png"
    )
    (figure,) = saved()
    (bars,) = figure.axes[0].containers[0].lines[2]
    low, high = (segment[:, 1] for segment in bars.get_segments())
    # Wilson, of 0 in 20: z² / (20 + z²)
    assert low == pytest.approx([0, 0.1611], abs=1e-4)
    assert high == pytest.approx([0.8389, 1], abs=1e-4)


def test_areas_stand_in_the_legend_as_they_are_given(saved, tmp_path):
    area = str(Estimate(0.97314, 0.96, 0.98))
    plots.roc([("a", *CURVE)], tmp_path / "roc.png", area=area)
    plots.precision_recall([("a", *CURVE), ("b", *CURVE)], tmp_path / "pr.png", area=area)
    one, several = ([text.get_text() for text in f.findobj(Text)] for f in saved())
    assert "AUROC 0.9731 (0.9600 to 0.9800)" in one
    assert "mean average precision 0.9731 (0.9600 to 0.9800)" in several


def test_the_legend_of_a_calibration_hides_no_part_of_it(saved, tmp_path):
    paths = figures(tmp_path)
    *_, figure, _ = saved()
    axes, below = figure.axes
    box = axes.get_legend().get_window_extent()
    assert paths["calibration"] and not box.overlaps(axes.bbox)
    for label in (*axes.get_xticklabels(), *below.get_yticklabels()):
        assert not box.overlaps(label.get_window_extent())
    assert not box.overlaps(below.bbox)


def test_what_is_missing_is_passed_over(tmp_path):
    history_plot.draw([], tmp_path / "history.png")
    history_plot.draw([{"loss": "nan", "val_loss": 0.5}], tmp_path / "one.png")
    plots.roc([], tmp_path / "roc.png")
    plots.precision_recall([], tmp_path / "pr.png")
    plots.confusion_matrix(np.zeros((2, 2), int), ["a", "b"], tmp_path / "empty.png")
    for path in tmp_path.iterdir():
        drawn(path)


def test_many_classes_and_colour_images(tmp_path):
    plots.roc([(f"class {i}", *CURVE) for i in range(30)], tmp_path / "roc.png", area="0.9000")
    colour = np.zeros((1, 16, 16, 3), np.uint8)
    colour[...] = (10, 200, 30)
    plots.image_grid(colour, None, tmp_path / "grid.png", title="a title")
    assert has_colour(drawn(tmp_path / "grid.png"), "#0AC81E")


def test_a_failed_figure_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "confusion.png"
    path.write_bytes(b"old")

    def save_half(figure, aside, **options):
        aside.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(plots.Figure, "savefig", save_half)
    with pytest.raises(OSError, match="no space"):
        plots.confusion_matrix(np.eye(2), ["a", "b"], path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
