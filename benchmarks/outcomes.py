"""What trainings reached on sets that they did not learn from: medians and ranges over seeds, as tables."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from benchmarks import harness

SERIES, OWN = "other series", "own split"
METRICS = ("auroc", "accuracy", "sensitivity", "specificity")
_DIGITS = {"auroc": 4, "validation_auroc": 4, "minutes": 1, "minutes_to_target": 1}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One training, measured on one set.

    Attributes:
        trained_on: `SERIES` or `OWN`: the split whose training images it learned from.
        measured_on: one of these, for its test images, or the name of an external set.
        accuracy, sensitivity, specificity: at the threshold stored with the run.
        validation_auroc: of the best epoch, on validation; None for ensembles.
        minutes: of the whole training, validation and saving included.
        minutes_to_target: until an epoch reached the target AUROC on the other series; None if none did, or
            it was not watched.
        within: AUROC within the strata of each column of metadata.
        probes: column -> how far the score tells its strata apart within a class (0.5: not at all).
    """

    candidate: str
    trained_on: str
    measured_on: str
    seed: int
    auroc: float | None
    accuracy: float | None
    sensitivity: float | None
    specificity: float | None
    threshold: float | None
    validation_auroc: float | None
    minutes: float
    minutes_to_target: float | None = None
    within: Mapping[str, float] = dataclasses.field(default_factory=dict)
    probes: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def set_name(self) -> str:
        """What a table of its figures is called."""
        if self.measured_on in (SERIES, OWN):
            return self.measured_on
        return f"{self.measured_on}, trained on the {_TRAINED[self.trained_on]}"

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            key: float(f"{value:.6g}") if isinstance(value, float) else value
            for key, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Outcome":
        """The inverse of `to_json`."""
        return cls(**values)


_TRAINED = {SERIES: "series split", OWN: "own split"}


def set_names(outcomes: Sequence[Outcome]) -> list[str]:
    """The sets that were measured: the other series first, the own split last."""
    names = list(dict.fromkeys(outcome.set_name for outcome in outcomes))
    return sorted(names, key=lambda name: (name != SERIES, name == OWN))


def ranked(outcomes: Sequence[Outcome]) -> list[str]:
    """The candidates, by their median AUROC on the other series, the highest first."""
    names = list(dict.fromkeys(outcome.candidate for outcome in outcomes))
    reached = {name: of(outcomes, name, SERIES).get("auroc") for name in names}
    return sorted(names, key=lambda name: -1.0 if (s := reached[name]) is None else -s.median)


def of(outcomes: Sequence[Outcome], candidate: str, set_name: str) -> dict[str, harness.Spread]:
    """Median and range of each figure of a candidate on a set; figures that are not known are left out.

    Minutes to the target are given only where every seed reached it.
    """
    found = [o for o in outcomes if (o.candidate, o.set_name) == (candidate, set_name)]
    figures: dict[str, harness.Spread] = {}
    for name in (*METRICS, "threshold", "validation_auroc", "minutes", "minutes_to_target"):
        values = [getattr(outcome, name) for outcome in found]
        if found and None not in values:
            figures[name] = _spread(values)
    for kind in ("within", "probes"):
        for key in dict.fromkeys(key for outcome in found for key in getattr(outcome, kind)):
            values = [getattr(o, kind)[key] for o in found if key in getattr(o, kind)]
            figures[f"{kind}: {key}"] = _spread(values)
    return figures


def _spread(values: Sequence[float]) -> harness.Spread:
    return harness.Spread(statistics.median(values), min(values), max(values), len(values))


def text(figures: Mapping[str, harness.Spread], name: str, *, bare: bool = False) -> str:
    """`0.9750 (0.9701-0.9812)`: the median and the range; a dash where it is not known.

    Args:
        bare: whether to give the median alone.
    """
    if name not in figures:
        return "-"
    digits, spread = _DIGITS.get(name, 4 if ": " in name else 3), figures[name]
    median = f"{spread.median:.{digits}f}"
    if bare or spread.count == 1:
        return median
    return f"{median} ({spread.low:.{digits}f}-{spread.high:.{digits}f})"


