"""Runs compared on the same images: a table of their figures, and each against one with paired tests.

Against the baseline, each metric has its difference with an interval over paired resamples of patients.
Two questions are tested: whether images are ranked better (the area under the ROC curve, by DeLong's
paired test, of more than two classes by the bootstrap), and whether more are classified right (McNemar's
exact test). The p-values of a question are corrected by Holm for the number of runs that are compared.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.base.config import UserError
from engine.base.run_settings import CompareConfig
from engine.base.wording import counted
from engine.evaluation import compared_runs
from engine.evaluation.compared_runs import ComparedRun
from engine.metrics import bootstrap, delong, paired_tests
from engine.metrics.delong import PairedAreas
from engine.metrics.estimate import CONFIDENCE, title
from engine.metrics.paired_tests import Difference, McNemar
from engine.metrics.predictions import patient_groups

METRICS = ("auroc", "accuracy", "f1", "sensitivity", "specificity", "brier")
TESTED = ("auroc", "accuracy")


@dataclasses.dataclass(frozen=True)
class Test:
    """A question's p-value: the test, and the value as it is and corrected by Holm; None without one."""

    name: str
    p_value: float | None
    corrected: float | None


@dataclasses.dataclass(frozen=True)
class Pair:
    """A run against the baseline.

    Attributes:
        run: its name.
        differences: metric -> the run's minus the baseline's.
        areas: DeLong's test; None of more than two classes, or where a class is missing.
        mcnemar: of which images only the baseline has right (`only_a`), and only the run (`only_b`).
        tests: `auroc` and `accuracy`.
    """

    run: str
    differences: dict[str, Difference]
    areas: PairedAreas | None
    mcnemar: McNemar
    tests: dict[str, Test]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Several runs on the same images. `str()` says what each pair showed.

    Attributes:
        runs: the baseline first.
        pairs: the other runs against it, in order.
        settings: those in which the runs differ, name -> the value of each run.
        warnings: what a reader of the figures must know.
    """

    runs: tuple[ComparedRun, ...]
    pairs: tuple[Pair, ...]
    settings: dict[str, list[Any]]
    resamples: int
    seed: int
    num_patients: int
    warnings: tuple[str, ...]

    @property
    def baseline(self) -> ComparedRun:
        """The run that all others are compared with."""
        return self.runs[0]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Those of all runs."""
        return self.baseline.result.class_names

    @property
    def num_images(self) -> int:
        """How many images all runs predicted."""
        return self.baseline.result.num_examples

    def __str__(self) -> str:
        return "\n".join(line for pair in self.pairs for line in self.summary_lines(pair))

    def summary_lines(self, pair: Pair) -> list[str]:
        """`b against a: AUROC +0.0123 (+0.001 to +0.024), p = 0.03 (DeLong)`; a line for each test."""
        lines = []
        for metric, test in pair.tests.items():
            found = (
                f"p = {p_text(test.corrected)} ({test.name})" if test.corrected is not None else ""
            )
            lines.append(
                f"{pair.run} against {self.baseline.name}: {title(metric)} "
                + ", ".join(filter(None, [difference_text(pair.differences[metric]), found]))
            )
        return lines

    def settings_of(self, place: int) -> str:
        """The settings of a run in which the runs differ: `epochs 12, learning_rate 0.001`."""
        return ", ".join(
            f"{name} {value_text(values[place])}"
            for name, values in self.settings.items()
            if values[place] is not None
        )

    def methods(self) -> list[str]:
        """How intervals and p-values were found, a sentence each."""
        several = len(self.class_names) > 2
        area = (
            "the bootstrap of patients" if several else "DeLong's paired test, clustered by patient"
        )
        found = [
            f"Intervals of differences: 95 %, over {self.resamples:,} paired resamples of "
            f"{counted(self.num_patients, 'patient')}",
            f"p of AUROC: {area}; of accuracy: McNemar's exact test over patients; both two-sided",
        ]
        if len(self.pairs) > 1:
            found.append(
                f"p is corrected by Holm for {len(self.pairs)} comparisons with the baseline"
            )
        if several:
            found.append("AUROC, F1, sensitivity and specificity are means over the classes")
        found.append(
            "None of this covers how runs vary with their seed: train several (--num-seeds) before "
            "you call a setting better"
        )
        return found

    def to_json(self) -> dict[str, Any]:
        """The contents of `compare.json`: valid JSON, without NaN."""
        subject = self.baseline.subject
        return {
            "split": subject.split,
            "data": {"shards": subject.shards, "fingerprint": subject.fingerprint},
            "num_examples": self.num_images,
            "num_patients": self.num_patients,
            "class_names": list(self.class_names),
            "confidence": CONFIDENCE,
            "num_resamples": self.resamples,
            "seed": self.seed,
            "baseline": self.baseline.name,
            "warnings": list(self.warnings),
            "runs": [self._run_json(place, run) for place, run in enumerate(self.runs)],
            "comparisons": [_pair_json(pair) for pair in self.pairs],
        }

    def _run_json(self, place: int, run: ComparedRun) -> dict[str, Any]:
        return {
            "name": run.name,
            "run": str(run.path),
            "evaluation": str(run.directory),
            "model": run.model,
            "parameters": run.parameters,
            "seconds": run.seconds,
            "threshold": run.result.threshold,
            "settings": {name: values[place] for name, values in self.settings.items()},
            **{metric: run.result.metrics[metric].to_json() for metric in METRICS},
        }


