"""`python -m benchmarks.coverage_measures`: how often intervals of an evaluation contain the true value.

Scores of both classes are normally distributed, correlated within a patient, and probabilities are the true
ones, so that every measure is known. A classifier of each AUROC is measured repeatedly on new patients as
`engine.evaluate` measures it. Prints a Markdown table of the share of intervals that contain the truth.
"""

import dataclasses
import itertools
import math
import sys
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import special

from benchmarks import coverage_command
from engine.metrics import bootstrap, calibration, operating_points, predictive_values
from engine.metrics.estimate import Estimate
from engine.metrics.estimator import Estimator
from engine.metrics.thresholds import ThresholdRule

PROGRAM = "python -m benchmarks.coverage_measures"
Array = np.ndarray
AREAS = (0.85, 0.95, 0.99)
PATIENTS = (60, 270)
IMAGES = (1, 3)
CORRELATION = 0.6  # between the images of a patient, on the scale of the scores
POSITIVE = 0.6  # share of the patients
RARE = 0.05  # the share at which predictive values are given
FIXED = ThresholdRule("specificity", 0.9)
RESAMPLES = 200
METRICS = (
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "f1",
    "mcc",
    "kappa",
    "balanced_accuracy",
    "auroc",
    "auroc_delong",
    "auroc_bootstrap",
    "likelihood_ratio_positive",
    "likelihood_ratio_negative",
    "calibration_slope",
    "calibration_intercept",
    "calibration_in_the_large",
)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One measure in one simulated case.

    Attributes:
        area: the true AUROC.
        images: per patient.
        truth: the true value.
        held: the share of intervals that contain it, of those that are defined.
        defined: the share of repeats in which the measure has an interval.
    """

    metric: str
    area: float
    patients: int
    images: int
    truth: float
    held: float
    defined: float


def simulate(
    *,
    repeats: int,
    areas: Sequence[float] = AREAS,
    patients: Sequence[int] = PATIENTS,
    images: Sequence[int] = IMAGES,
    seed: int = 0,
) -> Iterator[Cell]:
    """Simulates each combination `repeats` times, and yields a cell for each measure."""
    for area, count, each in itertools.product(areas, patients, images):
        # Of its own seed, so that a part of the cases gives the same figures as all of them.
        random = np.random.default_rng([seed, round(area * 1e6), count, each])
        distance = math.sqrt(2) * float(special.ndtri(area))
        truths = _truths(distance)
        found: dict[str, list[bool]] = {name: [] for name in truths}
        for repeat in range(repeats):
            measured = _measured(random, count, each, distance, repeat)
            for name, estimate in measured.items():
                held = _holds(estimate, truths[name])
                found[name] += [] if held is None else [held]
        for name, outcomes in found.items():
            share = float(np.mean(outcomes)) if outcomes else float("nan")
            yield Cell(name, area, count, each, truths[name], share, len(outcomes) / repeats)


def _holds(estimate: Estimate, truth: float) -> bool | None:
    """Whether the interval holds the truth; None where there is none. A missing upper limit is infinite."""
    if estimate.low is None:
        return None
    return estimate.low <= truth <= (math.inf if estimate.high is None else estimate.high)


def _truths(distance: float) -> dict[str, float]:
    """The true values, where half the distance between the classes is the threshold."""
    rate = float(special.ndtr(distance / 2))
    true, false = POSITIVE * rate, (1 - POSITIVE) * (1 - rate)
    missed, right = POSITIVE - true, 1 - POSITIVE - false
    called = true + false
    chance = POSITIVE * called + (1 - POSITIVE) * (1 - called)
    area = float(special.ndtr(distance / math.sqrt(2)))
    covariance = true * right - false * missed
    return {
        "sensitivity": rate,
        "specificity": rate,
        "ppv": true / called,
        "npv": right / (1 - called),
        "f1": 2 * true / (POSITIVE + called),
        "mcc": covariance / math.sqrt(POSITIVE * (1 - POSITIVE) * called * (1 - called)),
        "kappa": (rate - chance) / (1 - chance),
        "balanced_accuracy": rate,
        "auroc": area,
        "auroc_delong": area,
        "auroc_bootstrap": area,
        "likelihood_ratio_positive": rate / (1 - rate),
        "likelihood_ratio_negative": (1 - rate) / rate,
        "calibration_slope": 1.0,
        "calibration_intercept": 0.0,
        "calibration_in_the_large": 0.0,
        f"PPV at a share of {RARE}": RARE * rate / (RARE * rate + (1 - RARE) * (1 - rate)),
        f"sensitivity at {FIXED}": float(special.ndtr(distance - special.ndtri(0.9))),
        "calibration figure, bin 0.5 to 0.6": _true_share(distance, 0.5, 0.6),
    }


def _true_share(distance: float, low: float, high: float) -> float:
    """The share of positives among images with probabilities between two limits."""
    bounds = (special.logit(np.array([low, high])) - _shift(distance)) / distance
    shares = []
    for weight, centre in ((POSITIVE, distance), (1 - POSITIVE, 0.0)):
        shares.append(weight * float(np.diff(special.ndtr(bounds - centre))[0]))
    return shares[0] / sum(shares)


def _shift(distance: float) -> float:
    """What is added to `distance * score` to give the log-odds."""
    return math.log(POSITIVE / (1 - POSITIVE)) - distance**2 / 2


def _measured(
    random: np.random.Generator, patients: int, images: int, distance: float, seed: int
) -> dict[str, Estimate]:
    """One draw of patients, measured."""
    labels_of = (np.arange(patients) < round(POSITIVE * patients)).astype(np.int64)
    labels: Array = np.repeat(labels_of, images)
    groups: Array = np.repeat(np.arange(patients), images)
    scores = (
        distance * labels
        + np.sqrt(CORRELATION) * random.standard_normal(patients)[groups]
        + np.sqrt(1 - CORRELATION) * random.standard_normal(len(labels))
    )
    log_odds = distance * scores + _shift(distance)
    examples = bootstrap.Examples(
        labels=labels,
        predicted=(scores >= distance / 2).astype(np.int64),
        probabilities=special.expit(log_odds),
        ranked_by=log_odds,
        groups=groups,
        scored=(1,),
    )
    estimator = Estimator(examples, resamples=RESAMPLES, seed=seed)
    found = {name: estimator.estimate(name) for name in METRICS}
    names = ("negative", "positive")
    (rare, *_) = (
        values
        for values in predictive_values.measure(examples, class_names=names)
        if values.prevalence == RARE
    )
    found[f"PPV at a share of {RARE}"] = rare.ppv
    (point,) = operating_points.measure(
        examples, [FIXED], class_names=names, resamples=RESAMPLES, seed=seed
    )
    found[f"sensitivity at {FIXED}"] = point.sensitivity
    bins = calibration.reliability_curve(labels, examples.probabilities, groups=groups)
    found["calibration figure, bin 0.5 to 0.6"] = (
        Estimate(float(bins.observed[5]), float(bins.low[5]), float(bins.high[5]))
        if bins.counts[5]
        else Estimate(None)
    )
    return found


def render(cells: Sequence[Cell]) -> str:
    """A table: one row per measure, one column per AUROC and number of patients; the lower one of the shares
    over images per patient."""
    columns = list(dict.fromkeys((cell.area, cell.patients) for cell in cells))
    lines = [
        "| share of intervals that hold the truth | "
        + " | ".join(f"AUROC {area:g}, {count} patients" for area, count in columns)
        + " |",
        "| --- |" + " ---: |" * len(columns),
    ]
    for metric in dict.fromkeys(cell.metric for cell in cells):
        shown = [
            f"{min(c.held for c in cells if (c.metric, c.area, c.patients) == (metric, *column)):.3f}"
            for column in columns
        ]
        lines.append(f"| {metric} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return coverage_command.main(
        argv,
        program=PROGRAM,
        description=__doc__.partition("\n")[0],
        repeats=500,
        simulate=simulate,
        render=render,
        resamples=RESAMPLES,
    )


if __name__ == "__main__":
    sys.exit(main())
