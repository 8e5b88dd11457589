"""Figures are written in the format that their name says, in equal bytes, with their text as text."""

import itertools
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from engine.runs import figure_style

STARTS = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


def figure(text="Sensitivity of $x_1$ & <b>"):
    made = figure_style.new_figure(3, 2)
    axes = figure_style.styled(made.add_subplot(), title=text, xlabel="a")
    axes.plot([0, 1], [1, 0], label="curve")
    axes.imshow([[0, 1], [1, 0]])
    figure_style.legend(axes)
    return made


@pytest.mark.parametrize("kind", figure_style.FIGURE_FORMATS)
def test_the_suffix_is_the_format_and_bytes_are_equal(tmp_path, monkeypatch, kind):
    for place, day in enumerate(("0", "86400000")):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", day)
        figure_style.save(figure(), tmp_path / f"{place}.{kind}")
    first, second = sorted(tmp_path.iterdir())
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes().startswith(STARTS[kind])
    assert b"Matplotlib" not in first.read_bytes()


def test_all_formats_are_written_beside_each_other(tmp_path):
    figure_style.save_all(figure(), tmp_path / "roc.png", ("png", "svg", "pdf"))
    assert {path.name for path in tmp_path.iterdir()} == {"roc.png", "roc.svg", "roc.pdf"}
    with Image.open(tmp_path / "roc.png") as image:
        assert image.format == "PNG"
    figure_style.save_all(figure(), tmp_path / "alone.png")
    assert {path.name for path in tmp_path.glob("alone.*")} == {"alone.png"}


def test_the_text_of_an_svg_is_text_whatever_it_holds(tmp_path):
    made = figure("a\x01b \N{SNOWMAN} $x_1$ <&>")
    made.axes[0].set_xticks([0, 1], ["one", "t\x02wo"])
    figure_style.save(made, tmp_path / "a.svg")
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    texts = {"".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")}
    assert "a\N{REPLACEMENT CHARACTER}b \N{SNOWMAN} $x_1$ <&>" in texts
    assert {"one", "t\N{REPLACEMENT CHARACTER}wo"} <= texts
    assert "curve" in texts


def test_a_pdf_holds_its_fonts_as_type_42(tmp_path):
    figure_style.save(figure(), tmp_path / "a.pdf")
    assert b"/Type3" not in (tmp_path / "a.pdf").read_bytes()


def test_settings_of_a_notebook_stay_as_they_are(tmp_path):
    before = dict(matplotlib.rcParams)
    figure_style.save_all(figure(), tmp_path / "a.png", ("svg", "pdf"))
    assert dict(matplotlib.rcParams) == before


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a\.bmp: expected"):
        figure_style.save(figure(), tmp_path / "a.bmp")
    assert not list(tmp_path.iterdir())


# Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color Vision Deficiency",
# 2009, severity 1: what linear RGB looks like without one kind of cone.
VISIONS = {
    "usual": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}
TO_XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
TOLD_APART = 15  # CIE 1976; 2.3 is just noticeable, side by side


def lab(colour, vision):
    """CIELAB of an sRGB colour under D65, as it looks to that vision."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(VISIONS[vision]) @ linear, 0, 1)
    x, y, z = np.array(TO_XYZ) @ seen / (0.9505, 1, 1.089)
    f = [np.cbrt(t) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116 for t in (x, y, z)]
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def least_difference(colours, vision):
    seen = [lab(colour, vision) for colour in colours]
    return min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))


@pytest.mark.parametrize("vision", VISIONS)
def test_colours_of_classes_can_be_told_apart(vision):
    assert least_difference(figure_style.CLASS_COLOURS, vision) > TOLD_APART
    # What stands together elsewhere: training and validation with the mark of the best epoch.
    together = (figure_style.BLUE, figure_style.VERMILION, figure_style.MUTED, figure_style.INK)
    assert least_difference(together, vision) > TOLD_APART


def test_the_simulation_finds_a_usual_palette_wanting():
    usual = ("#1F77B4", "#FF7F0E", "#2CA02C", "#D62728", "#9467BD", "#8C564B")
    assert least_difference(usual, "usual") > TOLD_APART
    assert least_difference(usual, "deuteranopia") < TOLD_APART
