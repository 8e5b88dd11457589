"""The part of `report.md` on how good a run is: the hardest set, then one section per evaluation."""

from collections.abc import Sequence
from pathlib import Path

from engine.base.wording import counted
from engine.metrics import thresholds
from engine.metrics.estimate import Estimate, title
from engine.metrics.evaluation import Evaluation
from engine.metrics.strata_results import METRICS
from engine.metrics.subject import Subject
from engine.runs import (
    calibration_report,
    evaluation_ranking,
    markdown,
    measures_report,
    redaction,
    strata_report,
)
from engine.runs.evaluation_ranking import Evaluations, Measured
from engine.runs.run_directory import RunDirectory

_METRICS = (
    "auroc",
    "auroc_delong",
    "auroc_bootstrap",
    "accuracy",
    "sensitivity",
    "specificity",
    "balanced_accuracy",
    "precision",
    "npv",
    "f1",
    "average_precision",
    "mcc",
    "kappa",
    "likelihood_ratio_positive",
    "likelihood_ratio_negative",
    "brier",
    "scaled_brier",
    "loss",
    "calibration_slope",
    "calibration_intercept",
    "calibration_in_the_large",
)
_CLASS_METRICS = (
    "auroc",
    "average_precision",
    "sensitivity",
    "specificity",
    "precision",
    "npv",
    "f1",
    "calibration_slope",
)
_SHARED = {  # what became of patients that both sides had
    "held-out": "; patients of these images were removed from training and validation",
    "train": "; images of patients that training and validation have too were removed from this split",
}
_MOST_CLASSES = 10  # of a confusion matrix that fits a page
_FIGURES = {
    "roc.png": "ROC",
    "precision_recall.png": "Precision-recall",
    "confusion_matrix.png": "Confusion matrix",
    "calibration.png": "Calibration",
    "probabilities.png": "Probabilities by true class",
    "decision_curve.png": "Decision curve",
    "strata.png": "AUROC by stratum, and shortcut probes",
    "most_wrong.png": "The most wrong images, each beside the evidence for the predicted class",
    "least_certain.png": "The least certain images, each beside the evidence for the predicted class",
}


def sections(run: RunDirectory, evaluations: Evaluations, *, to_pass_on: bool = False) -> list[str]:
    """What the hardest unseen set showed, then the sections of all evaluations, that one first.

    Args:
        to_pass_on: whether to leave out what names images, and directories; see `redaction`.
    """
    if not evaluations.ranking:
        return ["Not evaluated yet: `python -m engine.evaluate RUN SHARDS` measures it."]
    parts = [
        part
        for measured in evaluations.ranking
        for part in _evaluation(run, measured, evaluations.model, to_pass_on=to_pass_on)
    ]
    return [*_lead(evaluations.ranking), *parts]


def _lead(ranking: Sequence[Measured]) -> list[str]:
    """The headline: the lowest figures on unseen examples, and what they do not tell."""
    first = ranking[0]
    if first.leads and first.result is not None:
        metrics = first.result.metrics
        within = "".join(
            f" Within {markdown.text(column.column)}: AUROC {markdown.text(column.within)}."
            for column in first.result.strata
        )
        parts = [
            f"**Hardest set measured: {markdown.text(first.title)}, AUROC "
            f"{markdown.text(metrics['auroc'])}, accuracy {markdown.text(metrics['accuracy'])}, "
            f"balanced accuracy {markdown.text(metrics['balanced_accuracy'])}** "
            f"({first.relation.value}).{within}"
        ]
    elif any(measured.is_unseen for measured in ranking):
        parts = [
            "> No unseen set was measured as it is with this model, but only with --prevalence or other "
            "--classes, so none leads. `python -m engine.evaluate` without them measures it."
        ]
    else:
        parts = [
            "> No unseen set was measured with this model: the figures below look better than they are."
        ]
    parts.append(_all_sets(ranking))
    if evaluation_ranking.only_own(ranking):
        parts.append(
            "> Measured on the run's own data set alone: nothing is known of images from other places. "
            "`python -m engine.evaluate RUN OTHER_SHARDS --name NAME` measures them."
        )
    return parts


