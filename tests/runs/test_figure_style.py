"""Figures are written in the format that their name says, in equal bytes, with their text as text."""

import xml.etree.ElementTree as ElementTree

import matplotlib
import pytest
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
    figure_style.save(figure("a\x01b \udc80 $x_1$ <&>"), tmp_path / "a.svg")
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    texts = {"".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")}
    assert "a\N{REPLACEMENT CHARACTER}b \N{REPLACEMENT CHARACTER} $x_1$ <&>" in texts
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
