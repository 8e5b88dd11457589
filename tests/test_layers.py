"""Holds the layers that engine and tuning draw in their docstrings: who may import whom, and what `--help` imports.

In engine a row is a package (the first one: the modules at the top); in tuning it is a list of modules.
"""

import ast
import graphlib
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import generate_architecture
import pytest
import refused_imports

import engine
import tuning

ROOT = Path(__file__).resolve().parent.parent
TUNING_ROWS = ("commands", "runs", "parts", "formats", "ground")
COMMANDS_ROW = "commands"
API_ROW = "api"  # a module at the top of engine that is no command
# Commands that are no module at the top of engine or in tuning's first row.
OTHER_COMMANDS = ("benchmarks.__main__", "engine.__main__", "engine.phantoms.__main__")
HEAVY = (
    "tensorflow",
    "keras",
    "tensorflow_datasets",
    "keras_tuner",
    "matplotlib",
    "scipy",
    "tf_keras",
)


def read_rows(package: types.ModuleType) -> dict[str, str]:
    """The table in the docstring of a package: row -> the text beside it, top to bottom."""
    rows: dict[str, str] = {}
    row = None
    for line in (package.__doc__ or "").splitlines():
        match = re.match(r"    (\w+)?  +(\S.*)$", line)
        if match is None:
            row = None
            continue
        row = match[1] or row
        if row is not None:
            rows[row] = f"{rows.get(row, '')} {match[2]}".strip()
    return rows


ENGINE_ROWS = list(read_rows(engine))
TUNING_MODULES = {row: text.split() for row, text in read_rows(tuning).items()}


def row_of(module: str) -> int | None:
    """The number of a module's row in its package, counted from the top."""
    package, _, rest = module.partition(".")
    if package == "engine":
        row, inside, _ = rest.partition(".")
        return ENGINE_ROWS.index(row if inside or row in ENGINE_ROWS else COMMANDS_ROW)
    if package == "tuning":
        found = [row for row, names in TUNING_MODULES.items() if rest in names]
        return TUNING_ROWS.index(found[0]) if found else None
    return None


COMMANDS = {
    *(
        f"engine.{path.stem}"
        for path in (ROOT / "engine").glob("*.py")
        if path.stem[0] != "_" and path.stem != API_ROW
    ),
    *(f"tuning.{name}" for name in TUNING_MODULES[COMMANDS_ROW]),
    *OTHER_COMMANDS,
}
MODULES = generate_architecture.read_modules()
GRAPH = generate_architecture.imports(MODULES)


def test_the_rows_of_engine_are_its_packages() -> None:
    packages = {path.parent.name for path in (ROOT / "engine").glob("*/__init__.py")}
    assert set(ENGINE_ROWS) == {COMMANDS_ROW, API_ROW, *packages}
    listed = set(read_rows(engine)[COMMANDS_ROW].split())
    of_engine = (command.split(".") for command in COMMANDS if command.startswith("engine."))
    assert listed == {parts[1] for parts in of_engine if len(parts) == 2} - {"__main__"}


def test_every_package_says_in_one_line_what_it_is_for() -> None:
    for path in (ROOT / "engine").glob("*/__init__.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert re.fullmatch(r'"""[A-Z].*\."""', lines[0]), path


def test_every_module_of_tuning_has_one_row() -> None:
    assert tuple(TUNING_MODULES) == TUNING_ROWS
    listed = [name for names in TUNING_MODULES.values() for name in names]
    assert len(listed) == len(set(listed))
    assert set(listed) == {path.stem for path in (ROOT / "tuning").glob("[a-z]*.py")}


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith(("engine.", "tuning."))])
def test_a_module_imports_only_from_its_row_and_below(module: str) -> None:
    package, level = module.partition(".")[0], row_of(module)
    assert level is not None
    upwards = [
        other
        for other in GRAPH[module]
        if other.startswith(f"{package}.")
        and (found := row_of(other)) is not None
        and found < level
    ]
    assert not upwards, f"{module} imports {upwards} from rows above its own"


def test_no_package_imports_in_circles() -> None:
    """Also taken as wholes: no two packages of engine need one another."""
    graph: dict[str, set[str]] = {}
    for module, others in GRAPH.items():
        if module.startswith("engine.") and module.count(".") > 1:
            package = module.split(".")[1]
            found = {other.split(".")[1] for other in others if other.count(".") > 1}
            graph.setdefault(package, set()).update(found - {package})
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"a circle of packages: {' <- '.join(error.args[1])}")


def test_imports_make_no_circle() -> None:
    try:
        graphlib.TopologicalSorter(GRAPH).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


def test_nobody_imports_a_command() -> None:
    found = {
        module: sorted(names & COMMANDS) for module, names in GRAPH.items() if names & COMMANDS
    }
    assert not found, f"commands are run, not imported; move what is shared below: {found}"


def test_engine_stands_alone_and_the_others_apart() -> None:
    allowed = {"engine": {"engine"}, "tuning": {"engine", "tuning"}}
    allowed["benchmarks"] = {"engine", "benchmarks"}
    found = [
        f"{module} imports {other}"
        for module, names in GRAPH.items()
        for other in sorted(names)
        if other.partition(".")[0] not in allowed[module.partition(".")[0]]
    ]
    assert not found


def test_imports_in_functions_and_by_name_are_seen() -> None:
    source = (
        "def f():\n    from engine.base import files\n    import engine.base.config\n"
        "import importlib\nimportlib.import_module('engine.base.progress')\n"
        "from engine.base.settings import TrainConfig\nfrom . import command_line\n"
    )
    seen = generate_architecture.imported_modules(ast.parse(source), "engine.base", MODULES)
    assert seen == {
        f"engine.base.{name}"
        for name in ("files", "config", "progress", "settings", "command_line")
    }


@pytest.mark.parametrize("module", sorted(COMMANDS & MODULES.keys()))
def test_help_answers_without_heavy_imports(module: str) -> None:
    program = (
        "import runpy, sys\n"
        f"sys.argv = [{module!r}, '--help']\n"
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", refused_imports.without(HEAVY, program)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage:")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert not done.stderr
