"""docs/api.md and docs/settings.md: up to date with the code."""

import ast

import generate_api
import pytest


@pytest.mark.parametrize("page", ["API", "SETTINGS"])
def test_the_page_is_up_to_date(page):
    made = generate_api.render_api() if page == "API" else generate_api.render_settings()
    assert getattr(generate_api, page).read_text(encoding="utf-8") == made, "run `make docs`"


def test_sections_of_a_docstring_become_lists():
    text = generate_api.as_markdown(
        "Does it.\n\nArgs:\n    images: uint8[B, H, W, C],\n        or float32.\n\n"
        "Returns:\n    What it made.\n\nThe end."
    )
    assert "Args:\n\n- `images`: uint8[B, H, W, C],\n  or float32.\n" in text
    assert "Returns:\n\n- What it made.\n\nThe end." in text


def test_a_long_signature_stands_on_several_lines():
    source = (
        "def f(a: dict[str, int], *, bb: tuple[int, ...] = (1, 2), " + "c" * 80 + "=1) -> int: pass"
    )
    (function,) = ast.parse(source).body
    lines = generate_api.signature(function).splitlines()
    assert lines[:4] == [
        "def f(",
        "    a: dict[str, int],",
        "    *,",
        "    bb: tuple[int, ...]=(1, 2),",
    ]
    assert lines[-1] == ") -> int"


def test_columns_of_a_docstring_stay_columns():
    text = generate_api.as_markdown("What there is:\n\nmemory  decoded once\nshards  read by index")
    assert text == "What there is:\n\n    memory  decoded once\n    shards  read by index"
