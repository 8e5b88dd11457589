"""Configurations: frozen dataclasses that validate themselves, to and from JSON and flags.

One field is one flag (`global_batch_size` -> `--global-batch-size`), one JSON key and one attribute.
A command's flags are the fields of its configuration; `--config FILE.json` sets defaults that
flags override. No TensorFlow here, so that `--help` answers at once.
"""

import argparse
import dataclasses
import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from engine.base import files
from engine.base.setting_names import closest, did_you_mean, flag_name


class UserError(Exception):
    """The user's input is wrong. One line says what arrived, what was expected, how to fix it."""


ConfigType = TypeVar("ConfigType", bound="Config")
FIXED, FREE, RESOLVED = "fixed", "free", "resolved"  # what `setting` says of resuming


def setting(
    default: Any,
    *,
    help: str,
    choices: Sequence[Any] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    parse: Callable[[str], Any] | None = None,
    metavar: str | None = None,
    separator: str = "x",
    on_resume: str = FIXED,
    flag: bool = True,
) -> Any:
    """Declares one field: its default, its help line, what values it takes, and what resuming allows.

    Args:
        minimum, maximum: inclusive bounds of a number; `above` is an exclusive lower bound.
        parse: turns a flag's text into the value; raises `ValueError`. Numbers and lists of a JSON
            file, and values given in Python, come to it as the text a user would have typed
            (`[192, 256]` as `192x256`), so that there is one rule for what is valid.
        separator: what joins the parts of such a list.
        on_resume: whether it may differ on resume: `FIXED`, not; `FREE`, it changes
            nothing that is computed; `RESOLVED`, what it came to there is compared instead.
        flag: whether a flag gives it; otherwise files and Python alone do.
    """
    rules = {
        "help": help,
        "choices": choices,
        "minimum": minimum,
        "maximum": maximum,
        "above": above,
        "parse": parse,
        "metavar": metavar,
        "separator": separator,
        "on_resume": on_resume,
        "flag": flag,
    }
    return dataclasses.field(default=default, metadata=rules)


class FrozenSettings(dict[str, Any]):
    """Settings by name, as the value of one field: a dictionary that nobody changes, so it has a hash."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The base of all configurations; subclasses declare fields with `setting`."""

    def __post_init__(self) -> None:
        """Checks each field by its own rules.

        Raises:
            UserError: a value is of the wrong type, not among the choices, or out of bounds.
        """
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value = _coerced(field, hints[field.name], getattr(self, field.name))
            object.__setattr__(self, field.name, value)

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values; tuples become lists."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_json(
        cls: type[ConfigType], values: Mapping[str, Any], *, source: str = "the configuration"
    ) -> ConfigType:
        """Builds the configuration from JSON values, absent keys taking their defaults.

        Raises:
            UserError: `values` is no object, or a key names no field of this configuration.
        """
        if not isinstance(values, Mapping):
            raise UserError(f"{source}: expected a JSON object of settings, got {values!r}")
        names = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in names:
                raise UserError(f"{source}: no setting is called {key!r}{did_you_mean(key, names)}")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def free_settings(config_class: type[Config], *, kinds: Sequence[str] = (FREE,)) -> set[str]:
    """The settings that may differ on resume, as declared."""
    fields = dataclasses.fields(config_class)
    return {field.name for field in fields if field.metadata["on_resume"] in kinds}


