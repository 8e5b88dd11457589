"""Strata: each is measured as a set of its own, pairs are compared within, and shortcuts show."""

import dataclasses
import json

import numpy as np
import pytest
from labelled_scores import BINARY, multiclass_data

from engine.base.config import UserError
from engine.metrics import curves, evaluation, intervals, strata
from engine.metrics.strata import Column
from engine.metrics.strata_results import StrataResults

COUNT = 400


@pytest.fixture(scope="module")
def shortcut():
    """Labels, log-odds that follow the view and hardly the class, views and patients."""
    random = np.random.default_rng(0)
    labels, views = random.integers(0, 2, (2, COUNT))
    log_odds = random.normal(0.5 * labels + 2 * views, 1)
    patients = [f"p{patient}" for patient in random.integers(0, 250, COUNT)]
    return labels, log_odds, views, patients


def measured(labels, log_odds, values, patients=None, **options):
    return evaluation.evaluate(
        labels,
        1 / (1 + np.exp(-log_odds)),
        patients,
        class_names=BINARY,
        log_odds=log_odds,
        columns=[Column("view", "metadata.csv", values, **options)],
        resamples=200,
    )


def named(views):
    return ["AP" if view else "PA" for view in views]


def test_each_stratum_has_the_figures_of_its_images_alone(shortcut):
    labels, log_odds, views, patients = shortcut
    (result,) = measured(labels, log_odds, named(views), patients).strata
    assert [stratum.name for stratum in result.strata] == ["AP", "PA"]
    for stratum, own in zip(result.strata, (views == 1, views == 0), strict=True):
        of_own = np.array(patients)[own]
        alone = measured(labels[own], log_odds[own], ["x"] * own.sum(), of_own)
        assert stratum.num_examples == own.sum()
        assert stratum.num_patients == len(set(of_own))
        assert sum(stratum.class_counts.values()) == own.sum()
        assert stratum.metrics == {name: alone.metrics[name] for name in stratum.metrics}


def test_a_shortcut_is_found_and_does_not_count_within_strata(shortcut):
    labels, log_odds, views, patients = shortcut
    views = np.where(np.random.default_rng(1).random(COUNT) < 0.8, labels, 1 - labels)
    log_odds = np.random.default_rng(2).normal(3 * views, 1)
    result = measured(labels, log_odds, named(views), patients)
    (column,) = result.strata
    assert result.metrics["auroc"].value > 0.75
    assert column.within.low < 0.5 < column.within.high
    assert len(column.probes) == 2
    assert all(probe.auroc.low > 0.9 and probe.stratum == "AP" for probe in column.probes)
    assert any("0.5 is good" in line and "for AP in" in line for line in str(result).splitlines())


def test_the_mean_within_is_over_pairs_and_its_interval_is_that_of_a_bootstrap(shortcut):
    labels, log_odds, views, patients = shortcut
    (result,) = measured(labels, log_odds, named(views), patients).strata
    right = pairs = 0
    for view in (0, 1):
        positive, negative = (log_odds[(views == view) & (labels == k)] for k in (1, 0))
        right += (positive[:, None] > negative).sum()
        pairs += len(positive) * len(negative)
    assert result.within.value == pytest.approx(right / pairs, abs=1e-12)
    groups = np.unique(patients, return_inverse=True)[1]
    members = [np.flatnonzero(groups == group) for group in range(groups.max() + 1)]
    random = np.random.default_rng(3)
    drawn = []
    for _ in range(200):
        chosen = np.concatenate(
            [members[g] for g in random.integers(0, len(members), len(members))]
        )
        drawn.append(curves.auroc_within(labels[chosen], log_odds[chosen], views[chosen]))
    width = np.subtract(*np.quantile(drawn, [0.975, 0.025]))
    assert result.within.high - result.within.low == pytest.approx(width, rel=0.2)


def test_one_stratum_gives_the_area_over_all(shortcut):
    labels, log_odds, _, patients = shortcut
    result = measured(labels, log_odds, ["all"] * COUNT, patients)
    assert dataclasses.astuple(result.strata[0].within) == pytest.approx(
        dataclasses.astuple(result.metrics["auroc"])
    )
    assert result.strata[0].probes == ()


