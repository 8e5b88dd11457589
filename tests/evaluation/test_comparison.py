"""Runs are compared on the same images only, and every figure is that of the metrics on these."""

import json

import numpy as np
import pytest
import stored_runs

from engine.base.config import UserError
from engine.evaluation import comparison, comparison_files
from engine.metrics import curves, delong, paired_tests

PATIENTS = np.arange(160) // 2


@pytest.fixture
def runs(tmp_path):
    """Three runs on the same images, each better than the one before."""
    settings = ({"epochs": 12}, {"epochs": 24}, {"epochs": 12, "depth": 5})
    return [
        stored_runs.store(
            tmp_path / name,
            *stored_runs.scores(noise=noise, seed=seed),
            settings=own,
            training={"seconds": 60.0 * (seed + 1)},
        )
        for seed, (name, noise, own) in enumerate(
            zip("abc", (3.0, 1.5, 0.7), settings, strict=True)
        )
    ]


def test_differences_and_tests_are_those_of_the_metrics(runs):
    found = comparison.compare_runs(runs, resamples=200)
    labels, first = stored_runs.scores(noise=3.0, seed=0)
    for place, noise in ((1, 1.5), (2, 0.7)):
        _, other = stored_runs.scores(noise=noise, seed=place)
        pair = found.pairs[place - 1]
        areas = delong.paired(labels == 1, first, other, groups=PATIENTS)
        assert pair.tests["auroc"].p_value == pytest.approx(areas.p_value, rel=1e-6)
        assert pair.differences["auroc"].value == pytest.approx(
            curves.auroc(labels, other) - curves.auroc(labels, first)
        )
        right = [(each >= 0) == labels for each in (first, other)]
        exact = paired_tests.mcnemar(*right, groups=PATIENTS)
        assert (pair.mcnemar, pair.tests["accuracy"].p_value) == (exact, exact.p_value)
        assert pair.differences["accuracy"].value == pytest.approx(
            right[1].mean() - right[0].mean()
        )
    values = [pair.tests["auroc"].p_value for pair in found.pairs]
    assert [pair.tests["auroc"].corrected for pair in found.pairs] == paired_tests.holm(values)
    assert found.runs[0].result.metrics["auroc"].value == curves.auroc(labels, first)


def test_what_differs_between_runs_is_named(runs):
    found = comparison.compare_runs(runs, resamples=200)
    assert found.settings == {"epochs": [12, 24, 12], "depth": [None, None, 5]}
    assert [found.settings_of(place) for place in range(3)] == [
        "epochs 12",
        "epochs 24",
        "epochs 12, depth 5",
    ]
    assert [run.seconds for run in found.runs] == [60.0, 120.0, 180.0]
    assert found.runs[0].parameters == 4321


def test_settings_that_a_network_does_not_take_do_not_count(tmp_path):
    runs = [
        stored_runs.store(tmp_path / name, *stored_runs.scores(), settings=own)
        for name, own in (
            ("a", {"model": "cnn", "depth": 4}),
            ("b", {"model": "resnet50v2", "depth": 7, "epochs": 9}),
        )
    ]
    found = comparison.compare_runs(runs, resamples=200)
    assert found.settings == {"epochs": [12, 9], "depth": [4, None]}
    assert [run.model for run in found.runs] == ["cnn", "resnet50v2"]


def test_the_baseline_may_be_another_run(runs):
    found = comparison.compare_runs(runs, baseline=runs[2], resamples=200)
    assert [run.name for run in found.runs] == ["c", "a", "b"]
    assert found.pairs[0].differences["auroc"].value < 0
    other = comparison.compare_runs(runs[:2], baseline=runs[2], resamples=200)
    assert [run.name for run in other.runs] == ["c", "a", "b"]


def test_images_in_another_order_are_matched_by_their_paths(tmp_path):
    labels, log_odds = stored_runs.scores()
    _, better = stored_runs.scores(noise=0.5, seed=1)
    order = np.random.default_rng(0).permutation(160)
    paths, patients = [f"{i}.png" for i in range(160)], [f"p{i}" for i in PATIENTS]
    one = stored_runs.store(tmp_path / "a", labels, log_odds, paths=paths, patients=patients)
    turned = stored_runs.store(
        tmp_path / "b",
        labels[order],
        better[order],
        paths=[paths[i] for i in order],
        patients=[patients[i] for i in order],
        identity="other size",
        shards="shards of 128 pixels",
    )
    found = comparison.compare_runs([one, turned], resamples=200)
    expected = delong.paired(labels == 1, log_odds, better, groups=PATIENTS)
    assert found.pairs[0].areas.p_value == pytest.approx(expected.p_value, rel=1e-6)
    assert any("other shards" in warning for warning in found.warnings)


