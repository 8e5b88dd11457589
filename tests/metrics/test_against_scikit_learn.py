"""Every metric that scikit-learn has too is equal to it, on random data of many shapes."""

import numpy as np
import pytest
from sklearn import calibration as reference_calibration
from sklearn import metrics as reference
from sklearn.linear_model import LogisticRegression

from engine.metrics import calibration, evaluation

ERROR = 1e-9


def draw(*, classes, count, decimals=None, rare=False, seed=0):
    """Labels int[N] with each class at least twice, and probabilities float[N, K], tied if rounded."""
    random = np.random.default_rng(seed)
    shares = np.full(classes, 1 / classes)
    if rare:
        shares = np.array([0.97] + [0.03 / (classes - 1)] * (classes - 1))
    labels = random.choice(classes, count, p=shares)
    labels[: 2 * classes] = np.arange(2 * classes) % classes
    logits = random.normal(size=(count, classes)) + 1.2 * np.eye(classes)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if decimals is not None:
        probabilities = probabilities.round(decimals) + 1e-3
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    return labels, probabilities


CASES = [
    pytest.param({"count": 200}, id="plain"),
    pytest.param({"count": 200, "decimals": 1}, id="tied"),
    pytest.param({"count": 300, "rare": True}, id="rare"),
    pytest.param({"count": 600, "decimals": 2, "rare": True, "seed": 3}, id="rare and tied"),
]


def of_one_class(labels, predicted, scores):
    """Metric -> scikit-learn's value, of bool[N], bool[N] and float[N]."""
    positive, negative = reference.class_likelihood_ratios(labels, predicted)
    return {
        "auroc": reference.roc_auc_score(labels, scores),
        "auroc_delong": reference.roc_auc_score(labels, scores),
        "auroc_bootstrap": reference.roc_auc_score(labels, scores),
        "average_precision": reference.average_precision_score(labels, scores),
        "sensitivity": reference.recall_score(labels, predicted),
        "specificity": reference.recall_score(labels, predicted, pos_label=0),
        "precision": reference.precision_score(labels, predicted),
        "ppv": reference.precision_score(labels, predicted),
        "npv": reference.precision_score(labels, predicted, pos_label=0),
        "recall": reference.recall_score(labels, predicted),
        "f1": reference.f1_score(labels, predicted),
        "likelihood_ratio_positive": positive,
        "likelihood_ratio_negative": negative,
    }


def assert_equal(found, expected, *, nothing_called=False):
    """An estimate per name; where scikit-learn gives a conventional number for what is undefined, None."""
    for name, value in expected.items():
        if np.isnan(value) or (found[name].value is None and nothing_called):
            assert found[name].value is None, name
        else:
            assert found[name].value == pytest.approx(value, abs=ERROR, rel=ERROR), name


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_two_classes(case):
    labels, both = draw(classes=2, **case)
    scores, threshold = both[:, 1], 0.45
    found = evaluation.evaluate(
        labels, scores, class_names=("no", "yes"), threshold=threshold, resamples=200
    )
    predicted = scores >= threshold
    share = labels.mean()
    expected = {
        **of_one_class(labels, predicted, scores),
        "loss": reference.log_loss(labels, scores),
        "accuracy": reference.accuracy_score(labels, predicted),
        "balanced_accuracy": reference.balanced_accuracy_score(labels, predicted),
        "mcc": reference.matthews_corrcoef(labels, predicted),
        "kappa": reference.cohen_kappa_score(labels, predicted),
        "brier": reference.brier_score_loss(labels, scores),
        "scaled_brier": 1
        - reference.brier_score_loss(labels, scores)
        / reference.brier_score_loss(labels, np.full(len(labels), share)),
    }
    assert_equal(found.metrics, expected)
    np.testing.assert_array_equal(found.confusion, reference.confusion_matrix(labels, predicted))