def compare_runs(
    runs: Sequence[Path | str],
    *,
    baseline: Path | str | None = None,
    split: str = "test",
    name: str | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compares stored evaluations of runs; nothing is predicted.

    Args:
        runs: run directories, ensembles, or evaluations (`RUN/evaluation/NAME`).
        baseline: what the others are compared with; None: the first.
        split: the split that was measured.
        name: the evaluation in each run; None finds the one of `split` on images that all have.
        resamples: bootstrap resamples behind the intervals.
        seed: seed of the resamples.

    Raises:
        UserError: fewer than two runs are given, or they cannot be compared; see
            `compared_runs.opened`.
    """
    settings = CompareConfig(split=split, name=name, resamples=resamples, seed=seed)
    paths = ordered_paths(runs, baseline)
    compared = compared_runs.opened(paths, split=settings.split, name=settings.name)
    groups = patient_groups(compared[0].predictions.patients, compared[0].result.num_examples)
    drawn = _drawn(compared, groups, settings)
    areas = [_areas(drawn[0], other) for other in drawn[1:]]
    first = compared[0].predictions
    pairs = [
        Pair(
            run=run.name,
            differences={m: paired_tests.difference(drawn[0], other, m) for m in METRICS},
            areas=area,
            mcnemar=paired_tests.mcnemar(
                first.predicted == first.labels,
                run.predictions.predicted == run.predictions.labels,
                groups=groups,
            ),
            tests={},
        )
        for run, other, area in zip(compared[1:], drawn[1:], areas, strict=True)
    ]
    return Comparison(
        runs=tuple(compared),
        pairs=tuple(_tested(pairs)),
        settings=compared_runs.differing_settings(compared),
        resamples=drawn[0].resamples,
        seed=settings.seed,
        num_patients=drawn[0].examples.num_groups,
        warnings=tuple(_warnings(compared)),
    )


def ordered_paths(runs: Sequence[Path | str], baseline: Path | str | None) -> list[Path]:
    """The paths with the baseline first, which may be one of them or another.

    Raises:
        UserError: there are fewer than two.
    """
    paths = [Path(run) for run in runs]
    if baseline is not None:
        first = Path(baseline)
        paths = [first, *(path for path in paths if path.resolve() != first.resolve())]
    if len(paths) < 2:
        given = f"{paths[0]} alone" if paths else "no run"
        raise UserError(f"got {given}; expected two runs or more to compare")
    return paths


def _drawn(
    compared: Sequence[ComparedRun], groups: Any, settings: CompareConfig
) -> list[paired_tests.Drawn]:
    classes = len(compared[0].result.class_names)
    resamples = bootstrap.affordable_resamples(
        settings.resamples, examples=len(groups), classes=1 if classes == 2 else classes
    )
    return [
        paired_tests.Drawn(
            bootstrap.Examples(
                labels=run.predictions.labels,
                predicted=run.predictions.predicted,
                probabilities=run.predictions.probabilities,
                ranked_by=run.predictions.log_odds,
                groups=groups,
                scored=(1,) if classes == 2 else tuple(range(classes)),
            ),
            resamples=resamples,
            seed=settings.seed,
        )
        for run in compared
    ]


def _areas(first: paired_tests.Drawn, other: paired_tests.Drawn) -> PairedAreas | None:
    one, two = first.examples, other.examples
    positive = one.labels == 1
    if len(one.scored) > 1 or not 0 < positive.sum() < len(positive):
        return None
    return delong.paired(positive, one.ranked_by, two.ranked_by, groups=one.groups)


def _tested(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs with the p-values of both questions, each corrected for the number of pairs."""
    found: list[dict[str, Test]] = [{} for _ in pairs]
    for metric in TESTED:
        tests = [_test(pair, metric) for pair in pairs]
        known = [test.p_value for test in tests if test.p_value is not None]
        corrected = iter(paired_tests.holm(known))
        for place, test in enumerate(tests):
            value = None if test.p_value is None else next(corrected)
            found[place][metric] = dataclasses.replace(test, corrected=value)
    return [
        dataclasses.replace(pair, tests=tests) for pair, tests in zip(pairs, found, strict=True)
    ]


def _test(pair: Pair, metric: str) -> Test:
    if metric == "accuracy":
        return Test("McNemar", pair.mcnemar.p_value, None)
    if pair.areas is not None:
        return Test("DeLong", pair.areas.p_value, None)
    return Test("bootstrap", pair.differences[metric].p_value, None)


def _warnings(compared: Sequence[ComparedRun]) -> list[str]:
    """What is wrong with the evaluations, each once, with the runs that it holds for."""
    first = compared[0].subject
    found: dict[str, list[str]] = {}
    for run in compared:
        for warning in run.subject.warnings:
            found.setdefault(warning, []).append(run.name)
        if run.subject.identity != first.identity:
            found.setdefault(
                "these images were read from other shards than the baseline's", []
            ).append(run.name)
        if run.subject.prevalence != first.prevalence or run.subject.classes != first.classes:
            found.setdefault(
                "evaluated with another --prevalence or other --classes than the baseline: "
                "only AUROC can be compared",
                [],
            ).append(run.name)
    return [
        warning if len(names) == len(compared) else f"{', '.join(names)}: {warning}"
        for warning, names in found.items()
    ]


def _pair_json(pair: Pair) -> dict[str, Any]:
    return {
        "run": pair.run,
        "differences": {
            metric: dataclasses.asdict(found) for metric, found in pair.differences.items()
        },
        "delong": None if pair.areas is None else dataclasses.asdict(pair.areas),
        "mcnemar": {
            "only_baseline": pair.mcnemar.only_a,
            "only_run": pair.mcnemar.only_b,
            "p_value": pair.mcnemar.p_value,
            "statistic": pair.mcnemar.statistic,
            "p_corrected_for_continuity": pair.mcnemar.p_corrected,
        },
        "tests": {
            metric: {"test": test.name, "p_value": test.p_value, "p_holm": test.corrected}
            for metric, test in pair.tests.items()
        },
    }


def difference_text(found: Difference) -> str:
    """`+0.0123 (+0.0010 to +0.0236)`."""
    interval = interval_text(found)
    return signed(found.value) + (f" ({interval})" if interval else "")


def interval_text(found: Difference) -> str:
    """`+0.0010 to +0.0236`, or nothing where there is none."""
    if found.low is None or found.high is None:
        return ""
    return f"{signed(found.low)} to {signed(found.high)}"


def signed(value: float | None) -> str:
    """A difference to four decimals with its sign; `undefined` without one."""
    if value is None:
        return "undefined"
    text = f"{value:+.4f}"
    return "0.0000" if text[1:] == "0.0000" else text


def p_text(value: float | None) -> str:
    """A p-value to two significant digits: `0.31`, `0.032`, `0.00021`, `<0.0001`."""
    if value is None:
        return ""
    if value < 1e-4:
        return "<0.0001"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def value_text(value: Any) -> str:
    """A setting as a table shows it: `0.001`, `on`, `none`."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return "/".join(map(value_text, value))
    return str(value)
