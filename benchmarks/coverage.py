"""`python -m benchmarks.coverage`: how often 95 % intervals of `engine.metrics` contain the true value.

Simulates classifiers whose AUROC, or proportion of correct answers, is known; measures each of them
repeatedly on new patients, and counts the share of intervals that contain the known value.
Prints a Markdown table of the lowest coverage for each true value, with the median interval.
"""

import dataclasses
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy import special

from benchmarks import coverage_command
from engine.metrics import intervals

PROGRAM = "python -m benchmarks.coverage"
TRUTHS = (0.85, 0.9, 0.95, 0.986, 0.998, 0.9999)
PATIENTS = (30, 60, 120, 270, 1000)
IMAGES = (1, 2, 3)
CORRELATION = 0.6  # between the images of a patient, on the scale of the scores
POSITIVE = 0.6  # share of the patients

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Cell:
    """One simulated case and the coverage of its intervals.

    Attributes:
        metric: `auroc`, `auroc, wrong labels`, `sensitivity`, `specificity` or `accuracy`.
        images: per patient; for proportions the maximum, as each patient has 1 or more.
        held: the share of intervals that contain `truth`.
        low, high: the median limits.
    """

    metric: str
    patients: int
    images: int
    truth: float
    held: float
    low: float
    high: float


def simulate(
    *,
    repeats: int,
    patients: Sequence[int] = PATIENTS,
    images: Sequence[int] = IMAGES,
    truths: Sequence[float] = TRUTHS,
    seed: int = 0,
) -> Iterator[Cell]:
    """Simulates every metric on every combination, `repeats` times each."""
    random = np.random.default_rng(seed)
    for (metric, draw), count, most, truth in itertools.product(
        METRICS.items(), patients, images, truths
    ):
        low, high = draw(random, repeats, count, most, truth)
        held = float(((low <= truth) & (truth <= high)).mean())
        yield Cell(metric, count, most, truth, held, float(np.median(low)), float(np.median(high)))


def _of_positives(random: Any, repeats: int, patients: int, images: int, truth: float) -> Any:
    return _proportions(random, repeats, round(POSITIVE * patients), images, truth)


def _of_negatives(random: Any, repeats: int, patients: int, images: int, truth: float) -> Any:
    return _proportions(random, repeats, patients - round(POSITIVE * patients), images, truth)


def _proportions(random: Any, repeats: int, patients: int, images: int, truth: float) -> Any:
    """Limits [R] of a proportion: an image is correct if its score is below the quantile of `truth`."""
    scores = _correlated(random, (repeats, patients, images))
    counts = random.integers(1, images + 1, (repeats, patients))
    there = np.arange(images) < counts[..., None]
    right = (scores < special.ndtri(truth)) & there
    return intervals.proportion(right.sum(axis=-1), counts.astype(float))


def _areas(random: Any, repeats: int, patients: int, images: int, truth: float) -> Any:
    """Limits [R] of an AUROC if the scores of both classes are normally distributed."""
    distance = np.sqrt(2) * special.ndtri(truth)
    return _areas_of(random, repeats, patients, images, lambda count: np.full(count, distance))


def _areas_of_wrong_labels(
    random: Any, repeats: int, patients: int, images: int, truth: float
) -> Any:
    """Limits [R] of an AUROC if a perfect classifier meets negatives that are labelled positive."""

    def distances(count: int) -> Array:
        return np.where(random.random(count) < 2 * (1 - truth), 0.0, 12.0)

    return _areas_of(random, repeats, patients, images, distances)


def _areas_of(
    random: Any, repeats: int, patients: int, images: int, distances: Callable[[int], Array]
) -> Any:
    """Limits [R] of an AUROC; `distances` shifts the scores of each positive patient."""
    positives = round(POSITIVE * patients)
    groups: Array = np.repeat(np.arange(patients), images)
    positive = groups < positives
    limits = []
    for _ in range(repeats):
        scores = _correlated(random, (patients, images))
        scores[:positives] += distances(positives)[:, None]
        limits.append(intervals.area(positive, scores.reshape(-1), groups))
    return np.array(limits).T


METRICS: dict[str, Callable[..., Any]] = {
    "auroc": _areas,
    "auroc, wrong labels": _areas_of_wrong_labels,
    "sensitivity": _of_positives,
    "specificity": _of_negatives,
    "accuracy": _proportions,
}


def _correlated(random: Any, shape: tuple[int, ...]) -> Array:
    """Standard normal scores [..., patients, images], correlated within a patient."""
    of_patient = random.standard_normal((*shape[:-1], 1))
    of_image = random.standard_normal(shape)
    return np.sqrt(CORRELATION) * of_patient + np.sqrt(1 - CORRELATION) * of_image


def render(cells: Sequence[Cell]) -> str:
    """A table: one row per metric and number of patients, one column per true value."""
    truths = sorted({cell.truth for cell in cells})
    lines = [
        "| lowest coverage over 1 to 3 images per patient (median interval) | patients | "
        + " | ".join(f"{truth:g}" for truth in truths)
        + " |",
        "| --- | ---: |" + " ---: |" * len(truths),
    ]
    for metric, patients in dict.fromkeys((cell.metric, cell.patients) for cell in cells):
        row = [cell for cell in cells if (cell.metric, cell.patients) == (metric, patients)]
        worst = [min((c for c in row if c.truth == t), key=lambda c: c.held) for t in truths]
        shown = [f"{cell.held:.3f} ({cell.low:.3f} to {cell.high:.3f})" for cell in worst]
        lines.append(f"| {metric} | {patients:,} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return coverage_command.main(
        argv,
        program=PROGRAM,
        description=__doc__.partition("\n")[0],
        repeats=2000,
        simulate=simulate,
        render=render,
    )


if __name__ == "__main__":
    sys.exit(main())