def test_strata_where_all_is_right_still_have_an_interval_with_a_width():
    labels, groups = np.arange(60) % 2, np.arange(60) // 2
    low, high = intervals.area(labels == 1, labels.astype(float), groups, np.arange(60) // 20)
    plain = intervals.area(labels == 1, labels.astype(float), groups)
    assert high == 1 and low == pytest.approx(plain[0], abs=0.02)


def test_a_stratum_of_one_class_says_so_and_adds_no_pairs(shortcut):
    labels, log_odds, views, patients = shortcut
    values = [
        "sick" if label and view else "rest" for label, view in zip(labels, views, strict=True)
    ]
    (result,) = measured(labels, log_odds, values, patients).strata
    sick = next(stratum for stratum in result.strata if stratum.name == "sick")
    assert str(sick.metrics["auroc"]) == "undefined (it needs examples of both classes)"
    assert sick.metrics["specificity"].value is None
    assert sick.metrics["sensitivity"].has_interval
    rest = next(stratum for stratum in result.strata if stratum.name == "rest")
    assert result.within.value == pytest.approx(rest.metrics["auroc"].value)
    normal = next(probe for probe in result.probes if probe.class_name == "NORMAL")
    assert "in both" in str(normal.auroc)


def test_more_than_two_strata_are_probed_against_the_rest(shortcut):
    labels, log_odds, views, patients = shortcut
    values = ["old" if place % 4 == 0 else view for place, view in enumerate(named(views))]
    (result,) = measured(labels, log_odds, values, patients).strata
    assert {(probe.stratum, probe.against) for probe in result.probes} == {
        (name, "the rest") for name in ("AP", "PA", "old")
    }


def test_unknown_values_are_counted_and_left_out(shortcut):
    labels, log_odds, views, patients = shortcut
    values = ["" if place < 30 else view for place, view in enumerate(named(views))]
    (result,) = measured(labels, log_odds, values, patients).strata
    assert result.num_without == 30
    assert sum(stratum.num_examples for stratum in result.strata) == COUNT - 30
    assert "30 images without view" in result.summary_lines()
    (only,) = measured(labels, log_odds, ["", *["AP"] * (COUNT - 1)]).strata
    assert only.within.has_interval


def test_many_classes_have_strata_too_and_all_goes_to_json_and_back():
    labels, probabilities = multiclass_data(200)
    values = [f"site {place % 3}" for place in range(200)]
    result = evaluation.evaluate(
        labels,
        probabilities,
        class_names=["a", "b", "c", "d"],
        columns=[Column("site", "m.csv", values)],
        resamples=200,
    )
    (column,) = result.strata
    assert column.within.low < result.metrics["auroc"].value < column.within.high
    assert len(column.probes) == 3 * 4
    assert StrataResults.from_json(json.loads(json.dumps(column.to_json()))) == column
    values = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert evaluation.Evaluation.from_json(values).strata == result.strata
    del values["strata"][0]["auroc_within"]
    with pytest.raises(UserError, match="'auroc_within' is missing"):
        evaluation.Evaluation.from_json(values)


def test_many_numbers_are_divided_at_quartiles_and_few_are_not():
    ages = [str(age) for age in range(1, 101)]
    names, places = strata.stratified(["", *ages], column="age")
    assert places[0] == -1
    np.testing.assert_array_equal(np.bincount(places[1:]), [25, 25, 25, 25])
    assert names[0].startswith("under ") and names[-1].endswith(" and over")
    assert strata.stratified(["10", "9", "9"], column="site")[0] == ("9", "10")
    assert strata.stratified(["5"] * 90 + ages[:10], column="age")[0] == ("under 5", "5 and over")


def test_limits_belong_to_the_stratum_above_and_empty_strata_are_left_out():
    names, places = strata.stratified(
        ["17.5", "18", "39", "80", ""], column="age", edges=(18, 40, 60)
    )
    assert names == ("under 18", "18 to under 40", "60 and over")
    assert places.tolist() == [0, 1, 1, 2, -1]


@pytest.mark.parametrize(
    ("values", "edges", "said"),
    [
        (["old", "12"], (18,), "holds 'old', which is no number"),
        ([f"patient {n}" for n in range(90)], None, "90 different values"),
        (["", ""], None, "empty for every image"),
    ],
)
def test_columns_that_give_no_strata_are_refused_in_one_line(values, edges, said):
    with pytest.raises(UserError, match=said) as refused:
        strata.stratified(values, column="age", edges=edges)
    assert "\n" not in str(refused.value) and "age" in str(refused.value)
