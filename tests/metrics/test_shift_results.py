import pytest

from engine.metrics.shift_results import ShiftResults

VALUES = {
    "none": {"auroc": 0.1, "sensitivity": 0.2, "specificity": None},
    "low contrast": {"auroc": 0.98, "sensitivity": 0.91, "specificity": None},
    "cropped": {"auroc": 0.99, "sensitivity": 0.7, "specificity": None},
}


def test_the_lowest_of_each_metric_is_named_and_unchanged_images_do_not_count():
    results = ShiftResults(VALUES)
    assert results.lowest() == {"auroc": ("low contrast", 0.98), "sensitivity": ("cropped", 0.7)}
    assert results.lowest_text() == "AUROC 0.9800 (low contrast), sensitivity 0.7000 (cropped)"
    assert results.num_shifts == 2


def test_the_table_has_one_row_per_shift():
    rows = ShiftResults(VALUES).rows()
    assert rows[0] == ("none", "0.1000", "0.2000", "undefined")
    assert [row[0] for row in rows] == list(VALUES)


def test_results_come_back_from_json():
    assert ShiftResults.from_json(ShiftResults(VALUES).to_json()) == ShiftResults(VALUES)
    with pytest.raises(ValueError, match="same metrics"):
        ShiftResults.from_json({"none": {"auroc": 1}, "noisy": {"accuracy": 1}})