def test_of_several_evaluations_the_one_on_the_same_images_is_taken(tmp_path):
    labels, log_odds = stored_runs.scores()
    first = stored_runs.store(tmp_path / "a", labels, log_odds, fingerprint="x")
    second = stored_runs.store(tmp_path / "b", labels, log_odds, fingerprint="own")
    with pytest.raises(UserError, match=r"engine.evaluate \S*b shards --split test"):
        comparison.compare_runs([first, second])
    stored_runs.store(
        second, labels, stored_runs.scores(seed=1)[1], name="test-1234", fingerprint="x"
    )
    stored_runs.store(
        second, labels, -log_odds, name="prevalence", fingerprint="x", prevalence=(0.9, 0.1)
    )
    found = comparison.compare_runs([first, second], resamples=200)
    assert found.runs[1].directory.name == "test-1234"
    turned = comparison.compare_runs([second, first], resamples=200)
    assert turned.runs[0].directory.name == "test-1234"


def test_two_evaluations_of_one_run_are_told_apart(tmp_path):
    labels, log_odds = stored_runs.scores()
    run = stored_runs.store(tmp_path / "a", labels, log_odds)
    stored_runs.store(run, labels, stored_runs.scores(seed=2)[1], name="flipped")
    places = [run / "evaluation" / "test", run / "evaluation" / "flipped"]
    found = comparison.compare_runs(places, resamples=200)
    assert [each.name for each in found.runs] == ["a: test", "a: flipped"]
    with pytest.raises(UserError, match="is given twice"):
        comparison.compare_runs([run, places[0]])


def test_runs_of_the_same_name_are_called_by_their_paths(tmp_path):
    runs = [
        stored_runs.store(tmp_path / place / "run", *stored_runs.scores(seed=seed))
        for seed, place in enumerate("xy")
    ]
    found = comparison.compare_runs(runs, resamples=200)
    assert [each.name for each in found.runs] == [str(run) for run in runs]


def test_more_than_two_classes_are_compared_by_means_over_them(tmp_path):
    names = ("a", "b", "c")
    runs = [
        stored_runs.store(
            tmp_path / name,
            *stored_runs.scores(noise=noise, seed=seed, classes=3),
            class_names=names,
        )
        for seed, (name, noise) in enumerate((("one", 2.5), ("two", 1.0)))
    ]
    found = comparison.compare_runs(runs, resamples=200)
    pair = found.pairs[0]
    assert pair.areas is None and pair.tests["auroc"].name == "bootstrap"
    assert pair.differences["auroc"].low > 0 and pair.tests["accuracy"].p_value < 0.05
    assert any("means over the classes" in sentence for sentence in found.methods())
    comparison_files.write(found, tmp_path / "out")
    assert (tmp_path / "out" / "compare_roc.png").stat().st_size > 10_000


def test_a_split_of_one_class_has_no_area_and_no_figure(tmp_path):
    labels = np.zeros(40, np.int64)
    random = np.random.default_rng(0)
    runs = [stored_runs.store(tmp_path / name, labels, random.normal(size=40)) for name in "ab"]
    found = comparison.compare_runs(runs, resamples=200)
    assert found.pairs[0].areas is None and found.pairs[0].tests["auroc"].p_value is None
    report = comparison_files.write(found, tmp_path / "out").read_text(encoding="utf-8")
    assert "undefined" in report and "compare_roc.png" not in report
    assert not (tmp_path / "out" / "compare_roc.png").exists()


