"""`python docs/generate_architecture.py`: writes docs/architecture.md, the import drawing of the project.

Nothing is imported: the files are parsed. `tests/test_architecture.py` compares the page with the code.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
PROJECT = ("engine", "tuning", "benchmarks")
COMMANDS = "commands"
ABOVE = ("tuning", "benchmarks")  # boxes of their own, beside the commands


def _rows() -> list[str]:
    """The boxes from top to bottom: tuning and benchmarks, then the table of engine/__init__.py."""
    source = (ROOT / "engine" / "__init__.py").read_text(encoding="utf-8")
    table = ast.get_docstring(ast.parse(source), clean=False) or ""
    return [*ABOVE, *re.findall(r"^    (\w+) {2,}\S", table, re.MULTILINE)]


ROWS = _rows()


def read_modules() -> dict[str, ast.Module]:
    """Every module of the project by its dotted name."""
    modules = {}
    for package in PROJECT:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            modules[name] = ast.parse(path.read_text(encoding="utf-8"))
    return modules


def box_of(module: str) -> str:
    """The box that a module is drawn in: a row of engine, its commands, tuning or benchmarks."""
    package, *rest = module.split(".")
    if package != "engine":
        return package
    return rest[0] if rest and rest[0] in ROWS else COMMANDS


def arrows(modules: Mapping[str, ast.Module]) -> dict[tuple[str, str], int]:
    """(importing box, imported box) -> how many pairs of modules stand behind the arrow."""
    found: dict[tuple[str, str], int] = {}
    for module, others in imports(modules).items():
        if module == "engine":  # offers the Python API lazily, from the commands' row
            continue
        for other in others:
            pair = (box_of(module), box_of(other))
            if pair[0] != pair[1]:
                found[pair] = found.get(pair, 0) + 1
    return found


def imports(modules: Mapping[str, ast.Module]) -> dict[str, set[str]]:
    """Module -> the modules that it names in any import, in functions and type checks too."""
    graph = {}
    for module, tree in modules.items():
        package = module if is_package(module) else module.rpartition(".")[0]
        graph[module] = imported_modules(tree, package, modules) - {module}
    return graph


def imported_modules(tree: ast.Module, package: str, modules: Mapping[str, ast.Module]) -> set[str]:
    """The modules that a file of `package` names, without the top packages themselves."""
    names = (name for node in ast.walk(tree) for name in _imported_names(node, package))
    return {_module_of(name, modules) for name in names} - {"", *PROJECT}


def _imported_names(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            above = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
            base = f"{above}.{base}".rstrip(".")
        yield from (f"{base}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call):
        yield from _called_name(node)


def _called_name(call: ast.Call) -> Iterator[str]:
    """The name in `importlib.import_module("engine.x")`."""
    if ast.unparse(call.func).endswith(("import_module", "__import__")) and call.args:
        name = call.args[0]
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            yield name.value


def _module_of(name: str, modules: Mapping[str, ast.Module]) -> str:
    """The module that a dotted name lies in: `engine.base.config.UserError` -> `engine.base.config`."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name


def upwards(found: Mapping[tuple[str, str], int], order: list[str]) -> list[tuple[str, str]]:
    """Arrows that point upwards, or between tuning and benchmarks; there must be none."""
    return [
        (low, high)
        for low, high in found
        if order.index(high) < order.index(low) or {low, high} == set(ABOVE)
    ]


def essential(found: Mapping[tuple[str, str], int]) -> list[tuple[str, str]]:
    """The arrows without those that a longer path implies (the transitive reduction)."""
    following: dict[str, set[str]] = {}
    for start, end in found:
        following.setdefault(start, set()).add(end)

    def reachable(start: str) -> set[str]:
        ends = following.get(start, set())
        return ends.union(*(reachable(end) for end in ends))

    return [
        (start, end)
        for start, end in found
        if not any(end in reachable(other) for other in following[start] - {end})
    ]


def is_package(name: str) -> bool:
    """Whether a module is a package of the project, one folder with its `__init__`."""
    return (ROOT.joinpath(*name.split("."), "__init__.py")).is_file()


def purpose(name: str, modules: Mapping[str, ast.Module]) -> str:
    """The first line of a module's docstring."""
    return (ast.get_docstring(modules[name]) or "").partition("\n")[0]


def render() -> str:
    """The page."""
    modules = read_modules()
    found = arrows(modules)
    drawn = sorted(essential(found), key=lambda pair: [ROWS.index(box) for box in pair])
    sections = [
        "# Architecture",
        "Drawn from the imports by `make docs`. `tests/test_architecture.py` checks that this page is\n"
        "up to date, that arrows point only downwards, and that there are no circles.",
        "Data flows from bottom to top: images become shards, shards become batches, a training turns\n"
        "batches into a run, and a run is evaluated and used. [The API reference](api.md) describes the\n"
        "objects that travel between the packages.",
        "\n".join(
            [
                "```mermaid",
                "flowchart TD",
                *(f"    {box}" for box in ROWS),
                *(f"    {start} --> {end}" for start, end in drawn),
                "```",
            ]
        ),
        f'An arrow means "imports". There are {len(found)} between {len(ROWS)} boxes; those that a\n'
        "longer path implies are left out of the drawing. All of them, with the number of pairs of\n"
        "modules behind each:",
        _matrix(found),
        "## The packages",
        _purposes(modules),
        *_modules(modules),
    ]
    return "\n\n".join(sections) + "\n"


def _matrix(found: Mapping[tuple[str, str], int]) -> str:
    imported = [box for box in ROWS if any(end == box for _, end in found)]
    lines = [
        "| imports | " + " | ".join(imported) + " |",
        "| --- |" + " ---: |" * len(imported),
    ]
    for box in ROWS:
        counts = [str(found.get((box, other), "")) for other in imported]
        if any(counts):
            lines.append(f"| **{box}** | " + " | ".join(counts) + " |")
    return "\n".join(lines)


def _purposes(modules: Mapping[str, ast.Module]) -> str:
    lines = ["| package | purpose |", "| --- | --- |"]
    for box in ROWS:
        if box == COMMANDS:
            lines.append("| `engine/` | the commands, each `python -m engine.<command>` |")
        elif box in ABOVE:
            lines.append(f"| `{box}/` | {purpose(box, modules)} |")
        else:
            place = f"engine/{box}/" if is_package(f"engine.{box}") else f"engine/{box}.py"
            lines.append(f"| `{place}` | {purpose(f'engine.{box}', modules)} |")
    return "\n".join(lines)


def _modules(modules: Mapping[str, ast.Module]) -> Iterator[str]:
    for box in ROWS:
        names = [name for name in modules if box_of(name) == box]
        shown = [name for name in names if purpose(name, modules) and name not in (box, "engine")]
        lines = ["| module | |", "| --- | --- |"]
        for name in shown:
            if name != f"engine.{box}":
                text = purpose(name, modules).replace("|", "\\|")
                lines.append(f"| `{name}` | {text} |")
        if len(lines) > 2:
            yield f"### {box}"
            yield "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
