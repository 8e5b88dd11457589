"""The parts of an evaluation's section in `report.md` on means over classes, fixed cuts and decisions."""

from engine.metrics import clinical_measures
from engine.metrics.estimate import title
from engine.metrics.evaluation import Evaluation
from engine.metrics.metric_names import WEIGHTED_METRICS
from engine.metrics.operating_points import HERE
from engine.runs import markdown

_MOST_CLASSES = 20  # whose operating points are listed


def averages(result: Evaluation) -> str:
    """The macro, weighted and micro means, of more than two classes."""
    if not result.averages:
        return ""
    rows = [
        (
            kind,
            *(markdown.text(row[metric]) if metric in row else "" for metric in WEIGHTED_METRICS),
        )
        for kind, row in {"macro": result.metrics, **result.averages}.items()
    ]
    heads = ("mean over classes", *(_capitalized(title(metric)) for metric in WEIGHTED_METRICS))
    return (
        f"{markdown.table(heads, rows)}\n\n"
        "Macro: each class counts alike; weighted: by its images; micro: all pairs of an image and a "
        "class together, for which precision, recall and F1 are the accuracy."
    )


def section(result: Evaluation) -> list[str]:
    """Operating points, predictive values and the decision curve."""
    return [_operating_points(result), _predictive_values(result), _decisions(result)]


def _operating_points(result: Evaluation) -> str:
    several = bool(result.per_class)
    points = result.operating_points
    if not points or len(result.per_class) > _MOST_CLASSES:
        return ""
    rows = [
        (*([markdown.text(point.class_name)] if several else []), *point.row()) for point in points
    ]
    heads = ("fixed at", "cut chosen on", "threshold", "sensitivity", "specificity")
    text = (
        "#### Operating points\n\n"
        f"{markdown.table([*(['class'] if several else []), *heads], rows)}"
    )
    if any(point.chosen_on == HERE for point in points):
        text += (
            f"\n\nA cut chosen on the {HERE} shows what the ranking allows, not what a threshold gives on "
            "new images; its interval allows for the choice. `python -m engine.evaluate RUN SHARDS "
            "--split validation` first has the cut chosen there."
        )
    return text


def _predictive_values(result: Evaluation) -> str:
    if not result.predictive_values:
        return ""
    rows = [
        (
            markdown.text(values.class_name),
            f"{values.prevalence:.4g}",
            markdown.text(values.ppv),
            markdown.text(values.npv),
        )
        for values in result.predictive_values
    ]
    return (
        "#### Predictive values\n\n"
        f"{markdown.table(('class', 'its share', 'PPV', 'NPV'), rows)}\n\n"
        f"{clinical_measures.prevalence_note(result)}"
    )


def _decisions(result: Evaluation) -> str:
    if not result.decision_curves:
        return ""
    lines = [
        f"- {markdown.text(curve.class_name)} (share {curve.prevalence:.3g}): {curve.useful_text()}"
        for curve in result.decision_curves
    ]
    listed = "\n".join(lines)
    return (
        "#### Decision curve\n\n"
        f"{listed}\n\n"
        "Net benefit counts a false call as t / (1 - t) of a true one at a threshold t (Vickers and Elkin "
        "2006). It holds for the shares named, and where probabilities come true for them."
    )


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]