def conclusions(outcomes: Sequence[Outcome]) -> list[str]:
    """Which candidate is the best on the other series, whether by more than the seeds differ, and on validation."""
    series = {name: of(outcomes, name, SERIES) for name in ranked(outcomes)}
    known = [name for name, figures in series.items() if "auroc" in figures]
    if not known:
        return []
    best = known[0]
    lines = [f"best on the other series: {best}, AUROC {text(series[best], 'auroc')}"]
    level = [name for name in known[1:] if series[name]["auroc"].high >= series[best]["auroc"].low]
    if level:
        lines.append(f"within the range of its seeds: {', '.join(level)}")
    validated = [name for name in known if "validation_auroc" in series[name]]
    if validated:
        top = max(validated, key=lambda name: series[name]["validation_auroc"].median)
        lines.append(
            f"cross-check, best on validation: {top}, AUROC {text(series[top], 'validation_auroc')}"
        )
    return lines


def tables(outcomes: Sequence[Outcome], target: float) -> list[Table]:
    """One table per set for the terminal, and one of the trainings on the series split."""
    names, seeds = ranked(outcomes), _num_seeds(outcomes)
    found = []
    for set_name in set_names(outcomes):
        table = _table(set_name, ("AUROC", "accuracy", "sens.", "spec."))
        for name in names:
            if figures := of(outcomes, name, set_name):
                cells = [text(figures, metric) for metric in ("auroc", "accuracy")]
                cells += [text(figures, m, bare=True) for m in ("sensitivity", "specificity")]
                table.add_row(escape(_labelled(name, figures, seeds)), *cells)
                for extra in [key for key in figures if ": " in key]:
                    table.add_row(f"  {escape(_explained(extra))}", text(figures, extra))
        found.append(table)
    table = _table("training on the series split", ("validation", "minutes", f"to {target:g}"))
    for name in names:
        figures = of(outcomes, name, SERIES)
        keys = ("validation_auroc", "minutes", "minutes_to_target")
        table.add_row(escape(name), *(text(figures, key) for key in keys))
    return [*found, table]


def _num_seeds(outcomes: Sequence[Outcome]) -> int:
    return len({outcome.seed for outcome in outcomes})


def _labelled(name: str, figures: Mapping[str, harness.Spread], seeds: int) -> str:
    """The candidate's name, with its number of seeds where trainings are missing."""
    count = figures["minutes"].count
    return name if count == seeds else f"{name} ({count} of {seeds} seeds)"


def _explained(key: str) -> str:
    kind, _, column = key.partition(": ")
    return f"within {column}" if kind == "within" else f"probe: {column}"


def _table(title: str, headings: Sequence[str]) -> Table:
    table = Table(
        box=box.SIMPLE,
        pad_edge=False,
        padding=(0, 1),
        title=escape(title),
        title_justify="left",
        title_style="bold",
    )
    table.add_column("settings", ratio=1, overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def markdown(outcomes: Sequence[Outcome], target: float) -> str:
    """All figures of all candidates as Markdown, set by set."""
    seeds = _num_seeds(outcomes)
    lines = [
        f"Median of {seeds} seeds (lowest to highest); rates at the threshold stored with each run.",
        "",
        "| measured on | settings | AUROC | accuracy | sensitivity | specificity |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    names = ranked(outcomes)
    for set_name, name, figures in _cells(outcomes, names):
        shown = " | ".join(text(figures, metric) for metric in METRICS)
        lines.append(f"| {set_name} | {_labelled(name, figures, seeds)} | {shown} |")
    strata = [
        f"| {set_name} | {name} | {_explained(key)} | {text(figures, key)} |"
        for set_name, name, figures in _cells(outcomes, names)
        for key in figures
        if ": " in key
    ]
    if strata:
        lines += ["", "| measured on | settings | strata | AUROC |", "| --- | --- | --- | ---: |"]
        lines += strata
    lines += [
        "",
        f"| settings | validation AUROC | minutes | minutes to AUROC {target:g} on the other series |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name in names:
        figures = of(outcomes, name, SERIES)
        shown = " | ".join(
            text(figures, key) for key in ("validation_auroc", "minutes", "minutes_to_target")
        )
        lines.append(f"| {name} | {shown} |")
    return "\n".join(lines)


def _cells(
    outcomes: Sequence[Outcome], names: Sequence[str]
) -> list[tuple[str, str, dict[str, harness.Spread]]]:
    return [
        (set_name, name, figures)
        for set_name in set_names(outcomes)
        for name in names
        if (figures := of(outcomes, name, set_name))
    ]


def minutes_to(aurocs: Sequence[float], seconds: Sequence[float], target: float) -> float | None:
    """Minutes until the AUROC reached `target`; None if it never did."""
    reached = (second for area, second in zip(aurocs, seconds, strict=True) if area >= target)

    found = next(reached, None)
    return None if found is None else found / 60
