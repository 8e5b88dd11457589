import json
import re

import pytest
from PIL import Image
from stored_results import make_evaluation, store

from benchmarks import highlights, readme_table
from engine.base import files
from engine.base.config import UserError
from engine.metrics.estimate import Estimate
from engine.metrics.shift_results import ShiftResults
from engine.runs.run_directory import RunDirectory


def result(suite, speed, ratio):
    return {
        "suite": suite,
        "command": f"python -m benchmarks {suite}",
        "measured_at": "2026-01-02T03:04:05+00:00",
        "machine": {"processor": "P", "cores": 2, "memory_gib": 8, "versions": {"python": "3.11"}},
        "busy": {"others_share_of_cores": 0.25},
        "figures": {"minutes to AUROC 0.98": 1.2345},
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
            },
            {
                "of": "a",
                "to": "c",
                "median": 1.01,
                "low": 0.9,
                "high": 1.1,
                "required": None,
                "conclusion": "no difference",
            },
        ],
        "sentences": ["It is as fast as memory allows."],
    }


@pytest.mark.parametrize("page", readme_table.PAGES, ids=lambda page: page.name)
def test_the_pages_show_what_the_result_files_hold_and_nothing_else(page):
    text = page.read_text(encoding="utf-8")
    assert readme_table.updated_page(page, text) == text


def test_the_chart_was_drawn_from_the_stored_results():
    with Image.open(readme_table.CHART) as chart:
        drawn_from = chart.info["Description"]
    assert drawn_from == highlights.chart_values(readme_table.RESULTS)


def test_every_figure_of_the_results_stands_in_the_table(tmp_path):
    for suite, speed, ratio in (("input", 82_345.0, 26.83), ("train", 93.21, 4.44)):
        (tmp_path / f"{suite}.json").write_text(json.dumps(result(suite, speed, ratio)))
    table = readme_table.render(tmp_path)
    figures = ("82,300", "93.2", "26.8", "4.44", "4, reached", "| no difference |", "25%", "1.234")
    for figure in (*figures, "- `input`: It is as fast as memory allows."):
        assert figure in table
    assert len(re.findall(r"^\| `", table, re.MULTILINE)) == 8


def test_the_table_of_a_divided_training_has_its_losses_and_commands():
    found = {
        "rows": [{"name": "2 workers", "images_per_second": 321.4}],
        "figures": {
            "final loss, 2 workers": 0.123456,
            "largest difference of losses, 2 workers to 1 device": 0.0321,
        },
        "commands": {"2 workers": "python -m engine.launch"},
    }
    table = readme_table.render_division(found)
    for part in ("2 workers", "0.123456", "321", "`python -m engine.launch`", "3.2%"):
        assert part in table


def test_a_search_is_taken_over_with_its_winner_and_both_on_the_test_split(tmp_path):
    def estimates(value):
        estimate = Estimate(value, value - 0.1, value + 0.05).to_json()
        return dict.fromkeys(readme_table.HEADLINE, estimate)

    held_out = {"trial_id": "3", "winner": estimates(0.9), "default": estimates(0.8)}
    written = {
        "search.json": {"tuner": "random", "epochs": 5, "objective": "val_auroc"},
        "space.json": {"depth": {"low": 2, "high": 5, "scale": "linear"}},
        "held_out.json": held_out,
        "trials/3/spec.json": {"values": {"depth": 4}},
        "trials/3/outcome.json": {"status": "completed", "seconds": 60.0},
        "trials/4/outcome.json": {"status": "failed", "seconds": 30.0},
        "default/run/environment.json": {
            "data": {"image_size": [64, 64]},
            "processor": "P",
            "cores": 2,
        },
    }
    for name, values in written.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(values))
    table = readme_table.render_search(readme_table.take_over_search(tmp_path))
    for part in (
        "2 trials",
        "1 completed, 1 failed",
        "1.5 min",
        "depth 4",
        "64 x 64",
        "0.9000 (0.8",
    ):
        assert part in table
    (tmp_path / "held_out.json").unlink()
    with pytest.raises(UserError, match="--compare-default"):
        readme_table.take_over_search(tmp_path)


def test_a_run_is_taken_over_with_its_figures(tmp_path):
    run = RunDirectory(tmp_path)
    files.write_json(
        run.training_summary, {"epochs": 7, "seconds": 90.0, "images_per_second": 410.7}
    )
    files.write_json(
        run.environment,
        {
            "data": {"splits": {"train": {"num_examples": 4170}, "test": {"num_examples": 524}}},
            "processor": "P",
            "cores": 2,
            "versions": {"tensorflow": "2.21.0"},
            "runtime": {"precision": "float32"},
        },
    )
    metrics = dict.fromkeys(readme_table.HEADLINE, Estimate(0.98765, 0.9, 0.99))
    shifts = {
        "none": {"auroc": 0.1, "accuracy": 0.2, "sensitivity": 0.3, "specificity": 0.4},
        "blurred": {"auroc": 0.95, "accuracy": 0.94, "sensitivity": 0.99, "specificity": 0.71},
        "noisy": {"auroc": 0.96, "accuracy": 0.93, "sensitivity": 0.88, "specificity": 0.98},
    }
    measured = {"metrics": metrics, "num_patients": 270, "threshold": 0.25}
    store(run, make_evaluation(**measured))
    with pytest.raises(UserError, match="--shifts"):
        readme_table.take_over(run)
    store(run, make_evaluation(**measured, shifts=ShiftResults(shifts)))
    text = readme_table.render_training(readme_table.take_over(run))
    for figure in ("0.9877", "0.9000 to 0.9900", "0.250", "270", "4170 / 524", "1.5 min", "411"):
        assert figure in text
    assert "2 shifts" in text
    assert (
        "AUROC 0.9500 (blurred), accuracy 0.9300 (noisy), sensitivity 0.8800 (noisy), "
        "specificity 0.7100 (blurred)."
    ) in text


def test_only_what_stands_between_the_markers_is_replaced():
    begin, end = readme_table.markers("name")
    text = f"before\n{begin}\nold\n{end}\nafter\n"
    new = readme_table.updated(text, "name", "new")
    assert new == text.replace("old", "new")
    assert readme_table.updated(new, "name", "new") == new


def test_a_readme_without_markers_is_refused():
    with pytest.raises(UserError, match="benchmarks:begin"):
        readme_table.updated("no markers", "benchmarks", "table")


def test_no_results_are_refused(tmp_path):
    with pytest.raises(UserError, match="no results"):
        readme_table.render(tmp_path)
