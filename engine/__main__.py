"""`python -m engine COMMAND ...`: lists the commands, or runs one of them.

Installed, it is `tfdata-engine COMMAND ...`. The commands of this project's other packages run from here
where they are installed too; they are found by their names, not imported.
"""

import ast
import importlib
import importlib.util
import sys
import textwrap
from pathlib import Path

import engine
from engine.base import command_line, flag_parser
from engine.base.setting_names import did_you_mean

# In the order of the work. Name -> module.
COMMANDS = {
    "phantoms": "engine.phantoms.__main__",
    "inspect_images": "engine.inspect_images",
    "build_tfrecords": "engine.build_tfrecords",
    "train": "engine.train",
    "launch": "engine.launch",
    "data_service": "engine.data_service",
    "evaluate": "engine.evaluate",
    "compare": "engine.compare",
    "report": "engine.report",
    "predict": "engine.predict",
    "explain": "engine.explain",
    "export": "engine.export",
    "demo_summary": "engine.demo_summary",
    "search": "tuning.search",
    "benchmarks": "benchmarks.__main__",
}
WIDTH = 80
_HELP, _VERSION = ("-h", "--help", "help"), ("--version", "-V")


def main(argv: list[str] | None = None) -> int:
    """Runs the command that `argv` names, by default that of the process; returns its exit status."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in _HELP:
        print(overview(), end="")
        return command_line.DONE
    if name in _VERSION:
        print(f"tfdata-engine {engine.__version__}")
        return command_line.DONE
    module, installed = COMMANDS.get(name.replace("-", "_")), _installed()
    if module is None or module not in installed:
        known = did_you_mean(name, [name for name in COMMANDS if COMMANDS[name] in installed])
        print(f"{program()}: error: no command is called {name!r}{known}", file=sys.stderr)
        return command_line.WRONG_INPUT
    return importlib.import_module(module).main(rest)


def program() -> str:
    """How this program was started: `tfdata-engine` or `python -m engine`."""
    started = Path(sys.argv[0]).name
    return "tfdata-engine" if started.startswith("tfdata-engine") else "python -m engine"


def overview() -> str:
    """The commands with one line each, within `WIDTH` columns."""
    installed = _installed()
    names = {name: module for name, module in COMMANDS.items() if module in installed}
    width = max(map(len, names))
    lines = [f"  {name:{width}}  {_summary(installed[names[name]])}" for name in names]
    purpose = (engine.__doc__ or "").partition("\n")[0]
    head = f"usage: {program()} COMMAND ...\n\n{textwrap.fill(purpose, WIDTH)}\n"
    foot = f"`{program()} COMMAND --help` describes a command and its flags."
    return "\n".join([head, "commands:", *lines, "", foot, ""])


def _installed() -> dict[str, Path]:
    """The commands that are there: module -> file."""
    files = {}
    for module in COMMANDS.values():
        # The package alone is imported, as `find_spec` does; none of these imports anything.
        package, _, name = module.rpartition(".")
        try:
            spec = importlib.util.find_spec(package)
        except ModuleNotFoundError:
            continue
        for directory in (spec.submodule_search_locations or ()) if spec is not None else ():
            path = Path(directory) / f"{name}.py"
            if path.is_file():
                files[module] = path
    return files


def _summary(path: Path) -> str:
    """The first line of a command's docstring, read without importing it."""
    docstring = ast.get_docstring(ast.parse(path.read_bytes())) or ""
    return flag_parser.summary(docstring).rstrip(".")


if __name__ == "__main__":
    sys.exit(main())