def test_runs_that_predict_the_same_do_not_differ(tmp_path):
    runs = [stored_runs.store(tmp_path / name, *stored_runs.scores()) for name in "ab"]
    pair = comparison.compare_runs(runs, resamples=200).pairs[0]
    assert (pair.tests["auroc"].p_value, pair.tests["accuracy"].p_value) == (1.0, 1.0)
    assert all(found.value == 0 and found.low is None for found in pair.differences.values())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"paths": [f"x{i}" for i in range(160)]}, r"160 are missing .*160 are further ones"),
        ({"paths": ["same.png"] * 160}, "have the same path"),
        ({"patients": [f"p{i // 4}" for i in range(160)]}, "the patients of other images apart"),
        ({"class_names": ("PNEUMONIA", "NORMAL")}, "expected the same classes"),
        ({"fingerprint": "x"}, "on other images"),
        ({"split": "validation"}, "no evaluation of the test split"),
    ],
)
def test_other_images_are_refused_with_what_to_do(tmp_path, change, said):
    first = stored_runs.store(tmp_path / "a", *stored_runs.scores())
    other = stored_runs.store(tmp_path / "b", *stored_runs.scores(seed=1), **change)
    with pytest.raises(UserError, match=said) as refused:
        comparison.compare_runs([first, other])
    assert "\n" not in str(refused.value)


def test_other_labels_are_refused(tmp_path):
    labels, log_odds = stored_runs.scores()
    first = stored_runs.store(tmp_path / "a", labels, log_odds)
    other = stored_runs.store(tmp_path / "b", 1 - labels, log_odds)
    with pytest.raises(UserError, match="160 images of other classes"):
        comparison.compare_runs([first, other])


def test_figures_of_an_earlier_model_are_refused(tmp_path):
    labels, log_odds = stored_runs.scores()
    first = stored_runs.store(tmp_path / "a", labels, log_odds)
    other = stored_runs.store(tmp_path / "b", labels, -log_odds, model="before")
    (other / "model.keras").write_bytes(b"another one")
    for places in ([first, other], [first, other / "evaluation" / "test"]):
        with pytest.raises(UserError, match="figures of an earlier model"):
            comparison.compare_runs(places)


def test_what_is_no_run_or_too_few_is_refused(tmp_path, runs):
    (tmp_path / "empty").mkdir()
    for places, said in (
        ([runs[0]], "expected two runs or more"),
        ([], "got no run"),
        ([runs[0], runs[0]], "is given twice"),
        ([runs[0], tmp_path / "absent"], "no such run directory"),
        ([runs[0], tmp_path / "empty"], "is no run"),
    ):
        with pytest.raises(UserError, match=said):
            comparison.compare_runs(places)
    with pytest.raises(UserError, match="no such file"):
        comparison.compare_runs(runs, name="other")
    with pytest.raises(UserError, match="resamples"):
        comparison.compare_runs(runs, resamples=3)


def test_warnings_stand_with_the_runs_that_they_hold_for(tmp_path):
    labels, log_odds = stored_runs.scores()
    both, own = "both know this", "only one knows this"
    runs = [
        stored_runs.store(tmp_path / "a", labels, log_odds, warnings=(both,)),
        stored_runs.store(tmp_path / "b", labels, -log_odds, warnings=(both, own)),
    ]
    found = comparison.compare_runs(runs, resamples=200)
    assert found.warnings == (both, f"b: {own}")


def test_values_are_valid_json_and_name_the_tests(runs, tmp_path):
    found = comparison.compare_runs(runs, resamples=200)
    comparison_files.write(found, tmp_path / "out", formats=("png", "svg"))
    text = (tmp_path / "out" / "compare.json").read_text(encoding="utf-8")
    values = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert [run["name"] for run in values["runs"]] == ["a", "b", "c"]
    first = values["comparisons"][0]
    assert first["tests"]["auroc"]["test"] == "DeLong"
    assert first["tests"]["auroc"]["p_holm"] >= first["tests"]["auroc"]["p_value"]
    assert first["mcnemar"]["only_run"] > first["mcnemar"]["only_baseline"]
    assert values["runs"][0]["auroc"]["low"] < values["runs"][0]["auroc"]["value"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "compare.md",
        "compare.json",
        "compare_roc.png",
        "compare_roc.svg",
    }


def test_names_are_escaped_in_the_report(tmp_path):
    runs = [
        stored_runs.store(tmp_path / name, *stored_runs.scores(seed=seed))
        for seed, name in enumerate(("a|b*", "c_[d]"))
    ]
    report = comparison_files.render(comparison.compare_runs(runs, resamples=200), figure=None)
    assert r"a\|b\*" in report and r"c\_\[d\]" in report


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.31, "0.31"), (0.0312, "0.031"), (0.00021, "0.00021"), (1e-7, "<0.0001"), (None, "")],
)
def test_p_values_have_two_digits(value, text):
    assert comparison.p_text(value) == text
