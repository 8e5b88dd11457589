"""How a model does in each stratum of a set, within strata, and whether its score tells them apart."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from engine.base.wording import counted
from engine.metrics.estimate import Estimate, number_text

METRICS = ("auroc", "accuracy", "sensitivity", "specificity")


@dataclasses.dataclass(frozen=True)
class Stratum:
    """The figures of one stratum.

    Attributes:
        class_counts: class name -> examples.
        metrics: the estimates of `METRICS`; of more than two classes they are means over classes.
    """

    name: str
    num_examples: int
    num_patients: int
    class_counts: Mapping[str, int]
    metrics: Mapping[str, Estimate]

    def to_json(self) -> dict[str, Any]:
        """Its part of `metrics.json`."""
        metrics = {name: estimate.to_json() for name, estimate in self.metrics.items()}
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**values, "class_counts": dict(self.class_counts), "metrics": metrics}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Stratum":
        """The inverse of `to_json`; raises as `StrataResults.from_json`."""
        return cls(
            name=str(values["name"]),
            num_examples=int(values["num_examples"]),
            num_patients=int(values["num_patients"]),
            class_counts={str(k): int(v) for k, v in values["class_counts"].items()},
            metrics={name: Estimate.from_json(values["metrics"][name]) for name in METRICS},
        )


@dataclasses.dataclass(frozen=True)
class Probe:
    """How well the score tells a stratum apart among images of one class: a shortcut, where it does.

    Attributes:
        class_name: the true class of the images.
        stratum, against: the images that count as positive, and those they are compared with.
        auroc: 0.5 where the score says nothing of the stratum; above it where the stratum's images
            score higher (for the positive class of two; of more, for the class itself).
    """

    class_name: str
    stratum: str
    against: str
    auroc: Estimate

    @property
    def strength(self) -> float:
        """How far the AUROC is from 0.5; 0 where it is undefined."""
        return 0.0 if self.auroc.value is None else abs(self.auroc.value - 0.5)

    def to_json(self) -> dict[str, Any]:
        """Its part of `metrics.json`."""
        return {
            "class": self.class_name,
            "stratum": self.stratum,
            "against": self.against,
            "auroc": self.auroc.to_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Probe":
        """The inverse of `to_json`; raises as `StrataResults.from_json`."""
        class_name, stratum, against = (str(values[k]) for k in ("class", "stratum", "against"))
        return cls(class_name, stratum, against, Estimate.from_json(values["auroc"]))


@dataclasses.dataclass(frozen=True)
class StrataResults:
    """The strata of one column of a metadata file.

    Attributes:
        column: what distinguishes the strata, such as `view`.
        source: the name of the file that holds it.
        strata: in the order of their names or, of bins, of their limits.
        num_without: examples that the file does not describe; no stratum holds them.
        within: AUROC within strata: the chance that an image of the class scores above one of another
            class in the same stratum; so the mean over strata, weighted by their pairs.
        probes: for each class, each stratum against the rest; of two strata, one against the other.
    """

    column: str
    source: str
    strata: tuple[Stratum, ...]
    num_without: int
    within: Estimate
    probes: tuple[Probe, ...]

    @property
    def strongest(self) -> Probe | None:
        """The probe that tells most; None where no probe is defined."""
        defined = [probe for probe in self.probes if probe.auroc.value is not None]
        return max(defined, key=lambda probe: probe.strength, default=None)

    def summary_lines(self) -> list[str]:
        """The mean within strata and the strongest probe."""
        lines = [f"AUROC within {self.column}  {self.within}"]
        if (probe := self.strongest) is not None:
            lines.append(
                f"shortcut probe, {self.column}: {number_text(probe.auroc.value)} for "
                f"{probe.stratum} in {probe.class_name} (0.5 is good)"
            )
        if self.num_without:
            lines.append(f"{counted(self.num_without, 'image')} without {self.column}")
        return lines

    def to_json(self) -> dict[str, Any]:
        """Its part of `metrics.json`."""
        return {
            "column": self.column,
            "source": self.source,
            "num_without": self.num_without,
            "auroc_within": self.within.to_json(),
            "strata": [stratum.to_json() for stratum in self.strata],
            "shortcut_probes": [probe.to_json() for probe in self.probes],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "StrataResults":
        """The inverse of `to_json`.

        Raises:
            AttributeError, KeyError, TypeError, ValueError: the values are not those of strata.
        """
        return cls(
            column=str(values["column"]),
            source=str(values["source"]),
            strata=tuple(Stratum.from_json(each) for each in values["strata"]),
            num_without=int(values["num_without"]),
            within=Estimate.from_json(values["auroc_within"]),
            probes=tuple(Probe.from_json(each) for each in values["shortcut_probes"]),
        )
