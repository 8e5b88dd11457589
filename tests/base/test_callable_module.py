"""A module that is called calls its function, and stays a module."""

import inspect
import sys
import types

from engine.base import callable_module


def double(number: int, *, times: int = 1) -> int:
    """Doubles."""
    return number * 2**times


def test_a_module_that_is_called_is_still_a_module(monkeypatch):
    module = types.ModuleType("a_command", "Its own words.")
    module.main = lambda: 3
    monkeypatch.setitem(sys.modules, "a_command", module)
    callable_module.make_callable("a_command", double)
    assert module(3, times=2) == 12
    assert inspect.signature(module) == inspect.signature(double)
    assert isinstance(module, types.ModuleType) and inspect.ismodule(module)
    assert (module.main(), module.__doc__, module.__name__) == (3, "Its own words.", "a_command")
