"""The decision curve: what acting on a model is worth, by how many false calls one true one is worth.

    net benefit(t) = TP / n - FP / n * t / (1 - t)

for calling positive where the probability is t or more (Vickers and Elkin, Decision curve analysis: a novel
method for evaluating prediction models, 2006). A threshold of 0.1 says that to find one case, nine false
alarms are acceptable. The model helps where it is worth more than both calling all and calling none (0).
Probabilities must come true for this, at the share of the class among the examples or at one that is given.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.metrics import bootstrap, intervals

Array = np.ndarray

THRESHOLDS = np.arange(1, 100) / 100
_VALUES, _LIMITS = ("thresholds", "net_benefit", "treat_all"), ("low", "high", "gain_low")
MOST_CLASSES = 20  # of a data set; of more, no curves are measured


@dataclasses.dataclass(frozen=True)
class DecisionCurve:
    """The net benefit of calling one class, by the threshold on its probability.

    Attributes:
        class_name: the class.
        prevalence: its share, for which the benefit holds.
        thresholds: T of them, 0.01 to 0.99.
        net_benefit: T values.
        treat_all: T values, of calling every example; calling none is worth 0.
        low, high: T limits of the net benefit, 95 % percentiles over resamples of patients; None where
            there is one patient alone.
        gain_low: T lower limits of what the model is worth beyond the better one of calling all and
            calling none, in the same resamples; None as these.
    """

    class_name: str
    prevalence: float
    thresholds: tuple[float, ...]
    net_benefit: tuple[float, ...]
    treat_all: tuple[float, ...]
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None
    gain_low: tuple[float, ...] | None = None

    def useful(self) -> list[tuple[float, float]]:
        """The ranges of thresholds in which the model is worth more than calling all and calling none, beyond
        chance."""
        if self.gain_low is None:
            return []
        better = np.array(self.gain_low) > 0
        edges = np.flatnonzero(np.diff(np.concatenate([[0], better.astype(np.int8), [0]])))
        ends = zip(edges[::2], edges[1::2], strict=True)
        return [(self.thresholds[start], self.thresholds[end - 1]) for start, end in ends]

    def useful_text(self) -> str:
        """`worth more than calling all or none at thresholds of 0.03 to 0.97`."""
        ranges = ", ".join(
            f"{low:.2f}" if low == high else f"{low:.2f} to {high:.2f}"
            for low, high in self.useful()
        )
        return (
            f"worth more than calling all or none at thresholds of {ranges}"
            if ranges
            else "not worth more, beyond chance, than calling all or none at any threshold"
        )

    def to_json(self) -> dict[str, Any]:
        """Its part of `metrics.json`."""
        columns = {name: getattr(self, name) for name in (*_VALUES, *_LIMITS)}
        return {
            "class": self.class_name,
            "prevalence": self.prevalence,
            **{name: None if found is None else list(found) for name, found in columns.items()},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "DecisionCurve":
        """The inverse of `to_json`.

        Raises:
            KeyError, TypeError, ValueError: the values are not those of a curve.
        """
        columns = {name: tuple(float(v) for v in values[name]) for name in _VALUES}
        limits: dict[str, Any] = {
            name: None if values[name] is None else tuple(float(v) for v in values[name])
            for name in _LIMITS
        }
        found = [*columns.values(), *(limit for limit in limits.values() if limit is not None)]
        if len({len(column) for column in found}) > 1:
            raise ValueError("the columns of a decision curve must be of one length")
        name, share = str(values["class"]), float(values["prevalence"])
        return cls(name, share, **columns, **limits)


def measure(
    examples: bootstrap.Examples,
    *,
    class_names: Sequence[str],
    resamples: int,
    seed: int,
    prevalence: Sequence[float] | None = None,
) -> tuple[DecisionCurve, ...]:
    """The curve of the positive class of two, or of each of more, against the others.

    Classes that no example is of, or every one, have none. At a prevalence no class has one where a class
    that has a share there has no example: nothing says what the model makes of its images.

    Args:
        prevalence: the share of each class for which the benefit is given; None: that of the examples.
        resamples, seed: of the bootstrap behind the limits.
    """
    if len(class_names) > MOST_CLASSES or _lacks_a_class(examples.labels, prevalence):
        return ()
    found = [
        _Counts.of(examples, place, label, prevalence)
        for place, label in enumerate(examples.scored)
        if 0 < (examples.labels == label).sum() < len(examples.labels)
    ]
    drawn: list[list[tuple[Array, Array, Array]]] = [[] for _ in found]
    if examples.num_groups > 1:
        for block in bootstrap.draws(examples.num_groups, resamples=resamples, seed=seed):
            for parts, counts in zip(drawn, found, strict=True):
                parts.append(counts.net_benefit(block))
    every = np.ones((1, examples.num_groups))
    curves = []
    for parts, counts in zip(drawn, found, strict=True):
        benefit, treat_all, share = (values[0] for values in counts.net_benefit(every))
        limits: dict[str, tuple[float, ...]] = {}
        if parts:
            resampled, of_all, _ = (np.concatenate(each) for each in zip(*parts, strict=True))
            low, high = intervals.percentiles_of_columns(resampled)
            gain_low, _ = intervals.percentiles_of_columns(resampled - np.maximum(of_all, 0))
            limits = {
                name: tuple(found.tolist())
                for name, found in zip(_LIMITS, (low, high, gain_low), strict=True)
            }
        curves.append(
            DecisionCurve(
                class_names[counts.label],
                float(share),
                thresholds=tuple(THRESHOLDS.tolist()),
                net_benefit=tuple(benefit.tolist()),
                treat_all=tuple(treat_all.tolist()),
                **limits,
            )
        )
    return tuple(curves)


@dataclasses.dataclass(frozen=True)
class _Counts:
    """Sums by patient, for one class against the others.

    Attributes:
        hits, alarms: float[G, T], called positive at each threshold: of the class, and of the others, these
            weighted by the share of each.
        members, others: float[G], all of the class, and of the others, weighted alike.
        total: float[G], examples.
        share: that of the class, if one is given.
    """

    label: int
    hits: Array
    alarms: Array
    members: Array
    others: Array
    total: Array
    share: float | None

    @classmethod
    def of(
        cls,
        examples: bootstrap.Examples,
        place: int,
        label: int,
        prevalence: Sequence[float] | None,
    ) -> "_Counts":
        given = examples.probabilities
        scores = given if given.ndim == 1 else given[:, place]
        member = examples.labels == label
        weights = _weights(examples.labels, prevalence) * ~member
        groups, size = examples.groups, examples.num_groups
        # The number of thresholds that an example reaches; it is called at those before.
        reached: Any = np.searchsorted(THRESHOLDS, scores, "right")
        return cls(
            label=label,
            hits=_called(groups, reached, member.astype(float), size),
            alarms=_called(groups, reached, weights, size),
            members=np.bincount(groups, member, size),
            others=np.bincount(groups, weights, size),
            total=np.bincount(groups, minlength=size).astype(float),
            share=None if prevalence is None else float(prevalence[label]),
        )

    def net_benefit(self, drawn: Array) -> tuple[Array, Array, Array]:
        """Of patients drawn float[R, G]: float[R, T], that of calling all [R, T], and the class's share [R]."""
        members, others = drawn @ self.members, drawn @ self.others
        share = (
            members / (drawn @ self.total)
            if self.share is None
            else np.full(len(drawn), self.share)
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            found = np.where(members > 0, share / members, 0.0)[:, None] * (drawn @ self.hits)
            lost = np.where(others > 0, (1 - share) / others, 0.0)[:, None] * (drawn @ self.alarms)
        treat_all = share[:, None] - (1 - share)[:, None] * _odds()
        return found - lost * _odds(), treat_all, share


def _lacks_a_class(labels: Array, prevalence: Sequence[float] | None) -> bool:
    """Whether a class that has a share at the prevalence has no example."""
    if prevalence is None:
        return False
    counts = np.bincount(labels, minlength=len(prevalence))
    return bool(np.any((counts == 0) & (np.asarray(prevalence) > 0)))


def _weights(labels: Array, prevalence: Sequence[float] | None) -> Array:
    """float[N]: what an example of its class stands for at a prevalence; 1 without one."""
    if prevalence is None:
        return np.ones(len(labels))
    counts = np.bincount(labels, minlength=len(prevalence))
    return (np.asarray(prevalence) / np.maximum(counts, 1))[labels] * len(labels)


def _called(groups: Array, reached: Array, weights: Array, size: int) -> Array:
    """float[G, T]: the weight of the examples of each patient that reach each threshold."""
    found: Array = np.zeros((size, len(THRESHOLDS) + 1))
    np.add.at(found, (groups, reached), weights)
    return found[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]


def _odds() -> Array:
    return THRESHOLDS / (1 - THRESHOLDS)
