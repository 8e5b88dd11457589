"""The settings of a user's function: its keyword parameters, read from the source or from the function."""

import ast
import inspect
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.base.config import UserError
from engine.base.user_code import Reference
from engine.networks.network import Parameter

_KINDS = {"int": int, "float": float, "bool": bool, "str": str}
_GIVEN = 2  # parameters that come by position: the image format and the number of classes


class _NotLiteralError(Exception):
    """The source alone does not say what a default or an annotation is."""


def from_source(path: Path, reference: Reference) -> tuple[Parameter, ...] | None:
    """The parameters of a function as its file spells them; nothing is executed.

    Returns:
        None where the source alone does not say: the function is imported there, decorated or a class,
        or a default is an expression.

    Raises:
        UserError: the file cannot be parsed, or a parameter cannot be a setting.
    """
    with reference.errors_located(path):
        tree = ast.parse(path.read_bytes(), str(path))
    found = next((node for node in tree.body if _defines(node, reference.function)), None)
    if found is None:
        _check_could_be_there(tree, reference)
        return None
    if not isinstance(found, ast.FunctionDef) or found.decorator_list:
        return None
    try:
        return tuple(_of_source(found, path, str(reference)))
    except _NotLiteralError:
        return None


def from_callable(function: Callable[..., Any], reference: str) -> tuple[Parameter, ...]:
    """The parameters of a function that is there.

    Raises:
        UserError: a parameter cannot be a setting.
    """
    try:
        signature = inspect.signature(function)
        hints = typing.get_type_hints(function if inspect.isroutine(function) else type(function))
    except (TypeError, ValueError, NameError):
        signature, hints = inspect.signature(function), {}
    fixed: list[inspect.Parameter] = []
    own: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.kind is not parameter.KEYWORD_ONLY and len(fixed) < _GIVEN:
            fixed.append(parameter)
        else:
            own.append(parameter)
    _check_given(len(fixed), _takes_any(signature), reference)
    return tuple(
        _parameter(
            parameter.name,
            parameter.default,
            hints.get(parameter.name),
            parameter.default is parameter.empty,
            reference,
        )
        for parameter in own
    )


def _takes_any(signature: inspect.Signature) -> bool:
    return any(one.kind is one.VAR_POSITIONAL for one in signature.parameters.values())


def _defines(node: ast.stmt, name: str) -> bool:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return node.name == name
    return isinstance(node, ast.Assign) and any(
        isinstance(target, ast.Name) and target.id == name for target in node.targets
    )


def _check_could_be_there(tree: ast.Module, reference: Reference) -> None:
    """Raises `UserError` if nothing in the file can make the name, such as an import or an `if`."""
    simple = (ast.FunctionDef, ast.ClassDef, ast.Expr, ast.Assign, ast.AnnAssign)
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            imported = {alias.asname or alias.name.partition(".")[0] for alias in node.names}
            if imported & {reference.function, "*"}:
                return
        elif not isinstance(node, simple):
            return
    raise reference.no_function(
        [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    )


def _of_source(found: ast.FunctionDef, path: Path, reference: str) -> list[Parameter]:
    arguments = found.args
    positional = [*arguments.posonlyargs, *arguments.args]
    _check_given(len(positional), arguments.vararg is not None, reference)
    missing: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    defaults = [*missing, *arguments.defaults]
    own = list(zip(positional, defaults, strict=True))[_GIVEN:]
    own += list(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
    return [
        _parameter(
            argument.arg,
            None if default is None else _literal(default),
            None if argument.annotation is None else _annotation(argument.annotation),
            default is None,
            f"{reference}: {path}:{argument.lineno}",
        )
        for argument, default in own
    ]


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise _NotLiteralError from None


def _annotation(node: ast.expr) -> Any:
    """An annotation of plain types, `None`, `|`, `Optional`, `Union` and `Literal`, as the type it means."""
    if isinstance(node, ast.Name) and node.id in _KINDS:
        return _KINDS[node.id]
    if isinstance(node, ast.Constant) and node.value is None:
        return type(None)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return typing.Union[_annotation(node.left), _annotation(node.right)]  # noqa: UP007
    if isinstance(node, ast.Subscript):
        generic = ast.unparse(node.value).removeprefix("typing.")
        inside = node.slice
        parts = inside.elts if isinstance(inside, ast.Tuple) else [inside]
        if generic == "Literal":
            return typing.Literal.__getitem__(tuple(_literal(part) for part in parts))
        if generic in ("Optional", "Union"):
            extra = (type(None),) if generic == "Optional" else ()
            return typing.Union.__getitem__((*(_annotation(part) for part in parts), *extra))
    raise _NotLiteralError


def _check_given(positional: int, takes_any: bool, reference: str) -> None:
    if positional < _GIVEN and not takes_any:
        raise UserError(
            f"{reference}: the function takes {positional} parameters by position; expected "
            "image_format and num_classes, then settings with defaults"
        )


def _parameter(
    name: str, default: Any, annotation: Any, required: bool, reference: str
) -> Parameter:
    if required:
        raise UserError(
            f"{reference}: the parameter {name!r} has no default; give it one, as "
            "its value comes from a flag"
        )
    kind, choices, optional = _unwrapped(annotation)
    if kind is None and default is not None:
        kind = type(default)
    if kind is float and type(default) is int:
        default = float(default)
    fits = (optional and default is None) or (kind is not None and type(default) is kind)
    if kind not in _KINDS.values() or not fits:
        shown = "None without an annotation" if kind is None else f"{default!r}"
        raise UserError(
            f"{reference}: the parameter {name!r} has the default {shown}; expected int, float, "
            "bool or str (or None, annotated such as int | None)"
        )
    return Parameter(name, kind, default, choices, optional)


def _unwrapped(annotation: Any) -> tuple[Any, tuple[Any, ...] | None, bool]:
    """(type, choices, whether None is allowed) of an annotation; the type is None where it says none."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        others = [part for part in parts if part is not type(None)]
        kind, choices, _ = _unwrapped(others[0]) if len(others) == 1 else (None, None, False)
        return kind, choices, len(others) < len(parts)
    if origin is typing.Literal and len({type(part) for part in parts}) == 1:
        return type(parts[0]), parts, False
    return (annotation if annotation in _KINDS.values() else None), None, False
