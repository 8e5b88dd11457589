"""The report says what is there, leaves out what is not, and links only files that exist."""

import dataclasses
import re

import pytest
from stored_results import SUBJECT, make_evaluation, store

from engine.base import files
from engine.metrics.estimate import Estimate
from engine.metrics.shift_results import ShiftResults
from engine.runs import report
from engine.runs.run_directory import RunDirectory

CLASSES = ("NORMAL", "PNEU|MONIA")
METRICS = {
    "auroc": Estimate(0.9912, 0.985, 0.996),
    "precision": Estimate(None, reason="nothing was predicted"),
}
SUBJECT = dataclasses.replace(SUBJECT, warnings=("these shards come from other images",))


def stored(**changes):
    values = {"subject": SUBJECT, "threshold": 0.4321, "metrics": METRICS, **changes}
    return make_evaluation(values.pop("class_names", CLASSES), **values)


@pytest.fixture
def run(tmp_path):
    run = RunDirectory(tmp_path / "my run")
    files.write_json(run.config, {"model": "cnn", "epochs": 20, "threshold": "youden"})
    files.write_json(
        run.environment,
        {
            "data": {
                "class_names": ["NORMAL", "PNEU|MONIA"],
                "image_size": [224, 224],
                "channels": 1,
                "fingerprint": "abc123",
                "shards": "data/shards",
                "splits": {
                    "train": {"num_examples": 5, "class_counts": {"NORMAL": 1, "PNEU|MONIA": 4}}
                },
                "warnings": ["3 exact duplicates across splits"],
            },
            "runtime": {"summary": "1 CPU, mixed_bfloat16"},
            "packages": {"tensorflow": "2.21.0"},
            "git_commit": "c0ffee",
        },
    )
    files.write_json(
        run.training_summary,
        {
            "images_per_second": 823.4,
            "seconds": 185.0,
            "epochs": 20,
            "best_epoch": 17,
            "monitor": "val_auroc",
            "best_value": 0.9951,
        },
    )
    files.write_json(run.threshold, {"threshold": 0.4321, "rule": "youden"})
    store(run, stored(num_examples=1624, num_resamples=1000))
    for name in ("roc.png", "calibration.png", "predictions.csv"):
        files.write_text(run.evaluation("test") / name, "x")
    files.write_text(run.history_figure, "x")
    return run


def test_what_on_what_how_fast_and_how_well(run):
    text = report.write_report(run).read_text(encoding="utf-8")
    for expected in (
        "# Report: my run",
        "Not for diagnosis",
        "1,624 images of 30 patients",
        "| AUROC | 0.9912 | 0.9850 to 0.9960 |",
        "| Precision | undefined | nothing was predicted |",
        "0.4321",
        "chosen on validation by the rule `youden`",
        "Measured on `data/shards`: fingerprint of the images `abc123`, of the shards `dddddddddddd`",
        "823 images/s in training steps; 3 min 5 s for 20 epochs, with loading, validating and saving",
        "17, val\\_auroc 0.9951",
        "`abc123`",
        "3 exact duplicates across splits",
        "these shards come from other images",
        "mixed\\_bfloat16",
        "tensorflow 2.21.0",
        "`c0ffee`",
    ):
        assert expected in text, expected


def test_every_link_leads_to_a_file_and_every_figure_is_linked(run):
    text = report.render(run)
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert set(links) == {
        "evaluation/test/roc.png",
        "evaluation/test/calibration.png",
        "evaluation/test/predictions.csv",
        "history.png",
    }
    assert all((run.path / link).is_file() for link in links)


def test_tables_have_as_many_cells_in_every_row(run):
    for table in re.findall(r"(?:^\|.*\n?)+", report.render(run), flags=re.MULTILINE):
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table.strip().splitlines()}
        assert len(cells) == 1, table


