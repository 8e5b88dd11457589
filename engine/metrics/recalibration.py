"""What a number of labelled images of a new place would give: calibration and threshold fitted on them.

Many times over, patients are drawn until there are so many images; a slope and an intercept (Platt,
Probabilistic outputs for support vector machines, 1999) and the threshold are fitted on these, and the
rest of the images is measured, with what was fitted and as the run is. The model's ranking of images
does not change, and no figure is of an image that something was fitted on.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.base.config import UserError
from engine.base.wording import counted
from engine.metrics import bootstrap, calibration, predictions, temperature, thresholds
from engine.metrics.estimate import number_text, title

Array = np.ndarray

METRICS = ("accuracy", "balanced_accuracy", "brier", "expected_calibration_error", "loss")
FEWEST_LEFT = 20  # images to measure on
_DRAWS = 200
_PERCENTILES = (50, 5, 95)
_LARGEST_FITTED = 100.0  # log-odds beyond this are fitted as if they were this large


@dataclasses.dataclass(frozen=True)
class Spread:
    """A figure over the draws: its median, and the range from 5 to 95 %."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        """`0.9731 (0.9612 to 0.9834)`."""
        return f"{number_text(self.median)} ({number_text(self.low)} to {number_text(self.high)})"


@dataclasses.dataclass(frozen=True)
class Recalibration:
    """What so many labelled images would give.

    Attributes:
        num_images: how many are labelled, at least (a patient's come together).
        num_draws: how often they were drawn.
        one_class: the draws with one class alone, in which nothing can be fitted: they count as the
            run is.
        unchanged, recalibrated: metric -> its spread on the images that were not drawn.
        rule: that of the threshold; None where the largest probability decides.
    """

    num_images: int
    num_draws: int
    one_class: int
    unchanged: Mapping[str, Spread]
    recalibrated: Mapping[str, Spread]
    rule: str | None = None

    def rows(self) -> list[tuple[str, str, str]]:
        """A table of text, one row per metric: its name, as the run is, and recalibrated."""
        return [
            (title(name), str(spread), str(self.recalibrated[name]))
            for name, spread in self.unchanged.items()
        ]

    def heads(self) -> tuple[str, str, str]:
        """The heads of `rows`."""
        return "metric", "as it is", f"with {counted(self.num_images, 'image')}"

    def account(self) -> str:
        """A sentence on how the figures came about."""
        fitted = "slope and intercepts" if self.rule is None else "slope, intercept and threshold"
        fitted += f" ({self.rule})" if self.rule is not None else ""
        left_out = (
            f" {counted(self.one_class, 'draw')} had one class alone and changed nothing."
            if self.one_class
            else ""
        )
        return (
            f"What {counted(self.num_images, 'labelled image')} of this place would give: {fitted} "
            "fitted on them, measured on the rest; median and 5 to 95 % of "
            f"{self.num_draws} draws of patients.{left_out}"
        )

    def to_json(self) -> dict[str, Any]:
        """Its part of `metrics.json`."""
        return {
            "num_images": self.num_images,
            "num_draws": self.num_draws,
            "one_class": self.one_class,
            "rule": self.rule,
            "unchanged": {k: dataclasses.asdict(v) for k, v in self.unchanged.items()},
            "recalibrated": {k: dataclasses.asdict(v) for k, v in self.recalibrated.items()},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Recalibration":
        """The inverse of `to_json`.

        Raises:
            AttributeError, KeyError, TypeError, ValueError: the values are not those of one.
        """
        unchanged, recalibrated = (
            {
                name: Spread(*(float(values[kind][name][key]) for key in ("median", "low", "high")))
                for name in METRICS
            }
            for kind in ("unchanged", "recalibrated")
        )
        rule = values["rule"]
        return cls(
            num_images=int(values["num_images"]),
            num_draws=int(values["num_draws"]),
            one_class=int(values["one_class"]),
            unchanged=unchanged,
            recalibrated=recalibrated,
            rule=None if rule is None else str(rule),
        )


def simulate(
    labels: Array,
    log_odds: Array,
    patients: Sequence[str] | None = None,
    *,
    num_images: int,
    threshold: float | None,
    rule: str | None = None,
    draws: int = _DRAWS,
    seed: int = 0,
) -> Recalibration:
    """Draws labelled images many times, fits on them, and measures the rest.

    Args:
        labels: int[N].
        log_odds: float[N], or float[N, K] with more than two classes.
        patients: str[N]; None or '' makes an image a patient of its own.
        num_images: how many images are labelled.
        threshold: that of the run, on the probability of the positive class of two.
        rule: by which a threshold is chosen on the images drawn; `youden` where the run has none that
            can be used again.
        seed: the draws are a pure function of it.

    Raises:
        UserError: fewer than 20 images would be left.
    """
    labels, log_odds = np.asarray(labels, np.int64), np.asarray(log_odds, np.float64)
    check_number(num_images, num_examples=len(labels))
    usable_rule = _usable(rule) if log_odds.ndim == 1 else None
    groups = predictions.patient_groups(patients, len(labels))
    random = np.random.default_rng(seed)
    before, after, one_class = [], [], 0
    for _ in range(draws):
        drawn = _drawn(groups, num_images, random)
        rest = ~drawn
        if rest.sum() == 0:
            continue
        unchanged = _figures(labels[rest], log_odds[rest], threshold)
        before.append(unchanged)
        if len(np.unique(labels[drawn])) < 2:
            one_class += 1
            after.append(unchanged)
            continue
        fitted = fit(labels[drawn], log_odds[drawn])
        chosen = threshold
        if usable_rule is not None:
            given = predictions.probabilities(fitted.log_odds(log_odds[drawn]))
            chosen = _threshold(labels[drawn], given, usable_rule)
        after.append(_figures(labels[rest], fitted.log_odds(log_odds[rest]), chosen))
    if not before:
        raise UserError(
            f"--recalibrate {num_images}: its patients are all of the split's; expected fewer images"
        )
    return Recalibration(
        num_images,
        len(before),
        one_class,
        _spreads(before),
        _spreads(after),
        rule=None if usable_rule is None else str(usable_rule),
    )


def check_number(num_images: int, *, num_examples: int) -> None:
    """Raises `UserError` unless enough images are left to measure on."""
    if num_examples - num_images < FEWEST_LEFT:
        raise UserError(
            f"--recalibrate {num_images}: the split holds {counted(num_examples, 'image')}; expected "
            f"at most {max(0, num_examples - FEWEST_LEFT)}, to measure on {FEWEST_LEFT} or more"
        )


def _usable(rule: str | None) -> thresholds.ThresholdRule:
    """The rule itself, or `youden` for a threshold that came about in another way."""
    try:
        return thresholds.parse_threshold_rule(rule or "youden")
    except UserError:
        return thresholds.parse_threshold_rule("youden")


@dataclasses.dataclass(frozen=True)
class Fit:
    """Logits become `slope * logits + intercepts`: two columns for two classes, K for more."""

    slope: float
    intercepts: Array

    def log_odds(self, log_odds: Array) -> Array:
        """Recalibrated log-odds, of the same shape."""
        return predictions.log_odds(self.slope * _two_or_more(log_odds) + self.intercepts)


def fit(labels: Array, log_odds: Array) -> Fit:
    """Platt's fit of least cross-entropy against his smoothed labels; with K intercepts for K classes.

    The slope is not negative: the order of images is never reversed. (A fit on few images of a place
    where scores tell little would do that by chance.)

    Args:
        labels: int[N].
        log_odds: float[N], or float[N, K] with more than two classes.
    """
    from scipy import optimize, special

    logits = np.clip(_two_or_more(log_odds), -_LARGEST_FITTED, _LARGEST_FITTED)
    num_classes = logits.shape[1]
    targets = temperature.smoothed_targets(labels, num_classes)

    def loss_at(values: Array) -> tuple[float, Array]:
        """The mean cross-entropy, and its derivatives by the slope and the intercepts but the first."""
        shifted = values[0] * logits + np.concatenate([[0.0], values[1:]])
        logs = special.log_softmax(shifted, axis=1)
        wrong = (np.exp(logs) - targets) / len(labels)
        by_value = np.concatenate([[(wrong * logits).sum()], wrong.sum(axis=0)[1:]])
        return -float((targets * logs).sum() / len(labels)), by_value

    found = optimize.minimize(
        loss_at,
        np.concatenate([[1.0], np.zeros(num_classes - 1)]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] + [(None, None)] * (num_classes - 1),
    )
    return Fit(float(found.x[0]), np.concatenate([[0.0], found.x[1:]]))


def _threshold(labels: Array, given: Array, rule: thresholds.ThresholdRule) -> float:
    """The threshold on recalibrated probabilities that a rule leads to.

    Where these come true, accuracy is best at 0.5, and sensitivity + specificity at the share of
    positives. Both depend on the fit over all images instead of on the few near a cut: with 50 images of
    another series, balanced accuracy was at least 0.930 in 95 % of the draws, and 0.917 with the cut that
    was best on them.
    """
    if rule.name == "accuracy":
        return 0.5
    if rule.name == "youden":
        return float((labels.sum() + 1) / (len(labels) + 2))
    return thresholds.choose_threshold(labels, given, rule).threshold


def _two_or_more(log_odds: Array) -> Array:
    """Logits float64[N, K]; those of two classes are 0 and the log-odds."""
    logits = temperature.as_logits(log_odds)
    if logits.shape[1] > 1:
        return logits
    return np.concatenate([np.zeros_like(logits), logits], axis=1)


def _drawn(groups: Array, num_images: int, random: np.random.Generator) -> Array:
    """bool[N]: the images of patients in random order, until there are so many."""
    order = random.permutation(int(groups.max()) + 1)
    sizes = np.bincount(groups)[order]
    count = int(np.searchsorted(sizes.cumsum(), num_images)) + 1
    return np.isin(groups, order[:count])


def _figures(labels: Array, log_odds: Array, threshold: float | None) -> dict[str, float]:
    """Each of `METRICS`; classes that are absent are left out of balanced accuracy."""
    given = predictions.probabilities(log_odds)
    right = predictions.predict_labels(given, threshold) == labels
    return {
        "accuracy": float(right.mean()),
        "balanced_accuracy": float(np.mean([right[labels == k].mean() for k in np.unique(labels)])),
        "brier": float(bootstrap.squared_error(labels, given).mean()),
        "expected_calibration_error": calibration.calibration_error(labels, given),
        "loss": float(bootstrap.cross_entropy(labels, given).mean()),
    }


def _spreads(figures: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    """The spread of each metric over the draws."""
    spreads = {}
    for name in METRICS:
        values = np.array([each[name] for each in figures])
        found: Array = np.percentile(values, _PERCENTILES)
        spreads[name] = Spread(float(found[0]), float(found[1]), float(found[2]))
    return spreads
