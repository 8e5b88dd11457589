"""McNemar's test equals published tables, and differences are measured on the same draws."""

import itertools

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from engine.base.config import UserError
from engine.metrics import bootstrap, paired_tests


def right(only_a, only_b, both=7, none=5):
    """Whether each of two classifiers is right, of a table of pairs."""
    cells = [(True, True)] * both + [(True, False)] * only_a + [(False, True)] * only_b
    return np.array(cells + [(False, False)] * none).T


def examples(labels, probabilities, groups=None, threshold=0.5):
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, float)
    classes = 1 if probabilities.ndim == 1 else probabilities.shape[1]
    predicted = (
        (probabilities >= threshold).astype(np.int64)
        if classes == 1
        else probabilities.argmax(axis=1)
    )
    return bootstrap.Examples(
        labels=labels,
        predicted=predicted,
        probabilities=probabilities,
        ranked_by=probabilities,
        groups=np.arange(len(labels)) if groups is None else groups,
        scored=(1,) if classes == 1 else tuple(range(classes)),
    )


def drawn(labels, probabilities, resamples=200, seed=0, **settings):
    return paired_tests.Drawn(
        examples(labels, probabilities, **settings), resamples=resamples, seed=seed
    )


def noisy(seed=0, count=200):
    random = np.random.default_rng(seed)
    labels = (random.random(count) < 0.4).astype(np.int64)
    first, second = (
        1 / (1 + np.exp(-(2 * labels - 1 + noise * random.normal(size=count))))
        for noise in (2.0, 1.0)
    )
    return labels, first, second


@pytest.mark.parametrize(
    ("only_a", "only_b", "statistic", "p"),
    [
        # R's mcnemar.test, as statsmodels' own tests state it (stats/tests/test_nonparametric.py).
        (121, 59, 20.67222, 5.450095e-06),
        (70, 59, 0.7751938, 0.3786151),
        (80, 59, 2.87769784, 0.08981434),
        # R's output for 86 and 150 discordant pairs ("McNemar's Test in R", selva86.github.io).
        (86, 150, 16.818, 4.115e-05),
    ],
)
def test_the_corrected_statistic_is_the_published_one(only_a, only_b, statistic, p):
    found = paired_tests.mcnemar(*right(only_a, only_b))
    assert (found.only_a, found.only_b) == (only_a, only_b)
    assert found.statistic == pytest.approx(statistic, rel=2e-5)
    assert found.p_corrected == pytest.approx(p, rel=2e-4)


@pytest.mark.parametrize(
    ("only_a", "only_b"), [(0, 1), (1, 5), (6, 6), (40, 12), (300, 220), (0, 0)]
)
def test_of_independent_images_the_exact_test_is_the_binomial_one(only_a, only_b):
    found = paired_tests.mcnemar(*right(only_a, only_b))
    count = only_a + only_b
    expected = stats.binomtest(only_b, count).pvalue if count else 1.0
    assert found.p_value == pytest.approx(expected, rel=1e-9)


def test_of_patients_the_exact_test_adds_up_all_flips_of_signs():
    random = np.random.default_rng(1)
    groups = random.integers(0, 9, 40)
    right_a, right_b = random.random((2, 40)) < 0.6
    net = np.bincount(groups, right_b.astype(float) - right_a, 9)
    sums = [abs(np.dot(signs, net)) for signs in itertools.product((1, -1), repeat=9)]
    expected = np.mean(np.array(sums) >= abs(net.sum()) - 1e-9)
    assert paired_tests.mcnemar(right_a, right_b, groups=groups).p_value == pytest.approx(expected)


def test_copies_of_images_are_no_evidence():
    alone = paired_tests.mcnemar(*right(3, 12))
    copied = paired_tests.mcnemar(
        *np.repeat(right(3, 12), 4, axis=1), groups=np.repeat(np.arange(27), 4)
    )
    assert copied.p_value == pytest.approx(alone.p_value)
    assert (copied.only_a, copied.only_b) == (12, 48)


def test_if_neither_is_better_the_exact_test_rejects_seldom_enough():
    random = np.random.default_rng(2)
    groups = np.arange(90) // 3
    rejected = 0
    for _ in range(400):
        shared = random.random(30)[groups]  # images of a patient resemble one another
        right_a, right_b = (random.random(90) * 0.5 + shared * 0.5 < 0.6 for _ in range(2))
        rejected += paired_tests.mcnemar(right_a, right_b, groups=groups).p_value <= 0.05
    assert rejected / 400 <= 0.07


