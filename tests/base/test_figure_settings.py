"""Formats of figures are known by name, and PNG is always among them."""

import pytest

from engine.base.config import UserError
from engine.base.figure_settings import FigureSettings


@pytest.mark.parametrize(
    ("given", "formats"),
    [
        ("png", ("png",)),
        ("svg", ("png", "svg")),
        (" PDF, .svg,png,pdf", ("png", "pdf", "svg")),
        (["svg", "pdf"], ("png", "svg", "pdf")),
    ],
)
def test_png_comes_first_and_each_format_once(given, formats):
    settings = FigureSettings(figures=given)
    assert settings.figures == formats
    assert FigureSettings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize("given", ["svgg", "", "png,,svg", "jpg", 3])
def test_another_format_is_refused(given):
    with pytest.raises(UserError, match=r"--figures: .*expected some of png,svg,pdf"):
        FigureSettings(figures=given)
