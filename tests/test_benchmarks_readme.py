import json
import re

import pytest

from benchmarks import readme_table
from engine.config import UserError


def result(suite, speed, ratio):
    return {
        "suite": suite,
        "command": f"python -m benchmarks {suite}",
        "measured_at": "2026-01-02T03:04:05+00:00",
        "machine": {"processor": "P", "cores": 2, "memory_gib": 8, "versions": {"python": "3.11"}},
        "busy": {"others_share_of_cores": 0.25},
        "rows": [
            {"group": "g", "name": "a", "images_per_second": speed, "low": speed, "high": speed}
        ],
        "ratios": [
            {
                "of": "a",
                "to": "b",
                "median": ratio,
                "low": ratio,
                "high": ratio,
                "required": 4.0,
                "conclusion": "reached",
            }
        ],
    }


def test_the_readme_shows_what_the_result_files_hold_and_nothing_else():
    text = readme_table.README.read_text(encoding="utf-8")
    assert readme_table.updated(text, readme_table.render(readme_table.RESULTS)) == text


def test_every_figure_of_the_results_stands_in_the_table(tmp_path):
    for suite, speed, ratio in (("input", 82_345.0, 26.83), ("train", 93.21, 4.44)):
        (tmp_path / f"{suite}.json").write_text(json.dumps(result(suite, speed, ratio)))
    table = readme_table.render(tmp_path)
    for figure in ("82,300", "93.2", "26.8", "4.44", "4, reached", "25%"):
        assert figure in table
    assert len(re.findall(r"^\| `", table, re.MULTILINE)) == 4


def test_only_what_stands_between_the_markers_is_replaced():
    text = f"before\n{readme_table.BEGIN}\nold\n{readme_table.END}\nafter\n"
    new = readme_table.updated(text, "new")
    assert new == text.replace("old", "new")
    assert readme_table.updated(new, "new") == new


def test_a_readme_without_markers_is_refused():
    with pytest.raises(UserError, match="benchmarks:begin"):
        readme_table.updated("no markers", "table")


def test_no_results_are_refused(tmp_path):
    with pytest.raises(UserError, match="no results"):
        readme_table.render(tmp_path)
