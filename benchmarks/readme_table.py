"""`python -m benchmarks.readme_table [RUN] [--search SEARCH]`: writes the measured tables of README.md and docs/.

The tables come from `benchmarks/results/`. Each stands between two markers, and nothing in it is typed
by hand: a test compares them with the JSON files. Speeds come from `python -m benchmarks --json`, the
default training from a run that was evaluated with `--shifts`, the search from one made with
`--compare-default`; where RUN or SEARCH is given, its figures are stored in `benchmarks/results/` first.
"""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks import highlights, outcomes
from benchmarks.outcomes import Outcome
from benchmarks.reports import number, times
from engine.base import command_line, files
from engine.base.config import UserError
from engine.base.flag_parser import FlagParser
from engine.metrics.estimate import HEADLINE, Estimate, title
from engine.metrics.shift_results import ShiftResults
from engine.runs import stored_evaluations
from engine.runs.run_directory import RunDirectory

PROGRAM = "python -m benchmarks.readme_table"
ROOT = Path(__file__).resolve().parent.parent
RESULTS, README = ROOT / "benchmarks/results", ROOT / "README.md"
CHART = ROOT / "docs" / "images" / "loaders.png"
TRAINING = RESULTS / "training" / "default.json"
GENERALIZATION = RESULTS / "generalization.json"
SEARCH = RESULTS / "tuning" / "search.json"
# Where each table stands.
PAGES = {
    README: ("figures", "comparisons"),
    ROOT / "docs" / "benchmarks.md": ("generalization", "training", "benchmarks", "division"),
    ROOT / "docs" / "search.md": ("search",),
}


def render(results: Path) -> str:
    """Every stored result of the benchmarks: hardware, then tables of images/s, ratios and figures.

    Raises:
        UserError: there are no results.
    """
    found = [files.read_json(path) for path in sorted(results.glob("*.json"))]
    if not found:
        raise UserError(f"{results}: holds no results; python -m benchmarks --json {results}")
    lines = [*_conditions(found), "", "| suite | what | images/s | 90 % interval |"]
    lines.append("| --- | --- | ---: | ---: |")
    for result in found:
        for row in result["rows"]:
            name = f"{row['group']}: {row['name']}" if row["group"] else row["name"]
            interval = f"{number(row['low'])}-{number(row['high'])}"
            speed = number(row["images_per_second"])
            lines.append(f"| `{result['suite']}` | {name} | {speed} | {interval} |")
    lines += [
        "",
        "| suite | times as fast, pair by pair | median | 90 % interval | target, result |",
    ]
    lines.append("| --- | --- | ---: | ---: | --- |")
    for result in found:
        for ratio in result["ratios"]:
            lines.append(_ratio_line(result["suite"], ratio))
    lines += ["", "| suite | figure | value |", "| --- | --- | ---: |"]
    for result in found:
        for name, value in result["figures"].items():
            lines.append(f"| `{result['suite']}` | {name} | {value:.4g} |")
    sentences = [
        f"- `{result['suite']}`: {text}" for result in found for text in result["sentences"]
    ]
    return "\n".join([*lines, "", *sentences])


def take_over(run: RunDirectory) -> dict[str, Any]:
    """What is published of a run: its training, and its test split as it is and shifted.

    Raises:
        UserError: the run was not evaluated on its test split with `--shifts`.
    """
    result = stored_evaluations.read(run.evaluation("test"))
    if result.shifts is None:
        raise UserError(f"{run.path}: no shifts were measured; evaluate it with --shifts")
    environment = run.read_environment()
    return {
        "training": files.read_json(run.training_summary),
        "splits": {
            name: split["num_examples"] for name, split in environment["data"]["splits"].items()
        },
        "processor": environment["processor"],
        "cores": environment["cores"],
        "versions": environment["versions"],
        "precision": environment["runtime"]["precision"],
        "num_patients": result.num_patients,
        "threshold": result.threshold,
        "metrics": {name: result.metrics[name].to_json() for name in HEADLINE},
        "shifts": result.shifts.to_json(),
    }