def test_holm_corrects_the_smallest_most_and_keeps_the_order():
    # Holm's procedure by hand: 4 x .005, 3 x .01, 2 x .03, and .04 raised to what came before.
    assert paired_tests.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert paired_tests.holm([0.7, 0.9]) == [1.0, 1.0]
    assert paired_tests.holm([0.2]) == [0.2]
    assert paired_tests.holm([]) == []


def test_differences_are_those_of_the_metrics_and_their_limits_enclose_them():
    labels, first, second = noisy()
    one, other = (drawn(labels, each, 400) for each in (first, second))
    for name in ("auroc", "accuracy", "f1", "sensitivity", "specificity", "brier", "loss"):
        found = paired_tests.difference(one, other, name)
        expected = float(other.measured.of(name)[0] - one.measured.of(name)[0])
        assert found.value == pytest.approx(expected)
        assert found.low < found.value < found.high
        assert (found.p_value < 0.05) == (not found.low <= 0 <= found.high)


def test_limits_are_those_of_the_same_draws_measured_one_by_one():
    labels, first, second = noisy(count=60)
    groups = np.arange(60) // 2
    one, other = (drawn(labels, each, 200, seed=3, groups=groups) for each in (first, second))
    random = np.random.default_rng(3)
    expected = []
    for patients in random.integers(30, size=(200, 30)):
        places = np.concatenate([np.flatnonzero(groups == patient) for patient in patients])
        areas = [reference.roc_auc_score(labels[places], each[places]) for each in (first, second)]
        expected.append(areas[1] - areas[0])
    found = paired_tests.difference(one, other, "auroc")
    assert (found.low, found.high) == pytest.approx(np.quantile(expected, [0.025, 0.975]))


def test_pairing_shortens_the_interval_of_scores_that_resemble_each_other():
    labels, first, _ = noisy(seed=3)
    second = np.clip(first + np.random.default_rng(4).normal(scale=0.05, size=200), 0, 1)
    one = drawn(labels, first)
    near = paired_tests.difference(one, drawn(labels, second), "auroc")
    unpaired = np.ptp(np.quantile(one.spread.of("auroc"), [0.025, 0.975])) * np.sqrt(2)
    assert near.high - near.low < 0.4 * unpaired


def test_the_same_seed_gives_the_same_limits():
    labels, first, second = noisy()
    found = [
        paired_tests.difference(
            drawn(labels, first, 100, seed), drawn(labels, second, 100, seed), "auroc"
        )
        for seed in (1, 1, 2)
    ]
    assert found[0] == found[1] != found[2]


def test_more_than_two_classes_have_macro_areas_and_those_of_a_class():
    random = np.random.default_rng(6)
    labels = random.integers(0, 3, 150)
    one, other = (
        np.exp(sharp * np.eye(3)[labels] + random.normal(size=(150, 3))) for sharp in (0.5, 2.0)
    )
    first, second = (drawn(labels, each / each.sum(axis=1, keepdims=True)) for each in (one, other))
    assert paired_tests.difference(first, second, "auroc").low > 0
    assert paired_tests.difference(first, second, "sensitivity", 2).value is not None


def test_what_never_differs_has_no_interval_and_says_so():
    labels, first, _ = noisy()
    one, other = drawn(labels, first), drawn(labels, first**2, threshold=0.25)
    found = paired_tests.difference(one, other, "auroc")
    assert (found.value, found.low, found.p_value) == (0.0, None, None)
    assert "do not differ" in found.reason
    assert paired_tests.difference(one, other, "brier").low is not None


def test_the_largest_difference_is_no_lack_of_one():
    labels = np.repeat([0, 1], 100)
    right = np.where(labels == 1, 0.9, 0.1)
    found = paired_tests.difference(drawn(labels, right), drawn(labels, 1 - right), "auroc")
    assert (found.value, found.low, found.high) == (-1.0, -1.0, -1.0)
    assert found.reason is None and 0 < found.p_value < 0.02


def test_undefined_metrics_and_other_examples_are_named():
    labels, first, second = noisy()
    absent = np.zeros(200, np.int64)
    undefined = paired_tests.difference(drawn(absent, first), drawn(absent, second), "auroc")
    assert undefined.value is None and "undefined" in undefined.reason
    for other in (drawn(1 - labels, second), drawn(labels[:9], second[:9])):
        with pytest.raises(UserError, match="same examples"):
            paired_tests.difference(drawn(labels, first), other, "auroc")
    with pytest.raises(UserError, match="same draws"):
        paired_tests.difference(drawn(labels, first), drawn(labels, second, seed=1), "auroc")
    with pytest.raises(UserError, match="shapes"):
        paired_tests.mcnemar(np.ones(3), np.ones(4))
