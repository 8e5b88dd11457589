"""What a comparison leaves on disk: compare.md, compare.json, and compare_roc.png with the curves of all runs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.base import files, progress
from engine.base.setting_values import FIGURE_FORMATS
from engine.base.wording import counted
from engine.evaluation.compared_runs import ComparedRun
from engine.evaluation.comparison import METRICS, Comparison, Pair, interval_text, p_text, signed
from engine.metrics import curves
from engine.metrics.estimate import title
from engine.runs import comparison_plot, markdown

REPORT, VALUES, FIGURE = "compare.md", "compare.json", "compare_roc.png"


def write(found: Comparison, directory: Path, *, formats: Sequence[str] = ("png",)) -> Path:
    """Writes the report, its values and the figure into a directory; returns the report's path.

    Args:
        formats: what the figure is written as; see `figure_style.save_all`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for format_name in FIGURE_FORMATS:  # of an earlier comparison
        (directory / FIGURE).with_suffix(f".{format_name}").unlink(missing_ok=True)
    drawn = draw(found, directory / FIGURE, formats=formats)
    files.write_json(directory / VALUES, found.to_json())
    files.write_text(directory / REPORT, render(found, figure=FIGURE if drawn else None))
    return directory / REPORT


def draw(found: Comparison, path: Path, *, formats: Sequence[str] = ("png",)) -> bool:
    """Draws the ROC curves of all runs; False where a class is missing, so that there is none."""
    drawn = [comparison_plot.Curve(*_curve(run), *_facts(run)) for run in found.runs]
    if any(np.isnan(curve.false_rate).any() or np.isnan(curve.true_rate).any() for curve in drawn):
        return False
    what = "mean of the classes" if len(found.class_names) > 2 else found.class_names[1]
    comparison_plot.roc(
        drawn, path, title=f"ROC, {found.baseline.subject.split} split ({what})", formats=formats
    )
    return True


def render(found: Comparison, *, figure: str | None) -> str:
    """The report as Markdown.

    Args:
        figure: the path of the figure, relative to the report; None without one.
    """
    subject = found.baseline.subject
    text = markdown.text
    parts = [
        "# Comparison of " + ", ".join(text(run.name) for run in found.runs),
        "> **Not for diagnosis.** These are measurements of research models on one data set.",
        f"{counted(found.num_images, 'image')} of {counted(found.num_patients, 'patient')}: the "
        f"{text(subject.split)} split of `{subject.shards}`, fingerprint "
        f"`{subject.fingerprint[:12]}`.",
        markdown.warnings(found.warnings),
        "## Runs",
        _figures(found),
        _settings(found),
        f"![ROC of all runs]({figure})" if figure else "",
        f"## Against {text(found.baseline.name)}",
        *(part for pair in found.pairs for part in _against(found, pair)),
        "## How this was found",
        "\n".join(f"- {sentence}." for sentence in found.methods()),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _figures(found: Comparison) -> str:
    heads = ("run", *map(title, METRICS), "network", "parameters", "trained in")
    rows = [
        (
            markdown.text(run.name),
            *(markdown.text(run.result.metrics[metric]) for metric in METRICS),
            markdown.text(run.model),
            "" if run.parameters is None else f"{run.parameters:,}",
            "" if run.seconds is None else progress.format_duration(run.seconds),
        )
        for run in found.runs
    ]
    return markdown.table(heads, rows)


def _settings(found: Comparison) -> str:
    if not found.settings:
        return ""
    differing = [
        (markdown.text(run.name), markdown.text(found.settings_of(place) or "none of these"))
        for place, run in enumerate(found.runs)
    ]
    return f"Settings in which they differ:\n\n{markdown.facts(differing)}"


def _against(found: Comparison, pair: Pair) -> list[str]:
    several = len(found.pairs) > 1
    heads = [
        f"{markdown.text(pair.run)}, minus baseline",
        "difference",
        "95 % interval",
        "test",
        "p",
    ]
    rows = []
    for metric in METRICS:
        difference, test = pair.differences[metric], pair.tests.get(metric)
        row = [
            title(metric),
            signed(difference.value),
            interval_text(difference) or difference.reason or "",
            "" if test is None or test.p_value is None else test.name,
            "" if test is None else p_text(test.p_value),
        ]
        if several:
            row.append("" if test is None else p_text(test.corrected))
        rows.append(row)
    sentences = [
        f"Only {markdown.text(found.baseline.name)} has {counted(pair.mcnemar.only_a, 'image')} right, "
        f"only {markdown.text(pair.run)} {pair.mcnemar.only_b:,} (McNemar's statistic with continuity "
        f"correction {pair.mcnemar.statistic:.3g}, p = {p_text(pair.mcnemar.p_corrected)})."
    ]
    areas = pair.areas
    if areas is not None and areas.reason is not None:
        sentences.append(f"No test of AUROC: {areas.reason}.")
    elif areas is not None:
        sentences.append(
            f"DeLong: z = {areas.z:.3g}, 95 % interval {signed(areas.low)} to {signed(areas.high)}."
        )
    return [markdown.table([*heads, *(["p (Holm)"] if several else [])], rows), " ".join(sentences)]


def _curve(run: ComparedRun) -> tuple[str, np.ndarray, np.ndarray]:
    predictions = run.predictions
    if predictions.log_odds.ndim == 1:
        false_rate, true_rate, _ = curves.roc_curve(predictions.labels, predictions.log_odds)
    else:
        false_rate, true_rate = curves.mean_roc_curve(predictions.labels, predictions.log_odds)
    return run.name, false_rate, true_rate


def _facts(run: ComparedRun) -> tuple[str, tuple[float, float] | None]:
    """The area with its interval, and the operating point: false and true positive rate."""
    metrics = run.result.metrics
    across, up = metrics["specificity"].value, metrics["sensitivity"].value
    several = len(run.result.class_names) > 2
    point = None if several or across is None or up is None else (1 - across, up)
    return str(metrics["auroc"]), point
