"""Networks of users' own: a function in a file or a package, or a Keras model made in Python.

    def build(image_format, num_classes, width=32, dropout=0.3):
        ...
        return keras.Model(inputs, outputs)

The function gets an `ImageFormat` and the number of classes, and its other parameters as keywords; each
of these has a default, and becomes a flag. The model takes images [B, H, W, C], uint8 or float32, with
values from 0 to 255 either way, and gives logits or probabilities: one unit is the sigmoid of the second
class, several are a softmax.
"""

import contextlib
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
from engine.networks import user_signature
from engine.networks.network import Network

KERAS_MODEL = "keras.Model"  # what `--model` is recorded as where a model was given in Python


def of_reference(reference: str) -> Network:
    """The network of `package.module:function` or `FILE.py:function`.

    The signature is read from the source where that is enough: then nothing is imported until `build`.

    Raises:
        UserError: there is no such file, module or function, its parameters cannot be settings, or its
            code fails.
    """
    where, _, function = reference.rpartition(":")
    if not where or not function.isidentifier():
        raise UserError(
            f"--model {reference}: expected package.module:function or FILE.py:function"
        )
    source = _source(reference, where)
    parameters = None
    if source is not None:
        parameters = user_signature.from_source(source, function, reference)
    if parameters is None:
        loaded = _load(reference, where, function)
        parameters = user_signature.from_callable(loaded, reference)

    def build(image_format: Any, num_classes: int, **settings: Any) -> Any:
        made = _load(reference, where, function)
        with errors_located(network):
            return _checked(made(image_format, num_classes, **settings), reference)

    network = Network(
        name=reference,
        summary="a function of your own",
        build=build,
        parameters=parameters,
        precision_advice=_precision_advice,
        source=source,
    )
    return network


def of_object(model: Any) -> Network:
    """The network of a function or a Keras model.

    Raises:
        UserError: it is neither, or its parameters cannot be settings.
    """
    import keras

    if isinstance(model, keras.Model):
        return Network(
            name=KERAS_MODEL,
            summary=f"the Keras model {model.name!r}",
            build=lambda image_format, num_classes: _in_scope(model),
            precision_advice=_precision_advice,
        )
    if not callable(model):
        raise UserError(
            f"model={model!r}: expected a network's name, a Keras model, or a function that builds one"
        )
    name = f"{getattr(model, '__module__', '?')}:{getattr(model, '__qualname__', type(model).__name__)}"
    code = getattr(model, "__code__", None)

    def build(image_format: Any, num_classes: int, **settings: Any) -> Any:
        with errors_located(network):
            return _checked(model(image_format, num_classes, **settings), name)

    network = Network(
        name=name,
        summary="a function of your own",
        build=build,
        parameters=user_signature.from_callable(model, name),
        precision_advice=_precision_advice,
        source=None if code is None else Path(code.co_filename),
    )
    return network


@contextlib.contextmanager
def errors_located(network: Network) -> Iterator[None]:
    """Turns what fails in the user's own code into one line with its file and line number.

    Raises:
        UserError: an error passed through the user's file; others pass as they are.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        place = None if network.source is None else _place(error, network.source)
        if place is None:
            raise
        raise UserError(f"--model {network.name}: {place}: {_first_line(error)}") from error


def _precision_advice(settings: Any) -> str:
    return "a network of your own may have layers that are slower in bfloat16 without AMX"


def _in_scope(model: Any) -> Any:
    """The model itself; where several devices train, a copy whose variables are theirs."""
    import keras
    import tensorflow as tf

    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return model
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def _checked(model: Any, name: str) -> Any:
    import keras

    if not isinstance(model, keras.Model):
        raise UserError(
            f"--model {name}: gave {type(model).__name__}, expected a Keras model "
            "(keras.Model, keras.Sequential or a subclass)"
        )
    return model


# ---------------------------------------------------------------------------- finding and importing


def _source(reference: str, where: str) -> Path | None:
    """The file that a reference names; None of a module whose source cannot be found."""
    if where.endswith(".py"):
        if not Path(where).is_file():
            raise UserError(f"--model {reference}: {where} is not a file")
        return Path(where)
    _look_in_working_directory()
    found = None
    parts = where.split(".")
    if not all(part.isidentifier() for part in parts):
        raise UserError(
            f"--model {reference}: {where!r} is no module; write FILE.py:function for a file"
        )
    path: list[str] | None = None
    for index in range(len(parts)):
        name = ".".join(parts[: index + 1])
        found = importlib.machinery.PathFinder.find_spec(name, path)
        if found is None:
            raise UserError(
                f"--model {reference}: there is no module {name!r} in the working directory or among "
                "the installed packages"
            )
        path = found.submodule_search_locations
    origin = None if found is None or not found.has_location else found.origin
    return Path(origin) if origin is not None and origin.endswith(".py") else None


def _load(reference: str, where: str, function: str) -> Callable[..., Any]:
    """Imports the function.

    Raises:
        UserError: its module cannot be imported, or has no such function.
    """
    with command_line.quiet_imports(), command_line.without_scikit_learn():
        import keras  # noqa: F401  the user's module would print what TensorFlow prints
    try:
        module = _import_file(Path(where)) if where.endswith(".py") else _import_module(where)
    except SyntaxError as error:
        raise UserError(
            f"--model {reference}: {error.filename}:{error.lineno}: {error.msg}"
        ) from error
    except UserError:
        raise
    except Exception as error:
        source = _source(reference, where)
        place = None if source is None else _place(error, source)
        raise UserError(f"--model {reference}: {place or where}: {_first_line(error)}") from error
    found = getattr(module, function, None)
    if found is None:
        names = [name for name, one in vars(module).items() if callable(one) and name[0] != "_"]
        raise _no_function(reference, where, function, names)
    if not callable(found):
        raise UserError(
            f"--model {reference}: {function} is no function, but {type(found).__name__}"
        )
    return found


def _no_function(reference: str, where: str, function: str, names: list[str]) -> UserError:
    meant = closest(function, names)
    hint = f"; did you mean {meant}?" if meant else ""
    return UserError(f"--model {reference}: {where} has no function {function!r}{hint}")


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


def _place(error: BaseException, source: Path) -> str | None:
    """`FILE.py:LINE` of the innermost frame in the user's file; None where there is none."""
    wanted = source.resolve()
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == wanted]
    return f"{source}:{lines[-1]}" if lines else None


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
