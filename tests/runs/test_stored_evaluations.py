import pytest
from stored_results import make_evaluation, store

from engine.base.config import UserError
from engine.metrics.shift_results import ShiftResults
from engine.runs import stored_evaluations
from engine.runs.run_directory import RunDirectory


def test_what_is_stored_is_read_back_with_its_shifts(tmp_path):
    run = RunDirectory(tmp_path)
    result = make_evaluation(shifts=ShiftResults({"none": {"auroc": 0.5}}))
    store(run, result)
    assert stored_evaluations.read(run.evaluation("test")).to_json() == result.to_json()


def test_names_begin_with_the_splits_and_leave_out_what_is_not_finished(tmp_path):
    run = RunDirectory(tmp_path)
    assert stored_evaluations.names(run) == []
    for name in ("a", "train", "test", "b"):
        store(run, make_evaluation(), name)
    run.evaluation("unfinished").mkdir()
    assert stored_evaluations.names(run) == ["test", "train", "a", "b"]


@pytest.mark.parametrize("text", [None, "{", "[1]", "{}", '{"threshold": 1}'])
def test_what_cannot_be_read_is_one_line_with_the_path_and_the_command(tmp_path, text):
    if text is not None:
        (tmp_path / "metrics.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"metrics\.json: .*python -m engine\.evaluate") as refused:
        stored_evaluations.read(tmp_path)
    assert "\n" not in str(refused.value)
