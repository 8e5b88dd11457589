"""A page's commands and Python blocks, run in this process with numbers that let them end in seconds."""

import importlib
import re
import types
from collections.abc import Callable, Sequence
from pathlib import Path

import markdown_blocks

NOT_RUN = "not run"  # how the comment above a block begins that leaves it out


def command_module(name: str) -> types.ModuleType:
    """What `python -m name` runs."""
    module = importlib.import_module(name)
    return importlib.import_module(f"{name}.__main__") if hasattr(module, "__path__") else module


def runnable(page: str, *languages: str) -> list[markdown_blocks.Block]:
    """The blocks of a page in these languages, but for those that are marked as not run."""
    return [
        block
        for block in markdown_blocks.blocks(page)
        if block.language in languages and not block.title.startswith(NOT_RUN)
    ]


def run_page(
    path: Path, *, small: Callable[[str, list[str]], str], smaller_python: Callable
) -> None:
    """Runs commands and Python blocks from top to bottom; Python blocks share a namespace.

    Args:
        small: what to add to a command's flags, by its module and its words.
        smaller_python: what a block's text becomes.
    """
    namespace = {"__name__": "documentation"}
    for block in runnable(path.read_text(encoding="utf-8"), "sh", "python"):
        if block.language == "python":
            run_python(block, path, namespace, smaller_python)
            continue
        for module, *words in markdown_blocks.commands(block.text):
            words += small(module, words).split()
            status = command_module(module).main(words)
            assert status == 0, f"{path.name}, line {block.line}: {module} {' '.join(words)}"


def run_python(
    block: markdown_blocks.Block, path: Path, namespace: dict, smaller_python: Callable
) -> None:
    """Runs a Python block under the page's own name and line, so that a traceback leads there."""
    source = "\n" * (block.line - 1) + smaller_python(block.text)
    exec(compile(source, str(path), "exec"), namespace)


def smaller(text: str, sizes: Sequence[int] = (128,)) -> str:
    """Python with numbers that let it end in seconds; nothing else is changed.

    Args:
        sizes: of images, in pixels, that become 32.
    """
    text = re.sub(r"\bepochs=\d+", "epochs=1", text)
    text = re.sub(r"global_batch_size=\d+", "global_batch_size=16", text)
    for size in sizes:
        text = text.replace(f"image_size={size}", "image_size=32")
        text = text.replace(f"({size}, {size}", "(32, 32")
    return text