def take_over_search(search: Path) -> dict[str, Any]:
    """What is published of a search: its size, its time, its winner, and both on the test split.

    Raises:
        UserError: the search did not compare with the default configuration on the test split.
    """
    if not (search / "held_out.json").is_file():
        raise UserError(f"{search}: no held_out.json; search with --compare-default")
    config = files.read_json(search / "search.json")
    space = files.read_json(search / "space.json")
    outcomes = [files.read_json(path) for path in sorted(search.glob("trials/*/outcome.json"))]
    held_out = files.read_json(search / "held_out.json")
    winner = files.read_json(search / "trials" / held_out["trial_id"] / "spec.json")
    environment = RunDirectory(search / "default" / "run").read_environment()
    return {
        "tuner": config["tuner"],
        "epochs": config["epochs"],
        "objective": config["objective"],
        "image_size": environment["data"]["image_size"],
        "space": space,
        "trials": dict(Counter(outcome["status"] for outcome in outcomes)),
        "seconds": round(sum(outcome["seconds"] for outcome in outcomes), 1),
        "winner": {name: winner["values"][name] for name in space},
        "held_out": {which: _headline(held_out[which]) for which in ("winner", "default")},
        "processor": environment["processor"],
        "cores": environment["cores"],
    }


def render_search(found: dict[str, Any]) -> str:
    """The table of a search: the winner and the default configuration on the test split."""
    counts = ", ".join(f"{count} {status}" for status, count in found["trials"].items())
    values = ", ".join(f"{name} {value}" for name, value in found["winner"].items())
    size = " x ".join(str(side) for side in found["image_size"])
    lines = [
        f"{found['tuner']} search at {size}, {sum(found['trials'].values())} trials ({counts}) of at "
        f"most {found['epochs']} epochs: {found['seconds'] / 60:.1f} min of trials, start-up included "
        f"({found['processor']}, {found['cores']} cores). Winner: {values}.",
        "",
        "| test split, 95 % interval over patients | winner | default |",
        "| --- | ---: | ---: |",
    ]
    held_out = found["held_out"]
    for name in HEADLINE:
        cells = [Estimate.from_json(held_out[which][name]) for which in ("winner", "default")]
        lines.append(f"| {title(name)} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def _headline(evaluation: dict[str, Any]) -> dict[str, Any]:
    """The headline metrics out of the JSON of an evaluation."""
    return {name: Estimate.from_json(evaluation[name]).to_json() for name in HEADLINE}


def render_training(found: dict[str, Any]) -> str:
    """The table of the default training, and a sentence on its shifts."""
    training = found["training"]
    versions = ", ".join(f"{name} {value}" for name, value in found["versions"].items())
    counts = " / ".join(str(count) for count in found["splits"].values())
    lines = [
        f"{found['processor']}, {found['cores']} cores; {versions}; {found['precision']}. "
        f"{' / '.join(found['splits'])}: {counts} images.",
        "",
        f"| | value | 95 % interval over {found['num_patients']} patients |",
        "| --- | ---: | ---: |",
    ]
    for name, values in found["metrics"].items():
        label = title(name) if name == "auroc" else f"{name} at threshold {found['threshold']:.3f}"
        estimate = Estimate.from_json(values)
        lines.append(f"| {label} | {estimate.value_text} | {estimate.interval_text} |")
    lines.append(
        f"| {training['epochs']} epochs | {training['seconds'] / 60:.1f} min | "
        f"{training['images_per_second']:.0f} images/s, augmentation included |"
    )
    shifts = ShiftResults.from_json(found["shifts"])
    lines += [
        "",
        f"Lowest under {shifts.num_shifts} shifts of exposure, contrast, framing, sharpness and noise: "
        f"{shifts.lowest_text()}.",
    ]
    return "\n".join(lines)


def render_generalization(path: Path) -> str:
    """The tables of the suite `generalization`: its data, then every set that was measured."""
    if not path.is_file():
        return "There are no figures of this suite yet."
    found = files.read_json(path)
    data, machine = found["data"], found["machine"]
    trained = [Outcome.from_json(values) for values in found["outcomes"]]
    counts = "; ".join(
        f"{name}: {' / '.join(f'{count:,} {split}' for split, count in splits.items())}"
        for name, splits in data["divisions"].items()
    )
    size = " x ".join(str(side) for side in data["image_shape"][:2])
    lines = [
        f"{machine['processor']}, {machine['cores']} cores; {data['source']}, {size} pixels; held out: "
        f"`{data['hold_out']}` (patients of both: {data['hold_out_shared']}). Images: {counts}.",
        "",
        outcomes.markdown(trained, found["target_auroc"]),
        "",
        *(f"- `{command}`: {name}" for name, command in found["commands"].items()),
        *(f"- `{name}` was not measured: {reason}" for name, reason in found["skipped"].items()),
    ]
    return "\n".join(lines)


def render_division(found: dict[str, Any]) -> str:
    """The table of one training divided in several ways, from the `scaling` results."""
    speeds = {row["name"]: row["images_per_second"] for row in found["rows"]}
    lines = [
        "| divided among | final loss | images/s | command |",
        "| --- | ---: | ---: | --- |",
    ]
    for name, command in found["commands"].items():
        loss = found["figures"][f"final loss, {name}"]
        lines.append(f"| {name} | {loss:.6g} | {number(speeds[name])} | `{command}` |")
    apart = [v for name, v in found["figures"].items() if name.startswith("largest difference")]
    if apart:
        lines += [
            "",
            f"The mean loss of an epoch differed by {max(apart):.1%} at most: what rounding had grown to.",
        ]
    return "\n".join(lines)


def markers(name: str) -> tuple[str, str]:
    """What stands before and after a table."""
    return f"<!-- {name}:begin -->", f"<!-- {name}:end -->"


def updated(text: str, name: str, table: str) -> str:
    """`text` with `table` between the markers of `name`.

    Raises:
        UserError: the markers are not there, each once.
    """
    begin, end = markers(name)
    if text.count(begin) != 1 or text.count(end) != 1:
        raise UserError(f"expected one {begin} and one {end}")
    head, _, rest = text.partition(begin)
    return f"{head}{begin}\n{table}\n{end}{rest.partition(end)[2]}"


def updated_page(page: Path, text: str) -> str:
    """The text of one of `PAGES` with its tables made again from the stored results."""
    for name in PAGES[page]:
        text = updated(text, name, _table(name))
    return text


def _table(name: str) -> str:
    """The table that stands between the markers of `name`."""
    if name == "figures":
        return highlights.render_figures(files.read_json(TRAINING), RESULTS)
    if name == "comparisons":
        return highlights.render_comparisons(RESULTS)
    if name == "generalization":
        return render_generalization(GENERALIZATION)
    if name == "training":
        return render_training(files.read_json(TRAINING))
    if name == "search":
        return render_search(files.read_json(SEARCH))
    if name == "division":
        return render_division(files.read_json(RESULTS / "scaling.json"))
    return render(RESULTS)


def _ratio_line(suite: str, ratio: dict[str, Any]) -> str:
    result = "not reached" if ratio["conclusion"] == "missed" else ratio["conclusion"]
    if ratio["required"] is not None:
        result = f"{ratio['required']:g}, {result}"
    interval = f"{times(ratio['low'])}-{times(ratio['high'])}"
    return (
        f"| `{suite}` | {ratio['of']} / {ratio['to']} | {times(ratio['median'])} | {interval} "
        f"| {result} |"
    )


def _conditions(found: list[dict[str, Any]]) -> list[str]:
    """Hardware, versions and commands, each once."""
    lines = []
    for result in found:
        machine = result["machine"]
        versions = ", ".join(f"{name} {value}" for name, value in machine["versions"].items())
        line = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB; {versions}."
        if line not in lines:
            lines.append(line)
    commands = [
        f"- `{result['command']}` ({result['measured_at'][:10]}; other work took "
        f"{result['busy']['others_share_of_cores'] or 0:.0%} of the cores)"
        for result in found
    ]
    return [*lines, "", *dict.fromkeys(commands)]


def main(argv: list[str] | None = None) -> int:
    """Stores the figures of a run and a search, if given, and writes the tables and the chart."""
    parser = FlagParser(prog=PROGRAM, description=__doc__.partition("\n")[0])
    parser.add_argument("run", nargs="?", metavar="RUN", help="a default training, evaluated")
    parser.add_argument(
        "--search", type=Path, metavar="SEARCH", help="a search made with --compare-default"
    )
    arguments = parser.parse_args(argv)
    return command_line.run(PROGRAM, lambda: _run(arguments.run, arguments.search))


def _run(run: str | None, search: Path | None) -> int:
    if search is not None:
        files.write_json(SEARCH, take_over_search(search))
    if run is not None:
        files.write_json(TRAINING, take_over(RunDirectory(run)))
    for page in PAGES:
        files.write_text(page, updated_page(page, page.read_text(encoding="utf-8")))
    highlights.draw_chart(RESULTS, CHART)
    return command_line.DONE


if __name__ == "__main__":
    sys.exit(main())