def _all_sets(ranking: Sequence[Measured]) -> str:
    rows = [
        (
            markdown.text(measured.title),
            measured.account,
            f"{measured.result.num_examples:,}",
            measured.result.metrics["auroc"].value_text,
            measured.result.metrics["accuracy"].value_text,
            measured.result.metrics["balanced_accuracy"].value_text,
        )
        for measured in ranking
        if measured.result is not None
    ]
    if len(rows) < 2:
        return ""
    heads = ("set", "what it is", "images", "AUROC", "accuracy", "balanced accuracy")
    return markdown.table(heads, rows)


def _evaluation(
    run: RunDirectory, measured: Measured, model: str | None, *, to_pass_on: bool
) -> list[str]:
    """The section of one evaluation; `model` is the digest of the run's model as it is now."""
    directory, result = run.evaluation(measured.name), measured.result
    if result is None:
        return [f"### {markdown.text(measured.name)}", f"> {markdown.text(measured.problem)}"]
    return [
        f"### {markdown.text(measured.title)}: {result.num_examples:,} images of "
        f"{result.num_patients:,} patients",
        *_subject(_told(result.subject, to_pass_on), model),
        _decision(result),
        markdown.table(
            ("metric", "value", "95 % interval"),
            [
                _row(metric, result.metrics[metric])
                for metric in _METRICS
                if metric in result.metrics
            ],
        ),
        "Intervals are over patients: Clopper-Pearson on the effective number of patients for rates and "
        "AUROC, from those of sensitivity and specificity for likelihood ratios, a sandwich variance for "
        f"calibration slope and intercept; from {result.num_resamples:,} bootstrap resamples for the "
        "others, BCa for loss and Brier scores.",
        _class_table(result),
        measures_report.averages(result),
        _confusion(result),
        *measures_report.section(result),
        *calibration_report.section(result),
        *strata_report.section(result),
        _unlike(result),
        _shifts(result),
        _members(result),
        _figures(directory, run.path, to_pass_on=to_pass_on),
    ]


def _told(subject: Subject | None, to_pass_on: bool) -> Subject | None:
    return redaction.subject(subject) if subject is not None and to_pass_on else subject


def _subject(subject: Subject | None, model: str | None) -> list[str]:
    measured = subject.model if subject else None
    parts = []
    if subject is not None and subject.averaged:
        runs = ", ".join(markdown.text(name) for name in subject.averaged)
        parts.append(f"**Not this run alone:** the average of {runs} was measured.")
    elif model is not None and measured != model:
        which = f"model `{measured[:12]}`" if measured else "a model that is not named"
        parts.append(
            f"> **Out of date:** these figures are of {which}, the run's model is now "
            f"`{model[:12]}`. Measure it with `python -m engine.evaluate`."
        )
    if subject is not None:
        parts.append(
            f"Measured on `{subject.shards}`: fingerprint of the images "
            f"`{subject.fingerprint[:12]}`, of the shards `{subject.identity[:12]}`."
        )
        if subject.held_out_by is not None:
            parts.append(
                f"Held out when the shards were built: `{subject.held_out_by.replace('`', '')}`"
                f"{_SHARED.get(subject.held_out_shared or '', '')}."
            )
        parts.append(_classes(subject))
        parts.append(markdown.warnings(subject.warnings))
    return parts


def _classes(subject: Subject) -> str:
    """How the classes of the data set became the run's, and what was left out."""
    if subject.classes is None:
        return ""
    pairs = [
        f"{markdown.text(theirs)} as {markdown.text(ours)}"
        for theirs, ours in subject.classes.items()
    ]
    left = [
        f"{counted(count, 'image')} of {markdown.text(name)}"
        for name, count in subject.left_out.items()
        if count
    ]
    return f"Classes: {', '.join(pairs)}." + (f" Left out: {', '.join(left)}." if left else "")


