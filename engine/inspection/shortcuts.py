"""What a network could use instead of the disease: single measures that separate classes or splits.

Each measure of an image (its width, its brightness, ...) is taken as a score by itself. Its AUROC is the
chance that an image of one class has more of it than an image of the others: 0.5 where it carries no
information, 1 where it separates them completely. Classes are compared within splits and splits within
classes, so that a rare class that is rarer still in one split is not mistaken for a shift. Intervals are over
patients (`engine.metrics.intervals.area`), 95 % each; of twenty measures without information, one is expected
to exclude 0.5.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from engine.inspection.image_table import CATEGORIES, FILE_MEASURES, ImageTable
from engine.metrics import curves, intervals
from engine.metrics.estimate import Estimate

FEWEST = 5  # images on either side
MOST_CLASSES = 40  # that are each compared with the rest, the most frequent ones
MOST_VALUES = 8  # of a category that are compared, the most frequent ones
NOTABLE = 0.65  # an AUROC whose interval lies above it is warned of

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Probe:
    """How well one measure separates a class, or a split, from the others.

    Attributes:
        measure: among `MEASURES`, or as `format is PNG`.
        subject: the class or the split.
        is_higher: whether the subject has more of it than the others; of equal shares, True.
        auroc: at least 0.5, as the direction is not known beforehand; the interval may reach below.
        counts: images of the subject, and of the others, of which the measure is known.
        is_of_file: whether it is a property of the file rather than of the pixels.
    """

    measure: str
    subject: str
    is_higher: bool
    auroc: Estimate
    counts: tuple[int, int]
    is_of_file: bool

    @property
    def is_notable(self) -> bool:
        """Whether it separates so well that a network is likely to use it."""
        return (self.auroc.low or 0) >= NOTABLE

    def to_json(self) -> dict[str, Any]:
        """The probe as JSON values."""
        return {**dataclasses.asdict(self), "auroc": self.auroc.to_json()}


def between_classes(table: ImageTable) -> tuple[Probe, ...]:
    """Every measure as a classifier, the strongest first; of two classes once, of more each against the rest."""
    measured = list(scores(table))
    return _ranked(
        probe
        for k in compared_classes(table)
        for probe in _probes(
            table, measured, table.labels == k, table.class_names[k], strata=table.split_labels
        )
    )


def between_splits(table: ImageTable) -> tuple[Probe, ...]:
    """As `between_classes`, of splits; images of one class are compared."""
    names = table.splits
    if len(names) < 2:
        return ()
    measured = list(scores(table))
    subjects = range(1, 2) if len(names) == 2 else range(len(names))
    return _ranked(
        probe
        for k in subjects
        for probe in _probes(
            table, measured, table.split_labels == k, names[k], strata=table.labels
        )
    )


def constant_measures(table: ImageTable) -> tuple[str, ...]:
    """What is the same for all images of which it is known, as `width 224`."""
    found = []
    for name, values in table.measures.items():
        known = values[~np.isnan(values)]
        if len(known) and known.min() == known.max():
            found.append(f"{name} {known[0]:,.4g}")
    for name in CATEGORIES:
        values_present = {value for value in table.categories(name) if value}
        if len(values_present) == 1:
            found.append(f"{name} {values_present.pop()}")
    return tuple(found)


def compared_classes(table: ImageTable) -> list[int]:
    """The classes that are compared with the rest: of two the second, of one none."""
    counts = np.bincount(table.labels)
    present = [int(k) for k in np.flatnonzero(counts)]
    if len(present) <= 2:
        return present[1:]
    return sorted(sorted(present, key=lambda k: (-counts[k], k))[:MOST_CLASSES])


def _ranked(probes: Iterator[Probe]) -> tuple[Probe, ...]:
    """Those whose intervals lie farthest from 0.5 first."""
    return tuple(
        sorted(
            probes, key=lambda one: (-(one.auroc.low or 0), -(one.auroc.value or 0), one.measure)
        )
    )


def _probes(
    table: ImageTable,
    measured: Sequence[tuple[str, Array, bool]],
    positive: Array,
    subject: str,
    *,
    strata: Array,
) -> Iterator[Probe]:
    for name, values, is_of_file in measured:
        known = ~np.isnan(values)
        probe = _probe(positive[known], values[known], table.groups[known], strata[known])
        if probe is not None:
            value, low, high = probe
            is_higher = value >= 0.5
            if not is_higher:
                value, low, high = 1 - value, 1 - high, 1 - low
            counts = int((positive & known).sum()), int((~positive & known).sum())
            yield Probe(name, subject, is_higher, Estimate(value, low, high), counts, is_of_file)


def scores(table: ImageTable) -> Iterator[tuple[str, Array, bool]]:
    """Name, float64[N] and whether it is of the file, of each measure that is not the same for all images."""
    for name, values in table.measures.items():
        known = values[~np.isnan(values)]
        if len(known) and known.min() < known.max():
            yield name, values, name in FILE_MEASURES
    for name in CATEGORIES:
        texts = table.categories(name)
        counts = Counter(text for text in texts if text)
        if len(counts) < 2:
            continue
        # Of two values, either gives the same AUROC.
        chosen = sorted(counts, key=lambda value: (-counts[value], value))[:MOST_VALUES]
        for value in chosen[1:] if len(counts) == 2 else chosen:
            shown = value if value.startswith(name) or name in value else f"{name} is {value}"
            scores = [np.nan if not text else float(text == value) for text in texts]
            yield shown, np.array(scores), True


def _probe(
    positive: Array, scores: Array, groups: Array, strata: Array
) -> tuple[float, float, float] | None:
    """AUROC and its interval; None where too few images can be compared."""
    usable = _strata_with_both(positive, strata)
    positive, scores, groups, strata = (
        array[usable] for array in (positive, scores, groups, strata)
    )
    if min(positive.sum(), (~positive).sum()) < FEWEST:
        return None
    value = curves.auroc_within(positive, scores, strata)
    if value is None:
        return None
    _, own_groups = np.unique(groups, return_inverse=True)
    low, high = intervals.area(positive, scores, own_groups.reshape(-1), strata)
    return value, low, high


def _strata_with_both(positive: Array, strata: Array) -> Array:
    """bool[N]: the examples of strata that hold positives and negatives."""
    usable: Array = np.zeros(len(positive), bool)
    for stratum in np.unique(strata):
        own = strata == stratum
        usable[own] = 0 < positive[own].sum() < own.sum()
    return usable


def notable(probes: Sequence[Probe]) -> list[Probe]:
    """Those to warn of."""
    return [probe for probe in probes if probe.is_notable]
