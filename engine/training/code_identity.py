"""The identity of the user's own code that a run is trained with: compared on resume.

Of a function named by `--model` or `--loss`, and of one that is imported, it is the file; of a function of
the program itself, or of a notebook, its own text, as such a program may change between two trainings; of a
Keras model its architecture. Of lambdas, and where there is no source, there is none.
"""

import functools
import hashlib
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.base.user_code import Reference

# Of a model's JSON: the numbers that Keras counts names with, and addresses in memory.
_COUNTED = re.compile(r'(?<=\w)_\d+(?=")|, "shared_object_id": \d+')


def describe(**code: Any) -> dict[str, dict[str, str]]:
    """For each flag's name the file (or what else it is) and its SHA-256, where there is any.

    Args:
        code: by the flag's name: a `Reference`, a function or a Keras model; None for nothing.
    """
    found = {flag: _identity(value) for flag, value in code.items()}
    return {flag: identity for flag, identity in found.items() if identity is not None}


def differences(
    before: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """What has changed, such as `network.py (--model)`; what one of them lacks is not compared."""
    return [
        f"{now[flag]['file']} (--{flag})"
        for flag in sorted(before.keys() & now.keys())
        if before[flag]["sha256"] != now[flag]["sha256"]
    ]


def _identity(code: Any) -> dict[str, str] | None:
    if code is None:
        return None
    if isinstance(code, Reference):
        source = code.source()
        return None if source is None else _of_bytes(str(source), source.read_bytes())
    if hasattr(code, "to_json"):
        return _of_model(code)
    return _of_function(code)


def _of_model(model: Any) -> dict[str, str] | None:
    try:
        text = model.to_json()
    except Exception:  # Keras cannot describe code in call()
        return None
    return _of_bytes(f"the Keras model {model.name!r}", _COUNTED.sub("", text).encode())


def _of_function(function: Any) -> dict[str, str] | None:
    while isinstance(function, functools.partial):
        function = function.func
    named = inspect.unwrap(function) if hasattr(function, "__qualname__") else type(function)
    if named.__name__ == "<lambda>":
        return None
    try:
        source = inspect.getsourcefile(named)
        if named.__module__ == "__main__":
            name = f"{named.__qualname__} in {source or '__main__'}"
            return _of_bytes(name, inspect.getsource(named).encode())
        return None if source is None else _of_bytes(source, Path(source).read_bytes())
    except (OSError, TypeError):
        return None


def _of_bytes(name: str, content: bytes) -> dict[str, str]:
    return {"file": name, "sha256": hashlib.sha256(content).hexdigest()}
