"""`python docs/generate_api.py`: writes docs/api.md (the Python API) and docs/settings.md (every flag).

The API is read from the source files, so nothing is imported and the page is the same under every
version of Python; settings come from the settings classes themselves. `tests/test_api_pages.py`
compares both pages with the code.
"""

import argparse
import ast
import dataclasses
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [] if str(ROOT) in sys.path else [str(ROOT)]
API, SETTINGS = ROOT / "docs" / "api.md", ROOT / "docs" / "settings.md"
WIDTH = 100
# What users may rely on, by topic; everything else is internal and may change.
TOPICS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Every command as a function", ("engine.api", "engine.inference.prediction")),
    (
        "Data for plain Keras",
        (
            "engine.pipeline.datasets",
            "engine.pipeline.augmented_model",
            "engine.pipeline.resume_training",
            "engine.pipeline.augmentation",
        ),
    ),
    (
        "Input of a training",
        ("engine.pipeline.plan", "engine.pipeline.training_input", "engine.pipeline.reading"),
    ),
    ("Networks", ("engine.networks.network", "engine.networks.registry")),
    (
        "Training",
        (
            "engine.training.trainer",
            "engine.training.callbacks",
            "engine.training.losses",
            "engine.training.state",
        ),
    ),
    (
        "Using a model",
        (
            "engine.inference.predictor",
            "engine.inference.ensemble",
            "engine.inference.evidence",
            "engine.inference.explanation",
        ),
    ),
    (
        "Looking at images",
        (
            "engine.inspection.inspection",
            "engine.inspection.summaries",
            "engine.inspection.shortcuts",
            "engine.inspection.copies",
            "engine.inspection.suspected_labels",
        ),
    ),
    (
        "Seeing inside",
        (
            "engine.explaining.explained_files",
            "engine.explaining.localisation",
            "engine.explaining.sanity_check",
            "engine.inference.grad_cam",
            "engine.inference.occlusion",
            "engine.inference.pooled_evidence",
            "engine.inference.kernels",
            "engine.images.boxes",
        ),
    ),
    (
        "Evaluation",
        (
            "engine.evaluation.run_evaluation",
            "engine.metrics.evaluation",
            "engine.metrics.subject",
            "engine.metrics.estimate",
            "engine.metrics.shift_results",
            "engine.metrics.strata_results",
            "engine.metrics.member_results",
            "engine.metrics.thresholds",
        ),
    ),
    (
        "Files",
        (
            "engine.images.format",
            "engine.shards.manifest",
            "engine.runs.run_directory",
            "engine.runs.contract",
        ),
    ),
    ("Settings and errors", ("engine.base.config",)),
)
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def render_api() -> str:
    """The page of the Python API."""
    sections = [
        "# Python API",
        "Generated from the source by `make docs`. What stands here is what users may rely on;\n"
        "everything else is internal. Arrays are described as dtype[shape], B being the batch.",
        "\n".join(
            f"- [{topic}](#{_anchor(topic)}): " + ", ".join(f"`{name}`" for name in modules)
            for topic, modules in TOPICS
        ),
    ]
    for topic, modules in TOPICS:
        sections.append(f"## {topic}")
        for module in modules:
            sections.extend(_module_sections(module))
    return "\n\n".join(sections) + "\n"


def _module_sections(module: str) -> Iterator[str]:
    path = ROOT.joinpath(*module.split("."))
    file = path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"
    tree = ast.parse(file.read_text(encoding="utf-8"))
    yield f"### {module}"
    yield as_markdown(ast.get_docstring(tree) or "")
    for node in tree.body:
        if isinstance(node, Definition) and _is_public(node):
            yield from _definition_sections(node)


def _definition_sections(node: Definition) -> Iterator[str]:
    kind = "class" if isinstance(node, ast.ClassDef) else "function"
    yield f"#### {kind} `{node.name}`"
    if isinstance(node, ast.ClassDef):
        yield _code(_class_signature(node))
        yield as_markdown(ast.get_docstring(node) or "")
        for member in node.body:
            if isinstance(member, ast.FunctionDef) and _is_public(member):
                yield f"**`{node.name}.{member.name}`**"
                yield _code(signature(member))
                yield as_markdown(ast.get_docstring(member) or "")
    else:
        yield _code(signature(node))
        yield as_markdown(ast.get_docstring(node) or "")


def _is_public(node: Definition) -> bool:
    return not node.name.startswith("_") and ast.get_docstring(node) is not None


def signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """`def name(...)`, one parameter per line where it is long."""
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    decorators = [f"@{ast.unparse(one)}" for one in node.decorator_list]
    marks = [line + "\n" for line in decorators if line in ("@property", "@classmethod")]
    whole = f"def {node.name}({ast.unparse(node.args)}){result}"
    if len(whole) > WIDTH - 10:
        inside = "".join(f"    {one},\n" for one in _parameters(node.args))
        whole = f"def {node.name}(\n{inside}){result}"
    return "".join(marks) + whole


def _parameters(arguments: ast.arguments) -> list[str]:
    """Each parameter as it is written, `*` and `/` among them."""
    parts, depth, current = [], 0, ""
    for character in ast.unparse(arguments):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append(current.strip())
            current = ""
        else:
            current += character
    return [*parts, current.strip()]


def _class_signature(node: ast.ClassDef) -> str:
    bases = [ast.unparse(base) for base in node.bases if ast.unparse(base) != "Protocol"]
    lines = [f"class {node.name}" + (f"({', '.join(bases)})" if bases else "")]
    for member in node.body:
        if isinstance(member, ast.AnnAssign) and not _named(member.target).startswith("_"):
            default = f" = {ast.unparse(member.value)}" if member.value else ""
            line = f"    {_named(member.target)}: {ast.unparse(member.annotation)}{default}"
            lines.append(line if len(line) <= WIDTH else line.partition(" = ")[0])
        elif isinstance(member, ast.FunctionDef) and member.name == "__init__":
            lines += ["    " + line for line in signature(member).splitlines()]
    return "\n".join(lines)


def _named(target: ast.expr) -> str:
    return ast.unparse(target)


def _code(text: str) -> str:
    return f"```python\n{text}\n```"


def as_markdown(docstring: str) -> str:
    """A docstring as Markdown: `Args:` and its like become lists, indented blocks stay as they are."""
    lines: list[str] = []
    in_section = in_columns = False
    for line in docstring.splitlines():
        heading = re.fullmatch(r"(Args|Returns|Raises|Attributes|Yields|Example):", line)
        entry = re.match(r"    (?! )(\*{0,2}[\w, .*]+):\s(.*)", line)
        if heading:
            in_section = heading[1] != "Example"
            lines += ["", f"{heading[1]}:", ""]
        elif in_section and entry:
            lines.append(f"- `{entry[1]}`: {entry[2]}")
        elif in_section and line.startswith("    "):
            continued = bool(lines) and lines[-1].startswith(("- ", "  "))
            lines.append(("  " if continued else "- ") + line.strip())
        else:
            in_section = in_section and not line.strip()
            begins = re.match(r"\S+(?: \S+)* {2,}\S", line) and not in_section
            in_columns = bool(begins or (in_columns and line.startswith("      ")))
            lines.append(f"    {line}" if in_columns else line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _anchor(topic: str) -> str:
    return topic.lower().replace(" ", "-")


def render_settings() -> str:
    """The page of the settings of every command."""
    from engine.base import build_settings, config, inspect_settings, run_settings, settings
    from tuning.settings import SearchConfig

    commands = {
        "engine.inspect_images": inspect_settings.InspectConfig,
        "engine.build_tfrecords": build_settings.BuildConfig,
        "engine.train": settings.TrainConfig,
        "engine.evaluate": run_settings.EvaluateConfig,
        "engine.predict": run_settings.PredictConfig,
        "engine.explain": run_settings.ExplainConfig,
        "engine.phantoms": build_settings.PhantomConfig,
        "tuning.search": SearchConfig,
    }
    sections = [
        "# Settings",
        "Generated by `make docs`. A setting is a flag (`--global-batch-size`), a key of a `--config`\n"
        "file (`global_batch_size`) and, from Python, a keyword argument. `tuning.search` also takes\n"
        "every setting of `engine.train`, as a value to keep or a range to search.",
    ]
    for command, config_class in commands.items():
        sections.append(f"## {command}")
        for title, fields in config.flag_groups(config_class):
            if (
                command != "tuning.search"
                or fields[0].name in vars(SearchConfig)["__annotations__"]
            ):
                sections += [f"**{title[0].upper() + title[1:]}**", _settings_table(fields)]
    return "\n\n".join(sections) + "\n"


def _settings_table(fields: list[dataclasses.Field]) -> str:
    lines = ["| setting | default | |", "| --- | --- | --- |"]
    for field in fields:
        described = str(field.metadata.get("help", "")).replace("|", "\\|")
        choices = field.metadata.get("choices")
        if choices:
            described = ", ".join(f"`{choice}`" for choice in choices) + f": {described}"
        default = "none" if field.default is None else field.default
        lines.append(f"| `{field.name}` | {default} | {described} |")
    return "\n".join(lines)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    API.write_text(render_api(), encoding="utf-8")
    SETTINGS.write_text(render_settings(), encoding="utf-8")
