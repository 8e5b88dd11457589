"""predictions.csv is read back as it was written, and refused where it is not that of the evaluation."""

import dataclasses

import numpy as np
import pytest
import stored_runs

from engine.base.config import UserError
from engine.evaluation import evaluation_files
from engine.evaluation.evaluation_files import SplitPredictions
from engine.metrics.unlike_results import UNDECIDED
from engine.runs import stored_evaluations, stored_predictions


def read(run):
    directory = run / "evaluation" / "test"
    return stored_predictions.read(directory, stored_evaluations.read(directory))


@pytest.mark.parametrize("classes", [2, 3])
def test_what_was_written_comes_back(tmp_path, classes):
    labels, log_odds = stored_runs.scores(30, classes=classes)
    names = ("a b", "c,d", "e")[:classes]
    patients = ["", 'p "1"', "p,2"] * 10
    paths = [f"fol,der/{i} é\n.png" for i in range(30)]
    run = stored_runs.store(
        tmp_path, labels, log_odds, class_names=names, patients=patients, paths=paths
    )
    found = read(run)
    assert (found.paths, found.patients) == (paths, patients)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_allclose(found.log_odds, log_odds, rtol=1e-8)
    expected = log_odds >= 0 if classes == 2 else log_odds.argmax(axis=1)
    np.testing.assert_array_equal(found.predicted, expected)
    turned = found.ordered(np.arange(30)[::-1])
    assert turned.paths == paths[::-1] and turned.labels[0] == labels[-1]


def test_undecided_images_have_what_the_threshold_decided(tmp_path):
    labels, log_odds = stored_runs.scores(30)
    run = stored_runs.store(tmp_path, labels, log_odds)
    table = run / "evaluation" / "test" / "predictions.csv"
    rows = table.read_text(encoding="utf-8").splitlines()
    rows[3] = ",".join([*rows[3].split(",")[:3], UNDECIDED, *rows[3].split(",")[4:]])
    before = read(run)
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    np.testing.assert_array_equal(read(run).predicted, before.predicted)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("patient", "person", 1), "holds no column patient"),
        (lambda text: text.rpartition("\nimages")[0] + "\n", "are not those that metrics.json"),
        (lambda text: text.replace("NORMAL", "HEALTHY"), "'HEALTHY'"),
        (lambda text: text.partition("\n")[0] + "\n", "holds no column"),
        (lambda text: text.replace(",0.", ",zero."), "could not convert"),
        (lambda text: text[: len(text) // 2], "measure again"),
    ],
)
def test_a_file_of_another_kind_is_refused_in_a_line(tmp_path, change, said):
    run = stored_runs.store(tmp_path, *stored_runs.scores(30))
    table = run / "evaluation" / "test" / "predictions.csv"
    table.write_text(change(table.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(UserError, match="measure again with python -m") as refused:
        read(run)
    assert said in str(refused.value) and "\n" not in str(refused.value)
    table.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        read(run)


def test_a_table_of_other_figures_is_refused(tmp_path):
    labels, log_odds = stored_runs.scores(30)
    run = stored_runs.store(tmp_path, labels, log_odds)
    result = stored_evaluations.read(run / "evaluation" / "test")
    other = SplitPredictions(labels, np.zeros(30), -log_odds, ["x"] * 30, [""] * 30)
    evaluation_files.write_predictions(
        run / "evaluation" / "test" / "predictions.csv",
        dataclasses.replace(result, threshold=0.5),
        other,
    )
    with pytest.raises(UserError, match="are not those"):
        read(run)