@pytest.mark.parametrize("name", ["config", "environment", "training_summary", "threshold"])
@pytest.mark.parametrize("damage", ["absent", "damaged", "of another kind"])
def test_a_part_that_is_missing_or_damaged_costs_only_itself(run, name, damage):
    path = getattr(run, name)
    if damage == "absent":
        path.unlink()
    else:
        path.write_text("{" if damage == "damaged" else "[1]", encoding="utf-8")
    text = report.render(run)
    assert "Not for diagnosis" in text
    assert "| AUROC | 0.9912 |" in text


def test_figures_that_cannot_be_read_cost_their_section_and_say_how_to_fix_it(run):
    store(run, stored(), name="other")
    (run.evaluation("other") / "metrics.json").write_text('{"split": "test"}', encoding="utf-8")
    text = report.render(run)
    assert "| AUROC | 0.9912 |" in text
    section = text.partition("### other")[2].partition("\n#")[0]
    assert "cannot be read" in section and "python -m engine.evaluate" in section


def test_an_evaluation_that_is_being_written_is_left_out(run):
    run.evaluation("other").mkdir()
    assert "### other" not in report.render(run)


def test_an_empty_run_has_a_report_that_says_what_to_do(tmp_path):
    text = report.write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "engine.evaluate" in text
    assert "Not for diagnosis" in text


def test_the_test_split_comes_first_and_none_is_left_out(run):
    for split in ("validation", "elsewhere"):
        store(run, stored(), name=split)
    text = report.render(run)
    titles = ("### Test split", "### validation (test split)", "### elsewhere (test split)")
    places = [text.index(title) for title in titles]
    assert places == sorted(places)


def test_more_than_two_classes_have_a_row_each(run):
    result = stored(class_names=("a", "b", "c"), threshold=None)
    row = {**result.per_class["b"], "auroc": Estimate(0.92), "f1": Estimate(None)}
    store(run, dataclasses.replace(result, per_class={**result.per_class, "b": row}))
    text = report.render(run)
    assert "largest probability" in text
    assert re.search(r"\| b \| 0\.9200 \|.*\| undefined \|", text)
    assert "| true class | predicted a | predicted b | predicted c |" in text


def test_the_report_says_what_the_intervals_are(run):
    text = report.render(run)
    assert "Clopper-Pearson on the effective number of patients" in text
    assert "1,000 bootstrap resamples" in text


def test_the_lowest_of_each_metric_under_a_shift_is_named(run):
    shifted = {
        "none": {"auroc": 0.1, "sensitivity": 0.2, "specificity": None},
        "low contrast": {"auroc": 0.98, "sensitivity": 0.91, "specificity": None},
        "crop|ped": {"auroc": 0.99, "sensitivity": 0.7, "specificity": None},
    }
    store(run, stored(shifts=ShiftResults(shifted)))
    lowest = "AUROC 0.9800 (low contrast), sensitivity 0.7000 (crop\\|ped)"
    assert f"Lowest under any change: {lowest}." in report.render(run)


def test_figures_that_name_no_model_or_another_are_marked(run):
    assert "Out of date" not in report.render(run)  # there is no model to compare with
    run.model.write_bytes(b"a model")
    digest = run.model_digest()
    for model, said in ((None, "a model that is not named"), ("e" * 64, "`eeeeeeeeeeee`")):
        store(run, stored(subject=dataclasses.replace(SUBJECT, model=model)))
        assert f"are of {'' if model is None else 'model '}{said}" in report.render(run)
    store(run, stored(subject=dataclasses.replace(SUBJECT, model=digest)))
    assert "Out of date" not in report.render(run)


def test_where_a_run_was_resumed_is_reported(run):
    environment = files.read_json(run.environment)
    sessions = [{"host": "node-b"}, {"host": "node-a"}]
    files.write_json(run.environment, {**environment, "resumed": sessions})
    assert "- Resumed: 2 times, on node-a, node-b" in report.render(run)


def test_the_report_is_a_pure_function_of_the_run(run):
    assert report.render(run) == report.render(run)
