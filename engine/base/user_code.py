"""Functions of users' own, named by a flag: `package.module:function` and `FILE.py:function`.

Everything that goes wrong in a user's code becomes one line with its file and line number.
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib
import importlib.machinery
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from engine.base import command_line
from engine.base.config import UserError
from engine.base.setting_names import closest


@dataclasses.dataclass(frozen=True)
class Reference:
    """Where a function is found.

    Attributes:
        flag: what named it, for messages, such as `--loss`.
        where: a file that ends in `.py`, or a module's name.
        function: its name there.
    """

    flag: str
    where: str
    function: str

    @classmethod
    def parse(cls, text: str, *, flag: str) -> "Reference":
        """The reference that a text is; no file is read.

        Raises:
            UserError: it is none.
        """
        where, _, function = text.rpartition(":")
        if not where or not function.isidentifier():
            raise UserError(f"{flag} {text}: expected package.module:function or FILE.py:function")
        return cls(flag, where, function)

    def __str__(self) -> str:
        return f"{self.flag} {self.where}:{self.function}"

    def source(self) -> Path | None:
        """The file that holds the function, without importing its module; None where it has no source.

        Raises:
            UserError: there is no such file or module.
        """
        if self.where.endswith(".py"):
            if not Path(self.where).is_file():
                raise UserError(f"{self}: {self.where} is not a file")
            return Path(self.where)
        return self._source_of_module()

    def load(self) -> Callable[..., Any]:
        """Imports the function.

        Raises:
            UserError: its module cannot be imported, or has no such function.
        """
        source = self.source()
        with command_line.quiet_imports(), command_line.without_scikit_learn():
            import keras  # noqa: F401  the user's module would print what TensorFlow prints
        with self.errors_located(source):
            module = (
                _import_file(Path(self.where))
                if self.where.endswith(".py")
                else _import_module(self.where)
            )
        found = getattr(module, self.function, None)
        if found is None:
            names = [name for name, one in vars(module).items() if callable(one)]
            raise self.no_function([name for name in names if name[0] != "_"])
        if not callable(found):
            raise UserError(
                f"{self}: {self.function} is not a function (got {type(found).__name__})"
            )
        return found

    def no_function(self, names: list[str]) -> UserError:
        """The error of a module without the function, but with others of these names."""
        meant = closest(self.function, names)
        hint = f"; did you mean {meant}?" if meant else ""
        return UserError(f"{self}: {self.where} has no function {self.function!r}{hint}")

    @contextlib.contextmanager
    def errors_located(self, source: Path | None) -> Iterator[None]:
        """Turns any error in the block into one line, with the place in `source` where it has one.

        Raises:
            UserError: an error was raised.
        """
        try:
            yield
        except (UserError, MemoryError):
            raise
        except SyntaxError as error:
            place = f"{error.filename}:{error.lineno}"
            raise UserError(f"{self}: {place}: {error.msg}") from error
        except Exception as error:
            place = place_of(error, source) or self.where
            raise UserError(f"{self}: {place}: {first_line(error)}") from error

    def _source_of_module(self) -> Path | None:
        parts = self.where.split(".")
        if not all(part.isidentifier() for part in parts):
            raise UserError(
                f"{self}: {self.where!r} is not a module; write FILE.py:function for a file"
            )
        _look_in_working_directory()
        found, path = None, None
        for index in range(len(parts)):
            name = ".".join(parts[: index + 1])
            found = importlib.machinery.PathFinder.find_spec(name, path)
            if found is None:
                raise UserError(
                    f"{self}: there is no module {name!r} in the working directory or among the "
                    "installed packages"
                )
            path = found.submodule_search_locations
        origin = None if found is None or not found.has_location else found.origin
        return Path(origin) if origin is not None and origin.endswith(".py") else None


def name_of(function: Any) -> str:
    """How a function, or another object that can be called, is recorded: `module:name`."""
    inner = function.func if isinstance(function, functools.partial) else function
    named = inner if hasattr(inner, "__qualname__") else type(inner)
    return f"{named.__module__}:{named.__qualname__}"


def place_of(error: BaseException, source: Path | None) -> str | None:
    """`FILE.py:LINE` of the innermost frame in the user's file; None where there is none."""
    if source is None:
        return None
    wanted = source.resolve()
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == wanted]
    return f"{source}:{lines[-1]}" if lines else None


def first_line(error: BaseException) -> str:
    """The type of an error and the first line of its message."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _import_module(name: str) -> ModuleType:
    _look_in_working_directory()
    return importlib.import_module(name)


def _import_file(path: Path) -> ModuleType:
    """Runs a file as a module, once per process and contents; it may import those beside it."""
    name = f"{path.stem}@{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    beside = str(path.resolve().parent)
    if beside not in sys.path:
        sys.path.append(beside)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _look_in_working_directory() -> None:
    """As `python -m` does; an installed command starts without it."""
    here = str(Path.cwd())
    if not {"", here} & set(sys.path):
        sys.path.append(here)
