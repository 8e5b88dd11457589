"""Decision curves and histograms of probabilities are drawn for two classes, for more, and for odd sets."""

import numpy as np
import pytest
from labelled_scores import BINARY, binary_data, multiclass_data
from PIL import Image

from engine.metrics import evaluation
from engine.runs import decision_curve_plot, plots, probability_plot


def drawn(path):
    """The figure's pixels, float[H, W, 3]; fails unless something is on it."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"), float)
    assert pixels.std() > 5
    return pixels


def measured(classes):
    if classes == 2:
        labels, scores = binary_data(60)
        return labels, scores, BINARY
    labels, probabilities = multiclass_data(120, classes)
    names = [f"a class with a rather long name, number {k}" for k in range(classes)]
    return labels, probabilities, names


@pytest.mark.parametrize("classes", [2, 3, 12])
def test_both_are_drawn(tmp_path, classes):
    labels, probabilities, names = measured(classes)
    found = evaluation.evaluate(labels, probabilities, class_names=names, resamples=200)
    decision_curve_plot.draw(found.decision_curves, tmp_path / "curve.png")
    probability_plot.draw(
        labels, probabilities, names, tmp_path / "p.png", threshold=found.threshold
    )
    heights = [len(drawn(tmp_path / name)) for name in ("curve.png", "p.png")]
    assert min(heights) > 300


def test_formats_are_written_and_no_curve_leaves_no_file(tmp_path):
    labels, probabilities, names = measured(2)
    probability_plot.draw(labels, probabilities, names, tmp_path / "p.png", formats=("png", "svg"))
    assert (tmp_path / "p.svg").is_file()
    decision_curve_plot.draw((), tmp_path / "curve.png")
    assert not (tmp_path / "curve.png").exists()


def test_empty_classes_and_more_than_fit_are_drawn(tmp_path, monkeypatch):
    labels = np.zeros(10, np.int64)
    probability_plot.draw(labels, np.full(10, 0.2), BINARY, tmp_path / "one.png", threshold=0.5)
    drawn(tmp_path / "one.png")
    monkeypatch.setattr(probability_plot, "MOST_PANELS", 4)
    labels, probabilities, names = measured(6)
    labels[labels == 3] = 4
    probability_plot.draw(labels, probabilities, names, tmp_path / "many.png")
    drawn(tmp_path / "many.png")


def test_the_legend_of_twelve_classes_stands_beside_the_curves(tmp_path):
    line = np.array([0.0, 1.0])
    curves = [(f"class {k}", line, line) for k in range(12)]
    areas = [f"0.{k:03}" for k in range(12)]
    plots.roc(curves, tmp_path / "twelve.png", class_areas=areas)
    plots.roc(curves[:3], tmp_path / "three.png", class_areas=areas[:3])
    wide, narrow = (drawn(tmp_path / f"{name}.png").shape[1] for name in ("twelve", "three"))
    assert wide > 1.3 * narrow
