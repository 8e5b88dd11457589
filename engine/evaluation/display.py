"""An evaluation on standard output, within 80 columns where that is no terminal."""

import textwrap
from collections.abc import Mapping

from engine.base.terminal_tables import WIDTH, print_table
from engine.metrics import clinical_measures
from engine.metrics.estimate import Estimate, number_text, title
from engine.metrics.evaluation import Evaluation
from engine.metrics.strata_results import METRICS, StrataResults, Stratum
from engine.metrics.unlike_results import UnlikeResults

_FEW_CLASSES = 4  # whose counts fit a column
_CLASS_HEADS = {
    "auroc": "AUROC",
    "average_precision": "AP",
    "sensitivity": "sens.",
    "specificity": "spec.",
    "precision": "PPV",
    "npv": "NPV",
    "f1": "F1",
}
_AVERAGE_HEADS = {
    **{name: head for name, head in _CLASS_HEADS.items() if name != "npv"},
    "precision": "precision",
}
_ALIASES = ("ppv", "recall")  # of precision and sensitivity: in metrics.json, not shown twice


def show(result: Evaluation) -> None:
    """Tables of all metrics, of the classes if there are more than two, and of shifts, strata and
    recalibration if they were measured; the figures that matter most are on the last lines."""
    rows = [
        (title(name), estimate.value_text, estimate.interval_text)
        for name, estimate in result.metrics.items()
        if name not in _ALIASES
    ]
    print_table(["metric", "value", "95 % interval"], rows)
    if result.per_class:
        _print_values("class", _CLASS_HEADS, result.per_class)
        averages = {"macro": result.metrics, **result.averages}
        _print_values("mean", _AVERAGE_HEADS, averages)
    _print_operating_points(result)
    _print_predictive_values(result)
    if (known := clinical_measures.calibration_text(result)) is not None:
        print(textwrap.fill(known, WIDTH))
    for curve in result.decision_curves if len(result.decision_curves) == 1 else ():
        print(textwrap.fill(f"decision curve: {curve.useful_text()}", WIDTH))
    if result.shifts is not None:
        heads = [title(metric) for metric in result.shifts.metrics]
        print_table(["images", *heads], result.shifts.rows())
    for column in result.strata:
        _print_strata(column)
    if result.unlike is not None and result.unlike.num_unlike:
        _print_unlike(result.unlike)
    if result.recalibration is not None:
        print_table(result.recalibration.heads(), result.recalibration.rows())
        print(textwrap.fill(result.recalibration.account(), WIDTH))
    if result.members is not None:
        heads = [title(metric) for metric in result.members.metrics]
        print_table(["run", *heads], result.members.rows())
        print(result.members.spread_text())
    print("\n".join(result.summary_lines()))


def _print_values(
    head: str, columns: Mapping[str, str], rows: Mapping[str, Mapping[str, Estimate]]
) -> None:
    """A table of values without intervals, which `metrics.json` holds.

    Args:
        columns: metric -> its head.
        rows: the name of each -> metric -> estimate; those that a row lacks stay empty.
    """
    shown = [
        (name, *(row[metric].value_text if metric in row else "" for metric in columns))
        for name, row in rows.items()
    ]
    print_table([head, *columns.values()], shown, first_wraps=True)


def _print_operating_points(result: Evaluation) -> None:
    """Of two classes, a table of the points; of more, `metrics.json` holds them."""
    if result.per_class or not result.operating_points:
        return
    rows = [
        (
            point.rule.replace("=", " "),
            point.chosen_on,
            number_text(point.threshold),
            on_two_lines(point.sensitivity),
            on_two_lines(point.specificity),
        )
        for point in result.operating_points
    ]
    heads = ["fixed at", "cut chosen on", "threshold", "sensitivity", "specificity"]
    print_table(heads, rows, first_wraps=True)


def _print_predictive_values(result: Evaluation) -> None:
    """PPV and NPV at other shares of a class."""
    if not result.predictive_values:
        return
    several = bool(result.per_class)
    rows = [
        (
            *([values.class_name] if several else []),
            f"{values.prevalence:.4g}",
            str(values.ppv),
            str(values.npv),
        )
        for values in result.predictive_values
    ]
    share = "share" if several else f"share of {result.class_names[1]}"
    heads = [*(["class"] if several else []), share, "PPV", "NPV"]
    print_table(heads, rows, first_wraps=True)
    print(textwrap.fill(clinical_measures.prevalence_note(result), WIDTH))


def _print_strata(column: StrataResults) -> None:
    """A table of the strata, intervals below the values, and one of the shortcut probes."""
    rows = [
        (
            stratum.name,
            f"{stratum.num_examples:,}\n{_counts(stratum)}",
            *(on_two_lines(stratum.metrics[metric]) for metric in METRICS),
        )
        for stratum in column.strata
    ]
    heads = [column.column, "images\n(by class)", *map(title, METRICS)]
    print_table(heads, rows, first_wraps=True)
    probes = [
        (f"{probe.stratum} against {probe.against}", probe.class_name, str(probe.auroc))
        for probe in column.probes
    ]
    if probes:
        print_table(
            ["shortcut probe", "among images of", "AUROC, 0.5 is good"], probes, first_wraps=True
        )


def _print_unlike(results: UnlikeResults) -> None:
    """A table of the images on either side of the limit, intervals below the values."""
    rows = [
        (
            kind.name,
            f"{kind.num_examples:,}",
            *(on_two_lines(kind.metrics[metric]) for metric in METRICS),
        )
        for kind in (results.like, results.unlike)
        if kind
    ]
    print_table(["images", "number", *map(title, METRICS)], rows, first_wraps=True)


def _counts(stratum: Stratum) -> str:
    """`97/77`: the examples by class, if there are few classes."""
    counts = [f"{count:,}" for count in stratum.class_counts.values()]
    return "/".join(counts) if len(counts) <= _FEW_CLASSES else ""


def on_two_lines(estimate: Estimate) -> str:
    """The value, and below it the interval to three decimals."""
    if estimate.low is None or estimate.high is None:
        return estimate.value_text
    return f"{estimate.value_text}\n{estimate.low:.3f}-{estimate.high:.3f}"