@pytest.mark.parametrize("classes", [3, 7])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_more_classes(case, classes):
    labels, probabilities = draw(classes=classes, **case)
    names = [f"class {k}" for k in range(classes)]
    found = evaluation.evaluate(labels, probabilities, class_names=names, resamples=200)
    predicted, members = probabilities.argmax(axis=1), np.eye(classes)[labels]
    for k, name in enumerate(names):
        called = predicted == k
        expected = of_one_class(labels == k, called, probabilities[:, k])
        assert_equal(found.per_class[name], expected, nothing_called=not called.any())
    both = {"y_true": labels, "y_pred": predicted, "zero_division": 0}
    ranked = {"y_true": labels, "y_score": probabilities, "multi_class": "ovr"}
    averages = {
        kind: {
            "precision": reference.precision_score(**both, average=kind),
            "recall": reference.recall_score(**both, average=kind),
            "f1": reference.f1_score(**both, average=kind),
            "auroc": reference.roc_auc_score(**ranked, average=kind),
        }
        for kind in ("macro", "weighted", "micro")
    }
    for kind in ("macro", "weighted"):
        averages[kind]["average_precision"] = reference.average_precision_score(
            members, probabilities, average=kind
        )
    assert_equal(found.averages["weighted"], averages["weighted"])
    assert_equal(found.averages["micro"], averages["micro"])
    shares = np.bincount(labels, minlength=classes) / len(labels)
    brier = ((probabilities - members) ** 2).sum(axis=1).mean()
    assert_equal(
        found.metrics,
        {
            **averages["macro"],
            "loss": reference.log_loss(labels, probabilities),
            "accuracy": reference.accuracy_score(labels, predicted),
            "balanced_accuracy": reference.balanced_accuracy_score(labels, predicted),
            "mcc": reference.matthews_corrcoef(labels, predicted),
            "kappa": reference.cohen_kappa_score(labels, predicted),
            "brier": brier,
            "scaled_brier": 1 - brier / ((shares - members) ** 2).sum(axis=1).mean(),
        },
    )


@pytest.mark.parametrize("predicted", [[0, 0, 0, 0], [1, 0, 1, 1], [0, 1, 1, 1]])
@pytest.mark.parametrize("labels", [[0, 0, 0, 1], [0, 0, 0, 0]])
def test_agreement_where_labels_or_predictions_are_all_alike(labels, predicted):
    scores = np.where(predicted, 0.9, 0.1)
    found = evaluation.evaluate(
        np.array(labels), scores, class_names=("no", "yes"), resamples=200
    ).metrics
    if labels == predicted:
        assert found["kappa"].value is found["mcc"].value is None
        return
    assert found["mcc"].value == pytest.approx(reference.matthews_corrcoef(labels, predicted))
    assert found["kappa"].value == pytest.approx(reference.cohen_kappa_score(labels, predicted))


@pytest.mark.parametrize("decimals", [None, 2])
def test_sensitivity_at_a_specificity_is_read_off_the_roc_curve(decimals):
    labels, both = draw(classes=2, count=300, decimals=decimals)
    rules = ("specificity=0.8", "specificity=1", "sensitivity=0.7", "sensitivity=1")
    found = evaluation.evaluate(
        labels, both[:, 1], class_names=("no", "yes"), resamples=200, rules=rules
    ).operating_points
    false, true, _ = reference.roc_curve(labels, both[:, 1], drop_intermediate=False)
    assert [point.rule for point in found] == list(rules)
    for point, target in zip(found, (0.8, 1, 0.7, 1), strict=True):
        if point.rule.startswith("specificity"):
            expected = true[1 - false >= target - ERROR].max()
            assert point.sensitivity.value == pytest.approx(expected, abs=ERROR)
            assert point.specificity.value >= target - ERROR
        else:
            expected = 1 - false[true >= target - ERROR].min()
            assert point.specificity.value == pytest.approx(expected, abs=ERROR)
            assert point.sensitivity.value >= target - ERROR
        called = both[:, 1] >= point.threshold
        assert point.sensitivity.value == pytest.approx(called[labels == 1].mean(), abs=ERROR)
        assert point.specificity.value == pytest.approx((~called)[labels == 0].mean(), abs=ERROR)


@pytest.mark.parametrize("decimals", [None, 1])
def test_calibration_errors_are_those_of_its_bins(decimals):
    labels, both = draw(classes=2, count=500, decimals=decimals)
    scores = both[:, 1]
    observed, predicted = reference_calibration.calibration_curve(
        labels, scores, n_bins=10, strategy="quantile"
    )
    edges = np.percentile(scores, np.linspace(0, 100, 11))
    counts = np.bincount(np.searchsorted(edges[1:-1], scores), minlength=10)
    counts = counts[counts > 0]
    expected = (np.abs(observed - predicted) * counts).sum() / 500
    assert calibration.equal_mass_error(labels, scores) == pytest.approx(expected, abs=ERROR)


@pytest.mark.parametrize("decimals", [None, 1])
def test_calibration_slope_and_intercept_are_its_logistic_regression(decimals):
    labels, both = draw(classes=2, count=400, decimals=decimals)
    scores = both[:, 1]
    found = evaluation.evaluate(labels, scores, class_names=("no", "yes"), resamples=200).metrics
    logits = np.log(scores / (1 - scores))[:, None]
    fitted = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000).fit(logits, labels)
    assert found["calibration_slope"].value == pytest.approx(fitted.coef_[0, 0], abs=1e-6)
    assert found["calibration_intercept"].value == pytest.approx(fitted.intercept_[0], abs=1e-6)
    # Of the intercept alone, the mean probability equals the share of positives.
    moved = 1 / (1 + np.exp(-logits[:, 0] - found["calibration_in_the_large"].value))
    assert moved.mean() == pytest.approx(labels.mean(), abs=ERROR)