def changed_settings(
    before: ConfigType, now: ConfigType, *, kinds: Sequence[str] = (FREE,)
) -> list[str]:
    """`--seed was 0, now 3` for each setting that differs and must not."""
    free = free_settings(type(now), kinds=kinds)
    stored, present = _flat(before.to_json()), _flat(now.to_json())
    return [
        f"{flag_name(name)} was {stored.get(name)}, now {present.get(name)}"
        for name in {**present, **stored}
        if present.get(name) != stored.get(name) and name not in free
    ]


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings within a setting, one per key; a name means the inner one where there are two."""
    flat = {name: value for name, value in values.items() if not isinstance(value, Mapping)}
    for value in values.values():
        flat |= value if isinstance(value, Mapping) else {}
    return flat


def add_flags(parser: argparse.ArgumentParser, config_class: type[Config]) -> None:
    """Adds `--config FILE.json` and a flag for each field of `config_class` to `parser`.

    The fields that a class declares are one group of flags, under the first line of its docstring.
    Flags that are not given leave no trace in the namespace, so that `from_flags` can tell them
    from flags given at their default value.
    """
    parser.add_argument(
        "--config", type=Path, metavar="FILE.json", help="JSON defaults that flags override"
    )
    hints = typing.get_type_hints(config_class)
    for title, fields in flag_groups(config_class):
        group = parser.add_argument_group(title)
        for field in fields:
            group.add_argument(flag_name(field.name), **_flag_options(field, hints[field.name]))


def flag_groups(config_class: type[Config]) -> list[tuple[str, list[dataclasses.Field]]]:
    """The fields of a configuration by the class that declares them: (title, fields), its own first."""
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    groups = []
    for declaring in config_class.__mro__:
        names = inspect.get_annotations(declaring)
        declared = [fields.pop(name) for name in names if name in fields]
        declared = [field for field in declared if field.metadata["flag"]]
        if declared:
            title = (inspect.getdoc(declaring) or declaring.__name__).splitlines()[0].rstrip(".")
            groups.append((title[0].lower() + title[1:], declared))
    return groups


def _flag_options(field: dataclasses.Field, hint: Any) -> dict[str, Any]:
    """The keyword arguments of `add_argument` for a field."""
    rules = field.metadata
    options: dict[str, Any] = {
        "dest": field.name,
        "default": argparse.SUPPRESS,
        "help": f"{rules['help']} (default: {shown(field.default)})".replace("%", "%%"),
    }
    kind = _plain_type(hint)
    if kind is bool:
        options["action"] = argparse.BooleanOptionalAction
    elif rules["choices"] is not None:
        options["metavar"] = "{" + ",".join(str(choice) for choice in rules["choices"]) + "}"
    else:
        options["metavar"] = rules["metavar"] or {int: "N", float: "X"}.get(kind, "VALUE")
    return options


def from_flags(config_class: type[ConfigType], arguments: argparse.Namespace) -> ConfigType:
    """The configuration that parsed flags ask for, on top of the file given with `--config`.

    Raises:
        UserError: the file cannot be read, or a value is not one the field takes.
    """
    values: dict[str, Any] = {}
    source = "the flags"
    if arguments.config is not None:
        source = str(arguments.config)
        values.update(read_settings(arguments.config))
    given = vars(arguments)
    names = {field.name for field in dataclasses.fields(config_class)}
    for name in names & given.keys():
        value, of_file = given[name], values.get(name)
        if isinstance(value, Mapping) and isinstance(of_file, Mapping):
            value = {**of_file, **value}
        values[name] = value
    return config_class.from_json(values, source=source)


def read_settings(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        UserError: the file is missing, is no JSON, or holds no object.
    """
    try:
        values = files.read_json(path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); expected a JSON file"
        ) from error
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected a JSON object of settings, got {type(values).__name__}")
    return values


def shown(value: Any, *, separator: str = "x") -> str:
    """A value as a user would type it: `none`, `on`, `192x256`."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (tuple, list)):
        return separator.join(str(part) for part in value)
    return str(value)


def _plain_type(hint: Any) -> Any:
    """The type behind `X | None`."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not type(None))
    return hint


def _coerced(field: dataclasses.Field, hint: Any, value: Any) -> Any:
    """`value` as the field's type, checked by the field's rules."""
    optional = hint is not _plain_type(hint)
    if optional and (value is None or (isinstance(value, str) and value.lower() == "none")):
        return None
    rules = field.metadata
    flag = flag_name(field.name)
    if rules["parse"] is not None:
        try:
            value = rules["parse"](shown(value, separator=rules["separator"]))
        except ValueError as error:
            raise UserError(f"{flag}: got {value!r}: {error}") from error
    value = _as_type(flag, _plain_type(hint), value)
    _check_bounds(flag, rules, value)
    if rules["choices"] is not None and value not in rules["choices"]:
        choices = [str(choice) for choice in rules["choices"]]
        meant = closest(str(value), choices)
        hint = f"; did you mean {meant}?" if meant else ""
        raise UserError(f"{flag}: got {value!r}, expected one of {', '.join(choices)}{hint}")
    return value


def _as_type(flag: str, kind: Any, value: Any) -> Any:
    expected = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    if typing.get_origin(kind) is Mapping:
        if not isinstance(value, Mapping):
            raise UserError(f"{flag}: got {value!r}, expected an object of settings by name")
        return FrozenSettings(value)
    try:
        if kind is bool and not isinstance(value, bool):
            raise ValueError
        if kind is int:
            if isinstance(value, bool) or (isinstance(value, float) and value != int(value)):
                raise ValueError
            return int(value)
        if kind is float:
            if isinstance(value, bool):
                raise ValueError
            return float(value)
        if kind is str and not isinstance(value, str):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{flag}: got {value!r}, expected {expected[kind]}") from None
    return value


def _check_bounds(flag: str, rules: Mapping[str, Any], value: Any) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{flag}: got {value!r}, expected a finite number")
    if rules["minimum"] is not None and value < rules["minimum"]:
        raise UserError(f"{flag}: got {value}, must be at least {rules['minimum']}")
    if rules["above"] is not None and value <= rules["above"]:
        raise UserError(f"{flag}: got {value}, must be above {rules['above']}")
    if rules["maximum"] is not None and value > rules["maximum"]:
        raise UserError(f"{flag}: got {value}, must be at most {rules['maximum']}")
