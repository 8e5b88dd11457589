import io
import itertools
import json

import pytest

from benchmarks import figures, harness, reports
from benchmarks.harness import Measurement, Sample
from benchmarks.outcomes import OWN, Outcome
from benchmarks.reports import Report


def measurement(name, speeds, group=""):
    samples = tuple(Sample(1000, 1000 / speed, 2.0, 3 * 2**20) for speed in speeds)
    return Measurement(name, group, 0.5, samples)


@pytest.fixture
def report():
    one = measurement("engine, a name that is long enough to need a second line", [450, 470, 460])
    two = measurement("peer [brackets]", [100, 104, 99], "others")
    return Report(
        "demo",
        "how fast is it",
        measurements=[one, two],
        ratios=[harness.compare(one, two, required=4.0)],
        figures={"milliseconds": 2.5},
        skipped={"FFCV": "not installed"},
        sentences=["compute-bound"],
    )


def printed(report):
    stream = io.StringIO()
    reports.print_report(report, reports.make_console(stream))
    return stream.getvalue()


def test_tables_keep_to_80_columns_where_output_is_no_terminal(report):
    text = printed(report)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "\x1b" not in text


def test_tables_hold_every_row_ratio_figure_and_word(report):
    text = printed(report)
    for expected in ("peer [brackets]", "460", "milliseconds", "FFCV", "compute-bound", "reached"):
        assert expected in text


def test_json_gives_figures_back_with_their_context(report, tmp_path):
    path = reports.write_json(report, tmp_path, {"command": "python -m benchmarks demo"})
    values = json.loads(path.read_text())
    assert path.name == "demo.json"
    assert values["command"] == "python -m benchmarks demo"
    assert values["rows"][0]["images_per_second"] == 460
    assert values["rows"][1]["group"] == "others"
    assert len(values["rows"][0]["runs"]) == 3
    assert values["ratios"][0]["median"] == pytest.approx(4.52, rel=0.02)
    assert values["skipped"] == {"FFCV": "not installed"}


@pytest.mark.parametrize(
    "value, text",
    [(0.5, "0.5"), (34.12, "34.1"), (999.6, "1,000"), (5_412, "5,410"), (82_345, "82,300")],
)
def test_numbers_have_three_digits(value, text):
    assert reports.number(value) == text


def test_figures_are_drawn_for_rows_sweeps_and_stages(report, tmp_path):
    sweep = [measurement(f"batch {size}", [size * 10] * 3, "sizes") for size in (16, 32, 64)]
    tiers = measurement("engine, memory tier", [9e4] * 3)
    step = measurement("engine, no augmentation", [100] * 3)
    drawn = figures.draw(
        [
            report,
            Report("input", "input", measurements=[tiers, *sweep]),
            Report("step", "step", measurements=[step]),
        ],
        tmp_path,
    )
    names = {path.name for path in drawn}
    assert names == {"demo.png", "input.png", "input-sizes.png", "step.png", "waterfall.png"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


def test_stages_come_in_the_order_of_the_data():
    speeds = {
        "train": {"real input, cached epochs": 90.0},
        "step": {"engine, no augmentation": 100.0, "plain Keras": 60.0},
        "input": {"engine, memory tier": 9e4},
    }
    found = figures.stages_of(speeds)
    assert [one.images_per_second for one in found] == [9e4, 100.0, 90.0]
    assert [one.kind for one in found] == ["epoch", "epoch", "whole"]


def stages(**speeds):
    return [figures.Stage(name, speed, kind) for name, (kind, speed) in speeds.items()]


def test_a_stage_limits_training_only_where_it_is_compared_with_another():
    both_tiers = stages(input_streaming=("epoch", 5e4), input_memory=("epoch", 9e4))
    assert figures.limiting(both_tiers) is None  # alternatives, of which one is used
    with_step = [*both_tiers, *stages(network=("epoch", 400.0), training=("whole", 300.0))]
    assert figures.limiting(with_step).name == "network"
    axes = figures.waterfall(both_tiers).axes[0]
    assert not any("limits" in text.get_text() for text in axes.get_legend().get_texts())
    axes = figures.waterfall(with_step).axes[0]
    assert any("limits" in text.get_text() for text in axes.get_legend().get_texts())
    assert sum(bool(bar.get_hatch()) for bar in axes.patches) == 1


def test_a_group_with_two_rows_of_one_number_is_no_sweep(report):
    rows = [measurement(f"{name}", [9] * 3, "divided") for name in ("1 device", "2 a", "2 b")]
    assert figures.sweeps(Report("scaling", "", measurements=rows)) == []


def test_titles_lie_within_the_page_however_long_the_names_are():
    rows = [
        measurement(f"a rather long name of a loader, number {i} " * 2, [10, 11, 12])
        for i in (1, 2)
    ]
    figure = figures.bars(Report("long", "a question of many words, " * 6, measurements=rows))
    figure.draw_without_rendering()
    width, height = figure.canvas.get_width_height()
    for text in (figure._suptitle, *figure.axes[0].get_yticklabels()):
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height


def test_ticks_of_a_panel_of_nearly_equal_areas_do_not_overlap():
    found = [
        Outcome("default", OWN, set_name, seed, area, *[None] * 5, 1.0)
        for set_name, areas in ((OWN, (0.99962, 0.99967, 0.99975)), ("nih", (0.45, 0.5, 0.52)))
        for seed, area in enumerate(areas)
    ]
    figure = figures.reached(Report("generalization", "how far", outcomes=found))
    figure.draw_without_rendering()
    for axes in figure.axes:
        boxes = [tick.get_window_extent() for tick in axes.get_xticklabels() if tick.get_text()]
        inside = [
            box for box in boxes if axes.bbox.x0 - 1 <= (box.x0 + box.x1) / 2 <= axes.bbox.x1 + 1
        ]
        assert len(inside) >= 2
        assert all(a.x1 < b.x0 for a, b in itertools.pairwise(inside))


def test_the_waterfall_takes_stages_of_earlier_results(report, tmp_path):
    tiers = Report("input", "", measurements=[measurement("engine, memory tier", [9e4] * 3)])
    assert "waterfall.png" not in {path.name for path in figures.draw([tiers], tmp_path)}
    step = Report("step", "", measurements=[measurement("engine, no augmentation", [100] * 3)])
    reports.write_json(step, tmp_path / "results", {})
    drawn = figures.draw([tiers], tmp_path, earlier=tmp_path / "results")
    assert "waterfall.png" in {path.name for path in drawn}
