"""How a model does on the same images under changed exposure, contrast, framing and sharpness."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from engine.metrics.estimate import number_text, title

UNCHANGED = "none"  # the shift that leaves images as they are


@dataclasses.dataclass(frozen=True)
class ShiftResults:
    """Point estimates of one split under each shift; see `engine.evaluation.shifts`.

    Attributes:
        values: shift -> metric -> value; None where the metric is undefined. Every shift has the
            same metrics: `auroc`, `accuracy`, and for two classes `sensitivity` and `specificity`.
    """

    values: Mapping[str, Mapping[str, float | None]]

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the metrics that were measured."""
        return tuple(next(iter(self.values.values()), {}))

    @property
    def num_shifts(self) -> int:
        """How many shifts change the images."""
        return len(self.values.keys() - {UNCHANGED})

    def rows(self) -> list[tuple[str, ...]]:
        """A table of text, one row per shift: its name, then each of `metrics`."""
        return [
            (shift, *(number_text(values[metric]) for metric in self.metrics))
            for shift, values in self.values.items()
        ]

    def lowest(self) -> dict[str, tuple[str, float]]:
        """Metric -> (shift, value) where it is lowest; `none` and undefined values do not count."""
        changed = {name: values for name, values in self.values.items() if name != UNCHANGED}
        found = {}
        for metric in self.metrics:
            known = {
                name: value
                for name, values in changed.items()
                if (value := values[metric]) is not None
            }
            if known:
                name = min(known, key=lambda shift: known[shift])
                found[metric] = (name, known[name])
        return found

    def lowest_text(self) -> str:
        """`AUROC 0.9012 (noisy), accuracy 0.8734 (blurred), ...`."""
        return ", ".join(
            f"{title(metric)} {number_text(value)} ({shift})"
            for metric, (shift, value) in self.lowest().items()
        )

    def to_json(self) -> dict[str, dict[str, float | None]]:
        """The contents of `shifts.json`."""
        return {shift: dict(values) for shift, values in self.values.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ShiftResults":
        """The inverse of `to_json`.

        Raises:
            AttributeError, TypeError, ValueError: the values are not those of `shifts.json`.
        """
        found = {
            str(shift): {str(k): None if v is None else float(v) for k, v in metrics.items()}
            for shift, metrics in values.items()
        }
        if len({tuple(metrics) for metrics in found.values()}) > 1:
            raise ValueError("every shift must have the same metrics")
        return cls(found)
