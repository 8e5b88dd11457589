"""The results of a suite: rows, ratios and conclusions, as tables for people and JSON for programs."""

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.harness import Measurement, Ratio
from benchmarks.outcomes import Outcome, tables
from engine.base import files

WIDTH = 80  # columns, where output is no terminal


@dataclasses.dataclass
class Report:
    """The results of one suite.

    Attributes:
        suite: its name, also that of the JSON file.
        question: one line that says what was measured.
        ratios: the comparisons, with their targets.
        figures: further numbers under stable names (`auroc`, `minutes to 0.98`, ...).
        skipped: what was not measured -> why.
        sentences: conclusions in words.
        commands: row -> the command that produced it, if it has its own.
        outcomes: of the suite that compares settings: each training on each set.
        target_auroc: the AUROC that their minutes are counted to.
        data: what was measured on, if that is not the workload.
    """

    suite: str
    question: str
    measurements: list[Measurement] = dataclasses.field(default_factory=list)
    ratios: list[Ratio] = dataclasses.field(default_factory=list)
    figures: dict[str, float] = dataclasses.field(default_factory=dict)
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)
    sentences: list[str] = dataclasses.field(default_factory=list)
    commands: dict[str, str] = dataclasses.field(default_factory=dict)
    outcomes: list[Outcome] = dataclasses.field(default_factory=list)
    target_auroc: float | None = None
    data: dict[str, Any] | None = None

    def find(self, name: str, group: str | None = None) -> Measurement:
        """The measurement of that name (and group); raises `KeyError` if there is none."""
        for measurement in self.measurements:
            if measurement.name == name and group in (None, measurement.group):
                return measurement
        raise KeyError(name)

    def to_json(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """JSON values; `context` (command, machine, settings) precedes the results."""
        return {
            "suite": self.suite,
            "question": self.question,
            "measured_at": datetime.datetime.now(datetime.timezone.utc).isoformat(
                timespec="seconds"
            ),
            **context,
            "rows": [_row(measurement) for measurement in self.measurements],
            "ratios": [_ratio(ratio) for ratio in self.ratios],
            "figures": {name: float(f"{value:.6g}") for name, value in self.figures.items()},
            "skipped": self.skipped,
            "sentences": self.sentences,
            "commands": self.commands,
            **self._outcomes_json(),
        }

    def _outcomes_json(self) -> dict[str, Any]:
        if not self.outcomes:
            return {}
        return {
            "target_auroc": self.target_auroc,
            "outcomes": [outcome.to_json() for outcome in self.outcomes],
        }


def write_json(report: Report, directory: Path, context: Mapping[str, Any]) -> Path:
    """Writes `<suite>.json` into `directory` atomically."""
    path = directory / f"{report.suite}.json"
    files.write_json(path, report.to_json(context))
    return path


def make_console(stream: Any = None) -> Console:
    """A console as wide as the terminal, or of 80 columns without one."""
    console = Console(file=stream, highlight=False)
    return console if console.is_terminal else Console(file=stream, highlight=False, width=WIDTH)


def print_report(report: Report, console: Console) -> None:
    """Prints the tables and sentences of a report."""
    console.print(f"\n[bold]{escape(report.suite)}[/bold]: {escape(report.question)}")
    for table in tables(report.outcomes, report.target_auroc or 1) if report.outcomes else ():
        console.print(table)
    if report.measurements:
        console.print(_rows_table(report.measurements))
    if report.ratios:
        console.print(_ratios_table(report.ratios))
    if report.figures:
        console.print(_figures_table(report.figures))
    for name, reason in report.skipped.items():
        console.print(f"skipped {escape(name)}: {escape(reason)}")
    noisy = [m.name for m in report.measurements if m.images_per_second.noisy]
    if noisy:
        console.print(
            f"~ marks figures too noisy to rely on ({len(noisy)} of {len(report.measurements)}): use "
            "the ratios, give more --repeats, or stop other work on the machine"
        )
    for sentence in report.sentences:
        console.print(f"[bold]{escape(sentence)}[/bold]")


def _rows_table(measurements: Sequence[Measurement]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1))
    table.add_column("what", ratio=1, overflow="fold")
    for heading in ("images/s", "90 % interval", "CPU s/1000", "peak MiB"):
        table.add_column(heading, justify="right", no_wrap=True)
    group = None
    for measurement in measurements:
        if measurement.group != group and measurement.group:
            table.add_row(f"[italic]{escape(measurement.group)}[/italic]")
        group = measurement.group
        speed = measurement.images_per_second
        table.add_row(
            ("  " if group else "") + escape(measurement.name),
            ("~" if speed.noisy else "") + number(speed.median),
            f"{number(speed.low)}-{number(speed.high)}",
            f"{measurement.cpu_seconds_per_1000_images:.3g}",
            f"{measurement.peak_memory_bytes / 2**20:,.0f}",
        )
    return table


def _ratios_table(ratios: Sequence[Ratio]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1))
    table.add_column("ratio, pair by pair", ratio=1, overflow="fold")
    for heading in ("times", "90 % interval", "target", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    for ratio in ratios:
        spread = ratio.spread
        table.add_row(
            f"{escape(ratio.side)} / {escape(ratio.other)}",
            times(spread.median),
            f"{times(spread.low)}-{times(spread.high)}",
            "" if ratio.required is None else f"{ratio.required:g}",
            ratio.conclusion,
        )
    return table


def _figures_table(figures: Mapping[str, float]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1))
    table.add_column("figure", ratio=1, overflow="fold")
    table.add_column("value", justify="right", no_wrap=True)
    for name, value in figures.items():
        table.add_row(escape(name), f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}")
    return table


def number(value: float) -> str:
    """Images/s to three significant digits: `34.1`, `5,410`, `82,300`."""
    if value >= 999.5:
        digits = len(str(round(value))) - 3
        return f"{round(value / 10**digits) * 10**digits:,}"
    return f"{value:.3g}"


def times(value: float) -> str:
    """A ratio: `0.72`, `4.10`, `23.5`."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _row(measurement: Measurement) -> dict[str, Any]:
    speed = measurement.images_per_second
    return {
        "group": measurement.group,
        "name": measurement.name,
        "images_per_second": _rounded(speed.median),
        "low": _rounded(speed.low),
        "high": _rounded(speed.high),
        "noisy": speed.noisy,
        "cpu_seconds_per_1000_images": _rounded(measurement.cpu_seconds_per_1000_images),
        "peak_memory_mib": round(measurement.peak_memory_bytes / 2**20),
        "warmup_seconds": _rounded(measurement.warmup_seconds),
        "runs": [
            {"images": sample.images, "seconds": _rounded(sample.seconds)}
            for sample in measurement.samples
        ],
    }


def _ratio(ratio: Ratio) -> dict[str, Any]:
    return {
        "of": ratio.side,
        "to": ratio.other,
        "median": _rounded(ratio.spread.median),
        "low": _rounded(ratio.spread.low),
        "high": _rounded(ratio.spread.high),
        "pairs": ratio.spread.count,
        "required": ratio.required,
        "conclusion": ratio.conclusion,
    }


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
