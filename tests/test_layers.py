"""Holds the layers that engine and tuning draw in their docstrings: who may import whom, and what `--help` imports."""

import ast
import graphlib
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

import engine
import tuning

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("engine", "tuning", "benchmarks")
ROWS = ("commands", "runs", "parts", "formats", "ground")
# Commands outside the packages with a table, where they are the first row.
OTHER_COMMANDS = ("benchmarks.__main__",)
HEAVY = (
    "tensorflow",
    "keras",
    "tensorflow_datasets",
    "keras_tuner",
    "matplotlib",
    "scipy",
    "tf_keras",
)


def read_table(package: types.ModuleType) -> dict[str, list[str]]:
    """The table in the docstring of a package: row -> module names."""
    table: dict[str, list[str]] = {}
    row = None
    for line in (package.__doc__ or "").splitlines():
        match = re.match(r"    (\w+)?  +([a-z_ ]+)$", line)
        if match is None:
            row = None
            continue
        row = match[1] or row
        if row is not None:
            table.setdefault(row, []).extend(match[2].split())
    return table


TABLES = {"engine": read_table(engine), "tuning": read_table(tuning)}
ROW_OF = {
    f"{package}.{name}": row
    for package, table in TABLES.items()
    for row, names in table.items()
    for name in names
}
COMMANDS = {name for name, row in ROW_OF.items() if row == "commands"} | set(OTHER_COMMANDS)


def module_names() -> dict[str, Path]:
    """Every module of the project: dotted name -> file."""
    names = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


MODULES = module_names()


def imports_of(path: Path, module: str) -> set[str]:
    """The project's modules that a file names in any import, in functions and type checks too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return {found for node in ast.walk(tree) for found in _imported(node, package)} - {module}


def _imported(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        candidates = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            above = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
            base = f"{above}.{base}".rstrip(".")
        candidates = [f"{base}.{alias.name}" for alias in node.names]
    elif _is_import_call(node):
        candidates = [node.args[0].value]  # type: ignore[attr-defined]
    else:
        return
    for name in candidates:
        # `from engine.config import UserError` names a module and something in it.
        while name and name not in MODULES:
            name = name.rpartition(".")[0]
        if name and name not in PACKAGES:
            yield name


def _is_import_call(node: ast.AST) -> bool:
    """`importlib.import_module("engine.x")`."""
    return (
        isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith(("import_module", "__import__"))
        and bool(node.args)
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    )


GRAPH = {module: imports_of(path, module) for module, path in MODULES.items()}


@pytest.mark.parametrize("package", TABLES)
def test_the_table_has_the_five_rows_in_order(package: str) -> None:
    assert tuple(TABLES[package]) == ROWS
    assert "settings" in TABLES[package]["ground"]


@pytest.mark.parametrize("package", TABLES)
def test_every_module_has_one_row(package: str) -> None:
    listed = [name for names in TABLES[package].values() for name in names]
    twice = sorted({name for name in listed if listed.count(name) > 1})
    assert not twice, f"{twice} stand in two rows of the table in {package}/__init__.py"
    missing = [m for m in MODULES if m.startswith(f"{package}.") and m not in ROW_OF]
    assert not missing, (
        f"{missing} stand in no row; add each to the row of the table in {package}/__init__.py that it "
        "belongs to (commands, runs, parts, formats or ground)"
    )


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith(("engine.", "tuning."))])
def test_a_module_imports_only_from_its_row_and_below(module: str) -> None:
    if module not in ROW_OF:
        pytest.skip("named by test_every_module_has_one_row")
    level = ROWS.index(ROW_OF[module])
    upwards = [
        other for other in GRAPH[module] if other in ROW_OF and ROWS.index(ROW_OF[other]) < level
    ]
    assert not upwards, f"{module} ({ROW_OF[module]}) imports {upwards} from rows above its own"


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
        "def f():\n    from engine import files\n    import engine.config\n"
        "import importlib\nimportlib.import_module('engine.progress')\n"
        "from engine.settings import TrainConfig\nfrom . import command_line\n"
    )
    seen = {name for node in ast.walk(ast.parse(source)) for name in _imported(node, "engine")}
    assert seen == {
        f"engine.{name}" for name in ("files", "config", "progress", "settings", "command_line")
    }


@pytest.mark.parametrize("module", sorted(COMMANDS & MODULES.keys()))
def test_help_answers_without_heavy_imports(module: str) -> None:
    # None in sys.modules makes an import of that name fail.
    program = (
        "import runpy, sys\n"
        f"sys.modules.update(dict.fromkeys({HEAVY!r}))\n"
        f"sys.argv = [{module!r}, '--help']\n"
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage:")
    assert not done.stderr
