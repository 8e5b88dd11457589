"""Modules that can be called: `engine.train(...)` is a function, `python -m engine.train` a command.

A function of a package and a submodule of the same name would take each other's place, depending on which
was imported first. So the submodule is the one object of that name, and calling it calls the function
(https://docs.python.org/3/reference/datamodel.html#customizing-module-attribute-access).
"""

import inspect
import sys
import types
from collections.abc import Callable
from typing import Any


def make_callable(module_name: str, function: Callable[..., Any]) -> None:
    """Has calls of an imported module go to `function`, whose signature and docstring it shows."""
    members = {"__call__": staticmethod(function), "__signature__": inspect.signature(function)}
    module = sys.modules[module_name]
    module.__class__ = type("CallableModule", (types.ModuleType,), members)
