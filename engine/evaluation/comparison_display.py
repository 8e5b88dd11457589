"""A comparison on standard output, within 80 columns where that is no terminal."""

import textwrap

from engine.base import progress
from engine.base.terminal_tables import WIDTH, print_table
from engine.base.wording import counted
from engine.evaluation import display
from engine.evaluation.comparison import METRICS, Comparison, Pair, interval_text, p_text, signed
from engine.metrics.estimate import title

_FIRST = ("auroc", "accuracy", "f1", "sensitivity", "specificity")  # what fits beside the names


def show(found: Comparison) -> None:
    """The runs' figures, how the runs differ, each against the baseline, and how that was found."""
    baseline = found.baseline
    print(
        f"{baseline.subject.split}: {counted(found.num_images, 'image')} of "
        f"{counted(found.num_patients, 'patient')}, {baseline.subject.shards}"
    )
    for warning in found.warnings:
        print(textwrap.fill(f"warning: {warning}", WIDTH, subsequent_indent="  "))
    rows = [
        (run.name, *(display.on_two_lines(run.result.metrics[name]) for name in _FIRST))
        for run in found.runs
    ]
    print_table(["run", *map(title, _FIRST)], rows, first_wraps=True)
    facts = [
        (
            run.name,
            display.on_two_lines(run.result.metrics["brier"]),
            run.model,
            "" if run.parameters is None else f"{run.parameters:,}",
            "" if run.seconds is None else progress.format_duration(run.seconds),
        )
        for run in found.runs
    ]
    heads = ["run", title("brier"), "network", "parameters", "trained in"]
    print_table(heads, facts, first_wraps=True)
    if found.settings:
        _print_settings(found)
    for pair in found.pairs:
        _print_pair(found, pair)
    for sentence in found.methods():
        print(textwrap.fill(sentence + ".", WIDTH))


def _print_settings(found: Comparison) -> None:
    print("Settings in which they differ:")
    for place, run in enumerate(found.runs):
        line = f"{run.name}: {found.settings_of(place) or 'none of these'}"
        print(
            textwrap.fill(
                line,
                WIDTH,
                initial_indent="  ",
                subsequent_indent="    ",
                break_on_hyphens=False,
            )
        )
    print()


def _print_pair(found: Comparison, pair: Pair) -> None:
    several = len(found.pairs) > 1
    heads = [
        "minus baseline",
        "difference",
        "95 % interval",
        "p",
        *(["p (Holm)"] if several else []),
    ]
    rows = []
    for metric in METRICS:
        difference, test = pair.differences[metric], pair.tests.get(metric)
        values = (test.p_value, test.corrected) if test is not None else (None, None)
        rows.append(
            (
                title(metric),
                signed(difference.value),
                interval_text(difference) or difference.reason or "",
                *map(p_text, values if several else values[:1]),
            )
        )
    print(textwrap.fill(f"{pair.run} against {found.baseline.name}:", WIDTH))
    print_table(heads, rows)
    lines = [
        f"Only {found.baseline.name} has {counted(pair.mcnemar.only_a, 'image')} right, only "
        f"{pair.run} {pair.mcnemar.only_b:,}."
    ]
    if pair.areas is not None and pair.areas.reason is not None:
        lines.append(f"No test of AUROC: {pair.areas.reason}.")
    print(textwrap.fill(" ".join(lines), WIDTH) + "\n")
