"""What an evaluation is of: the data, the model and what a reader must know of both."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from engine.metrics.temperature import Calibration

_MOST_DEVIATION = (
    0.1  # of a share, or of what is left to 1, within which another one counts as the same
)


@dataclasses.dataclass(frozen=True)
class Subject:
    """What was measured: without it, results cannot be distinguished from those of another model or data set.

    Attributes:
        name: the directory of the results in `RUN/evaluation`.
        shards: the path of the data set, as it was given.
        fingerprint: over the source images; see `engine.shards.data_identity`.
        identity: over the shards and how they were split.
        model: see `RunDirectory.model_digest`.
        threshold_rule: the rule by which the threshold was chosen on validation; None if it was not.
        warnings: what a reader of the figures must know.
        classes: class of the data set -> class of the run, where they were mapped.
        held_out_by: the rule by which the examples were held out when the shards were built; None of a
            random split.
        held_out_shared: which side then kept the patients that both had, `held-out` or `train`; None
            where that is not known.
        left_out: class of the data set -> its images, which were left out.
        calibration: how the model's log-odds were calibrated; None where they were not.
        prevalence: the share of each class that the probabilities were given for; None where it is
            that which training implied.
        averaged: the runs whose average was measured, where it is not the run of the directory alone.
    """

    name: str
    split: str
    shards: str
    fingerprint: str
    identity: str
    model: str | None
    threshold_rule: str | None = None
    warnings: tuple[str, ...] = ()
    classes: Mapping[str, str] | None = None
    held_out_by: str | None = None
    held_out_shared: str | None = None
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)
    calibration: Calibration | None = None
    prevalence: tuple[float, ...] | None = None
    averaged: tuple[str, ...] = ()
    prevalence_estimated: bool = False
    flip_average: bool = False

    def changed_classes(self, class_names: Sequence[str]) -> list[str]:
        """Classes of the data set that bear a name of the run's, and were left out or taken for another.

        Args:
            class_names: the run's.
        """
        mapped = self.classes or {}
        found = [*mapped, *self.left_out]
        return [name for name in found if name in class_names and mapped.get(name) != name]

    def to_json(self) -> dict[str, Any]:
        """Its part of `metrics.json`."""
        return {
            "name": self.name,
            "split": self.split,
            "data": {
                "shards": self.shards,
                "fingerprint": self.fingerprint,
                "identity": self.identity,
            },
            "model": self.model,
            "threshold_rule": self.threshold_rule,
            "warnings": list(self.warnings),
            **({"classes": dict(self.classes)} if self.classes is not None else {}),
            **({"held_out_by": self.held_out_by} if self.held_out_by else {}),
            **({"held_out_shared": self.held_out_shared} if self.held_out_shared else {}),
            **({"left_out": dict(self.left_out)} if self.left_out else {}),
            **({"calibration": self.calibration.to_json()} if self.calibration else {}),
            **({"prevalence": list(self.prevalence)} if self.prevalence else {}),
            **({"averaged": list(self.averaged)} if self.averaged else {}),
            **({"prevalence_estimated": True} if self.prevalence_estimated else {}),
            **({"flip_average": True} if self.flip_average else {}),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Subject | None":
        """The inverse of `to_json`; None where figures stand alone, without what they are of.

        Raises:
            KeyError, TypeError, ValueError: a part of it is missing or of another kind.
        """
        if "split" not in values or "data" not in values:
            return None
        data, model, rule = values["data"], values["model"], values.get("threshold_rule")
        classes, held_out_by = values.get("classes"), values.get("held_out_by")
        shared = values.get("held_out_shared")
        calibrated, prevalence = values.get("calibration"), values.get("prevalence")
        return cls(
            name=str(values.get("name", values["split"])),
            split=str(values["split"]),
            shards=str(data["shards"]),
            fingerprint=str(data["fingerprint"]),
            identity=str(data["identity"]),
            model=None if model is None else str(model),
            threshold_rule=None if rule is None else str(rule),
            warnings=tuple(str(warning) for warning in values.get("warnings", ())),
            classes=None if classes is None else {str(k): str(v) for k, v in classes.items()},
            held_out_by=None if held_out_by is None else str(held_out_by),
            held_out_shared=None if shared is None else str(shared),
            left_out={str(k): int(v) for k, v in values.get("left_out", {}).items()},
            calibration=None if calibrated is None else Calibration.from_json(calibrated),
            prevalence=None if prevalence is None else tuple(float(p) for p in prevalence),
            averaged=tuple(str(run) for run in values.get("averaged", ())),
            prevalence_estimated=bool(values.get("prevalence_estimated", False)),
            flip_average=bool(values.get("flip_average", False)),
        )


def are_shares_of(shares: Sequence[float], counts: Sequence[int]) -> bool:
    """Whether shares of the classes are, to a tenth, those that counts of examples have."""
    total = sum(counts)
    found = [count / total for count in counts]
    return all(
        abs(share - own) <= _MOST_DEVIATION * min(own, 1 - own)
        for share, own in zip(shares, found, strict=True)
    )
