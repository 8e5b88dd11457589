"""Figures per stratum of a set, the mean within strata, and the shortcut probe: from arrays.

A set in which one class was mostly imaged in one way (a view, a device, an age) rewards a model that
recognizes the way and not the class. The figures within strata do not; and the probe shows it: the AUROC
with which the score tells one stratum from another among images of one class.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np

from engine.base.config import UserError
from engine.metrics import bootstrap, curves, intervals
from engine.metrics.estimate import Estimate
from engine.metrics.estimator import Estimator
from engine.metrics.strata_results import METRICS, Probe, StrataResults, Stratum

MOST_NUMBERS = 8  # different numbers that are strata by themselves; more are divided into quartiles
MOST_STRATA = 50

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Column:
    """What a file says of each example in one column.

    Attributes:
        name: the column's.
        source: the file's name.
        values: N texts, in the order of the examples; '' is unknown.
        edges: limits between strata of a column of numbers; None: see `stratified`.
    """

    name: str
    source: str
    values: Sequence[str]
    edges: Sequence[float] | None = None


def measure(
    examples: bootstrap.Examples,
    column: Column,
    *,
    class_names: Sequence[str],
    resamples: int,
    seed: int,
) -> StrataResults:
    """Measures examples by the values of a column; those without one are counted only.

    Args:
        examples: N examples.
        column: of the same N.
        class_names: K names, in the order of the class indices.
        resamples, seed: as `engine.metrics.evaluation.evaluate`; two classes need none.

    Raises:
        UserError: see `stratified`.
    """
    names, strata = stratified(column.values, column=column.name, edges=column.edges)
    known = _chosen(examples, strata >= 0)
    strata = strata[strata >= 0]
    return StrataResults(
        column=column.name,
        source=column.source,
        strata=tuple(
            _stratum(name, _chosen(known, strata == k), class_names, resamples, seed)
            for k, name in enumerate(names)
        ),
        num_without=len(examples.labels) - len(known.labels),
        within=_within(known, strata),
        probes=_probes(known, strata, names, class_names),
    )


def stratified(
    values: Sequence[str], *, column: str, edges: Sequence[float] | None = None
) -> tuple[tuple[str, ...], Array]:
    """The strata of a column: their names, and int64[N], the stratum of each example, -1 for none.

    Without edges, a column of more than `MOST_NUMBERS` different numbers is divided at its quartiles, and
    every other value is a stratum of its own.

    Args:
        values: N texts; '' is unknown.
        column: its name, for messages.
        edges: ascending limits; each belongs to the stratum above it.

    Raises:
        UserError: there is no value, too many different ones, or one that is no number, with edges.
    """
    different = sorted({value for value in values if value})
    if not different:
        raise UserError(f"--strata: column {column} is empty for every image; choose another")
    numbers = {value: _number(value) for value in different}
    if edges is None and len(different) > MOST_NUMBERS and None not in numbers.values():
        found = np.array([numbers[value] for value in values if value], np.float64)
        edges = np.unique(np.quantile(found, [0.25, 0.5, 0.75], method="higher")).tolist()
    if edges is not None:
        return _binned(values, numbers, edges, column)
    if len(different) > MOST_STRATA:
        raise UserError(
            f"--strata: column {column} has {len(different):,} different values, such as "
            f"{different[0]!r}; expected at most {MOST_STRATA}, or numbers alone"
        )
    different.sort(key=lambda value: (math.inf if (n := numbers[value]) is None else n, value))
    places = {value: place for place, value in enumerate(different)}
    return tuple(different), np.array([places.get(value, -1) for value in values], np.int64)


def part(
    name: str,
    examples: bootstrap.Examples,
    chosen: Array,
    *,
    class_names: Sequence[str],
    resamples: int,
    seed: int,
) -> Stratum:
    """The figures of the examples of bool[N], at least one, under a name."""
    return _stratum(name, _chosen(examples, chosen), class_names, resamples, seed)


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _binned(
    values: Sequence[str], numbers: dict[str, float | None], edges: Sequence[float], column: str
) -> tuple[tuple[str, ...], Array]:
    """As `stratified`; strata that hold no example are left out."""
    wrong = [value for value, number in numbers.items() if number is None]
    if wrong:
        raise UserError(
            f"--strata: column {column} holds {wrong[0]!r}, which is no number; give limits for "
            "columns of numbers only"
        )
    limits = [f"{edge:g}" for edge in edges]
    names = [
        f"under {limits[0]}",
        *(f"{low} to under {high}" for low, high in itertools.pairwise(limits)),
        f"{limits[-1]} and over",
    ]
    bins = {value: int(np.searchsorted(edges, n, "right")) for value, n in numbers.items()}
    held = sorted(set(bins.values()))
    places = {value: held.index(place) for value, place in bins.items()}
    strata = np.array([places.get(value, -1) for value in values], np.int64)
    return tuple(names[place] for place in held), strata


def _chosen(examples: bootstrap.Examples, chosen: Array) -> bootstrap.Examples:
    """The examples of bool[N], their patients numbered from 0."""
    groups = np.unique(examples.groups[chosen], return_inverse=True)[1].reshape(-1)
    arrays = ("labels", "predicted", "probabilities", "ranked_by")
    kept = {name: getattr(examples, name)[chosen] for name in arrays}
    return dataclasses.replace(examples, groups=groups, **kept)


def _stratum(
    name: str, examples: bootstrap.Examples, class_names: Sequence[str], resamples: int, seed: int
) -> Stratum:
    estimator = Estimator(examples, resamples=resamples, seed=seed)
    counts = np.bincount(examples.labels, minlength=len(class_names))
    return Stratum(
        name=name,
        num_examples=len(examples.labels),
        num_patients=examples.num_groups,
        class_counts=dict(zip(class_names, counts.tolist(), strict=True)),
        metrics={metric: estimator.estimate(metric) for metric in METRICS},
    )


def _within(examples: bootstrap.Examples, strata: Array) -> Estimate:
    """AUROC within strata; of more than two classes, the mean over those for which it is defined."""
    ranked = [
        (examples.labels == label, examples.scores_of(place))
        for place, label in enumerate(examples.scored)
    ]
    areas = [curves.auroc_within(member, scores, strata) for member, scores in ranked]
    defined = [place for place, area in enumerate(areas) if area is not None]
    if not defined:
        return Estimate(None, reason="no stratum holds examples of both classes")
    value = float(np.mean([areas[place] for place in defined]))
    if examples.num_groups < 2:
        return Estimate(value, reason="an interval needs two patients or more")
    members, scores = zip(*(ranked[place] for place in defined), strict=True)
    return Estimate(value, *intervals.mean_area(members, scores, examples.groups, strata))


def _probes(
    examples: bootstrap.Examples, strata: Array, names: Sequence[str], class_names: Sequence[str]
) -> tuple[Probe, ...]:
    if len(names) < 2:
        return ()
    compared = [(0, names[1])] if len(names) == 2 else [(k, "the rest") for k in range(len(names))]
    probes = []
    for label, class_name in enumerate(class_names):
        of_class = examples.labels == label
        place = examples.scored.index(label) if len(examples.scored) > 1 else 0
        own, scores = _chosen(examples, of_class), examples.scores_of(place)[of_class]
        for stratum, against in compared:
            inside = strata[of_class] == stratum
            estimate = _told_apart(inside, scores, own.groups)
            probes.append(Probe(class_name, names[stratum], against, estimate))
    return tuple(probes)


def _told_apart(inside: Array, scores: Array, groups: Array) -> Estimate:
    value = curves.auroc(inside, scores) if len(inside) else None
    if value is None:
        return Estimate(None, reason="it needs images of the class in both")
    if groups.max() < 1:
        return Estimate(value, reason="an interval needs two patients or more")
    return Estimate(value, *intervals.area(inside, scores, groups))
