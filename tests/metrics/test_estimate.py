import pytest

from engine.metrics.estimate import Estimate, number_text, title


@pytest.mark.parametrize(
    ("estimate", "text", "interval"),
    [
        (Estimate(0.97314, 0.9612, 0.98344), "0.9731 (0.9612 to 0.9834)", "0.9612 to 0.9834"),
        (Estimate(1.0, 0.5, 1.0), "1.0000 (0.5000 to 1.0000)", "0.5000 to 1.0000"),
        (Estimate(0.98, reason="one patient"), "0.9800 (one patient)", "one patient"),
        (Estimate(None, reason="no example"), "undefined (no example)", "no example"),
        (Estimate(0.98), "0.9800", ""),
    ],
)
def test_an_estimate_has_one_text_and_comes_back_from_json(estimate, text, interval):
    assert str(estimate) == text
    assert estimate.interval_text == interval
    assert text.startswith(estimate.value_text)
    assert Estimate.from_json(estimate.to_json()) == estimate


def test_a_limit_that_is_missing_leaves_no_interval():
    assert not Estimate(0.5, 0.4, None).has_interval
    assert str(Estimate(0.5, 0.4, None)) == "0.5000"


def test_metrics_have_the_names_of_the_field():
    assert [title(name) for name in ("auroc", "f1", "accuracy")] == ["AUROC", "F1", "accuracy"]
    assert number_text(None) == "undefined"


@pytest.mark.parametrize("values", [{}, {"value": 0.5}, {"value": "x", "low": 0, "high": 1}])
def test_other_values_are_no_estimate(values):
    with pytest.raises((KeyError, ValueError)):
        Estimate.from_json(values)
