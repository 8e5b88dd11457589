"""The figures of each member beside their average."""

import json

import numpy as np
import pytest

from engine.metrics.member_results import MemberResults, mean_spread, point_estimates

LABELS = np.array([0, 0, 1, 1])
PROBABILITIES = np.array([0.1, 0.6, 0.4, 0.9])


def test_figures_are_those_at_the_threshold():
    assert point_estimates(LABELS, PROBABILITIES, PROBABILITIES, 0.5) == {
        "auroc": 0.75,
        "accuracy": 0.5,
        "sensitivity": 0.5,
        "specificity": 0.5,
    }
    one_class = point_estimates(LABELS[:2], PROBABILITIES[:2], PROBABILITIES[:2], 0.5)
    assert one_class["sensitivity"] is None and one_class["auroc"] is None


def test_they_come_back_from_json_and_fill_a_table():
    estimates = point_estimates(LABELS, PROBABILITIES, PROBABILITIES, 0.5)
    results = MemberResults({"seed-0": {"threshold": 0.5, **estimates}}, spread=0.125)
    assert MemberResults.from_json(json.loads(json.dumps(results.to_json()))) == results
    assert results.metrics == ("auroc", "accuracy", "sensitivity", "specificity")
    assert results.rows() == [("seed-0", "0.7500", "0.5000", "0.5000", "0.5000")]
    assert "deviate by 0.125" in results.spread_text()
    for damaged in ({}, {"members": {}, "spread": 0}, {"members": {"a": {}}}):
        with pytest.raises((KeyError, ValueError)):
            MemberResults.from_json(damaged)


def test_the_spread_of_several_classes_is_that_of_the_widest():
    assert mean_spread(np.array([0.1, 0.3])) == pytest.approx(0.2)
    assert mean_spread(np.array([[0.1, 0.3], [0.5, 0.1]])) == pytest.approx(0.4)