def _decision(result: Evaluation) -> str:
    if result.threshold is None:
        return (
            "The class with the largest probability is predicted. Accuracy is the share of correct "
            "predictions; the other rates are means over the classes, each against the rest."
        )
    rule = result.subject.threshold_rule if result.subject else None
    chosen = f"chosen on validation by the rule `{rule}`" if rule else "not chosen on validation"
    if rule and thresholds.is_fixed(rule):
        chosen = "given as a setting, not chosen on validation"
    if result.subject and result.subject.prevalence is not None:
        chosen += (
            ", then moved along with the prevalence, so that the same images are called positive"
        )
    positive = markdown.text(result.class_names[1])
    return (
        f"{positive} is predicted at a probability of **{result.threshold:.4f}** or more, a "
        f"threshold {chosen}."
    )


def _row(metric: str, estimate: Estimate) -> tuple[str, str, str]:
    name = _capitalized(title(metric))
    return name, estimate.value_text, markdown.text(estimate.interval_text)


def _class_table(result: Evaluation) -> str:
    if not result.per_class:
        return ""
    first = next(iter(result.per_class.values()))
    known = [metric for metric in _CLASS_METRICS if metric in first]
    rows = [
        (markdown.text(name), *(row[metric].value_text for metric in known))
        for name, row in result.per_class.items()
    ]
    heads = ("class", *(_capitalized(title(metric)) for metric in known))
    return markdown.table(heads, rows)


def _confusion(result: Evaluation) -> str:
    if len(result.class_names) > _MOST_CLASSES:
        return ""
    names = [markdown.text(name) for name in result.class_names]
    rows = [
        (f"**{name}**", *(f"{count:,}" for count in counts))
        for name, counts in zip(names, result.confusion.tolist(), strict=True)
    ]
    return markdown.table(("true class", *(f"predicted {name}" for name in names)), rows)


def _shifts(result: Evaluation) -> str:
    """How the figures hold up on changed images, if that was measured."""
    shifts = result.shifts
    if shifts is None:
        return ""
    heads = ("images", *(title(metric) for metric in shifts.metrics))
    rows = [(markdown.text(name), *values) for name, *values in shifts.rows()]
    return (
        "The same images, changed as another scanner or another export might change them:\n\n"
        f"{markdown.table(heads, rows)}\n\n"
        f"Lowest under any change: {markdown.text(shifts.lowest_text())}."
    )


def _unlike(result: Evaluation) -> str:
    """How many images are unlike the training images, and the figures with and without them."""
    unlike = result.unlike
    if unlike is None:
        return ""
    account = f"Distance from the training images: median {unlike.median_distance:.2f}; {unlike.account()}."
    if unlike.abstained:
        account += f" These were left undecided: {markdown.text(unlike.decided_text())}."
    if not unlike.num_unlike:
        return account
    heads = ("images", "number", *(title(metric) for metric in METRICS))
    return f"{account}\n\n{markdown.table(heads, unlike.rows())}"


def _members(result: Evaluation) -> str:
    """The figures of each run, where several were averaged."""
    members = result.members
    if members is None:
        return ""
    heads = ("run", *(title(metric) for metric in members.metrics))
    rows = [(markdown.text(name), *values) for name, *values in members.rows()]
    text = members.spread_text()
    return f"{_capitalized(text)}. Each at its own threshold:\n\n{markdown.table(heads, rows)}"


def _figures(directory: Path, base: Path, *, to_pass_on: bool) -> str:
    links = [
        markdown.image(figure, directory / file, base)
        for file, figure in _FIGURES.items()
        if (directory / file).is_file() and not (to_pass_on and file in redaction.PICTURES)
    ]
    listed = directory / "predictions.csv"
    if listed.is_file() and not to_pass_on:
        links.append(f"Every image: [{listed.name}]({markdown.link(listed, base)})")
    return "\n\n".join(links)


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]
