"""The solved head against scikit-learn's, and what holds for it whatever the features are."""

import numpy as np
import pytest
from scipy import special

from engine.training import head_solver


def examples(images, features, classes, seed=0, noise=2.0):
    """Features of different means and sizes, labels that depend on them, and groups of two."""
    rng = np.random.default_rng(seed)
    standard = rng.normal(size=(images, features))
    scores = standard @ rng.normal(size=(features, classes)) + noise * rng.gumbel(
        size=(images, classes)
    )
    sizes, means = rng.uniform(0.01, 30, features), rng.normal(size=features) * 10
    return (standard * sizes + means), scores.argmax(axis=1), np.arange(images) // 2


def balanced(labels):
    counts = np.bincount(labels)
    return len(labels) / (len(counts) * counts)


@pytest.mark.parametrize(
    ("images", "features", "classes", "units"),
    [(200, 12, 2, 1), (200, 12, 4, 4), (60, 150, 2, 1), (60, 150, 3, 3)],
)
def test_it_is_the_logistic_regression_of_scikit_learn(images, features, classes, units):
    linear_model = pytest.importorskip("sklearn.linear_model")
    found, labels, groups = examples(images, features, classes)
    weights, strength = balanced(labels), 0.02
    solution = head_solver.solve(
        found, labels, groups, weights=weights, units=units, strengths=(strength,)
    )
    mean, scale = found.mean(axis=0), found.std(axis=0)
    expected = linear_model.LogisticRegression(
        C=1 / (images * strength), tol=1e-10, max_iter=10_000
    ).fit((found - mean) / scale, labels, sample_weight=weights[labels])
    np.testing.assert_allclose(solution.kernel * scale[:, None], expected.coef_.T, atol=1e-4)
    logits = expected.decision_function((found - mean) / scale)
    own = found @ solution.kernel + solution.bias
    if units == 1:
        np.testing.assert_allclose(own[:, 0], logits, atol=1e-4)
    else:
        np.testing.assert_allclose(
            special.softmax(own, axis=1), special.softmax(logits, axis=1), atol=1e-4
        )


@pytest.mark.parametrize(("classes", "units"), [(2, 1), (2, 2), (3, 3)])
def test_loss_and_accuracy_are_those_of_the_kernel_and_bias(classes, units):
    features, labels, groups = examples(120, 8, classes)
    weights = balanced(labels)
    solution = head_solver.solve(features, labels, groups, weights=weights, units=units)
    logits = features @ solution.kernel + solution.bias
    if units == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    losses = -special.log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
    assert solution.loss == pytest.approx(np.mean(weights[labels] * losses))
    assert solution.accuracy == np.mean(logits.argmax(axis=1) == labels)


def test_units_and_origin_of_the_features_do_not_matter():
    features, labels, groups = examples(120, 8, 2)
    moved = features * 1000 - 5
    one, other = (
        head_solver.solve(taken, labels, groups, weights=np.ones(2), units=1)
        for taken in (features, moved)
    )
    assert one.strength == other.strength
    np.testing.assert_allclose(
        features @ one.kernel + one.bias, moved @ other.kernel + other.bias, atol=1e-4
    )


def test_separable_classes_and_constant_features_give_finite_weights():
    features, labels, groups = examples(80, 100, 2)
    features[:, 0] = 7.0
    features[:, 1] = 0.0
    solution = head_solver.solve(
        features, labels, groups, weights=np.ones(2), units=1, strengths=(1e-6,)
    )
    assert solution.accuracy == 1
    assert np.isfinite(solution.kernel).all()
    np.testing.assert_allclose(solution.kernel[:2], 0, atol=1e-9)


def test_a_class_without_images_is_not_expected():
    features, labels, groups = examples(60, 5, 2)
    solution = head_solver.solve(features, labels, groups, weights=np.ones(3), units=3)
    logits = features @ solution.kernel + solution.bias
    assert np.isfinite(logits).all()
    assert special.softmax(logits, axis=1)[:, 2].max() < 0.01


def test_noise_is_penalized_more_than_a_clear_relation():
    features, labels, groups = examples(200, 30, 2, noise=0.1)
    noise = np.random.default_rng(1).integers(0, 2, 200)
    clear, random = (
        head_solver.solve(features, one, groups, weights=np.ones(2), units=1).strength
        for one in (labels, noise)
    )
    assert random == max(head_solver.STRENGTHS)
    assert clear < random


def test_the_strength_does_not_profit_from_knowing_patients():
    # Each patient has a feature pattern of their own and a label by chance: nothing carries over.
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(20), 10)
    features = rng.normal(size=(20, 40))[patients] + 0.05 * rng.normal(size=(200, 40))
    labels = np.arange(20)[patients] % 2
    by_patient, by_image = (
        head_solver.solve(features, labels, groups, weights=np.ones(2), units=1).strength
        for groups in (patients, np.arange(200))
    )
    assert by_patient == max(head_solver.STRENGTHS)
    assert by_image < by_patient


def test_folds_keep_groups_together_and_share_out_classes():
    labels, groups = np.repeat([0, 1], [30, 70]), np.arange(100) // 2
    folds = head_solver._folds(labels, groups, 5)
    assert all(len(set(folds[groups == group])) == 1 for group in groups)
    for label in (0, 1):
        counts = np.bincount(folds[labels == label], minlength=5)
        assert counts.max() - counts.min() <= 2


def test_one_group_leaves_nothing_to_compare_strengths_with():
    features, labels, _ = examples(40, 5, 2)
    solution = head_solver.solve(features, labels, np.zeros(40), weights=np.ones(2), units=1)
    assert solution.strength == 0.01
