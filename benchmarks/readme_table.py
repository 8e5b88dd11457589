"""`python -m benchmarks.readme_table`: writes the README's table of speeds from `benchmarks/results/`.

The table stands between two markers, and nothing in it is typed by hand: a test compares it with what
this module makes of the JSON files.
"""

import sys
from pathlib import Path
from typing import Any

from benchmarks.reports import number, times
from engine import files
from engine.config import UserError

ROOT = Path(__file__).resolve().parent.parent
RESULTS, README = ROOT / "benchmarks/results", ROOT / "README.md"
BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"


def render(results: Path) -> str:
    """The text between the markers: hardware, then a table of images/s and one of ratios.

    Raises:
        UserError: there are no results.
    """
    found = [files.read_json(path) for path in sorted(results.glob("*.json"))]
    if not found:
        raise UserError(f"{results}: holds no results; python -m benchmarks --json {results}")
    lines = [*_conditions(found), "", "| suite | what | images/s | 90 % interval |"]
    lines.append("| --- | --- | ---: | ---: |")
    for one in found:
        for row in one["rows"]:
            name = f"{row['group']}: {row['name']}" if row["group"] else row["name"]
            interval = f"{number(row['low'])}-{number(row['high'])}"
            speed = number(row["images_per_second"])
            lines.append(f"| `{one['suite']}` | {name} | {speed} | {interval} |")
    lines += ["", "| suite | times as fast, pair by pair | median | 90 % interval | asked |"]
    lines.append("| --- | --- | ---: | ---: | --- |")
    for one in found:
        for ratio in one["ratios"]:
            lines.append(_ratio_line(one["suite"], ratio))
    return "\n".join(lines)


def updated(text: str, table: str) -> str:
    """`text` with `table` between its markers.

    Raises:
        UserError: the markers are not there, each once.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise UserError(f"README.md: expected one {BEGIN} and one {END}")
    head, _, rest = text.partition(BEGIN)
    return f"{head}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}"


def _ratio_line(suite: str, ratio: dict[str, Any]) -> str:
    asked = ""
    if ratio["required"] is not None:
        asked = f"{ratio['required']:g}, {ratio['conclusion']}"
    interval = f"{times(ratio['low'])}-{times(ratio['high'])}"
    return (
        f"| `{suite}` | {ratio['of']} / {ratio['to']} | {times(ratio['median'])} | {interval} "
        f"| {asked} |"
    )


def _conditions(found: list[dict[str, Any]]) -> list[str]:
    """Hardware, versions and commands, each said once."""
    lines = []
    for one in found:
        machine = one["machine"]
        versions = ", ".join(f"{name} {value}" for name, value in machine["versions"].items())
        line = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB; {versions}."
        if line not in lines:
            lines.append(line)
    commands = [
        f"- `{one['command']}` ({one['measured_at'][:10]}; other work took "
        f"{one['busy']['others_share_of_cores'] or 0:.0%} of the cores)"
        for one in found
    ]
    return [*lines, "", *dict.fromkeys(commands)]


def main() -> int:
    """Writes the table into the README."""
    files.write_text(README, updated(README.read_text(encoding="utf-8"), render(RESULTS)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
