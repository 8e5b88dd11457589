"""What is searched: parameters with ranges or choices, from the defaults, flags or a JSON file.

A parameter is a setting of `engine.train` and takes the same values. As the text of a flag:

    --depth 3                     fixed, not searched
    --depth 2:5                   any integer from 2 to 5
    --learning-rate 1e-4:1e-2     any number in between, uniform on a log scale
    --dropout 0.01:0.5:log        a scale other than the setting's default: log or linear
    --augment none,light          one of these

As JSON, which `--space FILE.json` reads:

    {"depth": {"low": 2, "high": 5}, "learning_rate": {"low": 1e-4, "high": 1e-2, "scale": "log"},
     "augment": {"choices": ["none", "light"]}}

The keyword parameters of a function that `--model` names are searched in the same way. `auto`, as a text or
in JSON, searches one around its default: from half of a number to twice it (a share stays between 0 and 1),
both of a switch, all of a `Literal`.
"""

import dataclasses
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from engine.base import config as config_module
from engine.base.config import UserError
from engine.base.setting_names import did_you_mean, flag_name
from engine.base.settings import (
    AugmentationSettings,
    ModelSettings,
    OptimizationSettings,
    TrainConfig,
)
from engine.networks.network import Network
from engine.networks.network import Parameter as NetworkSetting

SCALES = ("linear", "log")
AUTO = "auto"
_LOG_BY_DEFAULT = ("learning_rate", "weight_decay")
# Choosing these by a validation metric makes no sense or makes trials incomparable.
_NOT_SEARCHED = {
    "model",
    "model_outputs",
    "model_settings",
    "head",
    "epochs",
    "monitor",
    "early_stopping_patience",
    "seed",
}
_DIGITS = 6  # significant digits of values: KerasTuner sends them to workers in single precision

Value = int | float | str | bool


def searchable_settings(network: Network | None = None) -> tuple[str, ...]:
    """The settings that a search may vary: those of `engine.train`, and the network's own."""
    groups = (ModelSettings, OptimizationSettings, AugmentationSettings)
    names = [field.name for group in groups for field in dataclasses.fields(group)]
    names = [n for n in [*names, "global_batch_size", "sampling"] if n not in _NOT_SEARCHED]
    own = [] if network is None else [parameter.name for parameter in network.parameters]
    return tuple(dict.fromkeys([*names, *own]))


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included, uniform on a `scale` (linear or log).

    Args:
        own: the setting, where it is one of a user's network.

    Raises:
        UserError: the setting does not take such numbers, or the range is empty.
    """

    name: str
    low: float
    high: float
    scale: str = "linear"
    own: NetworkSetting | None = dataclasses.field(default=None, compare=False)

    def __post_init__(self) -> None:
        flag = flag_name(self.name)
        if _kind(self.name, self.own) not in (int, float):
            raise UserError(f"{flag}: a range needs a numeric setting; give choices, such as A,B,C")
        for name in ("low", "high"):
            object.__setattr__(self, name, _valid(self.name, getattr(self, name), self.own))
        if self.low >= self.high:
            raise UserError(
                f"{flag}: got {self.low}:{self.high}, expected LOW:HIGH with LOW below HIGH; one value "
                "fixes the setting"
            )
        if self.scale not in SCALES:
            raise UserError(f"{flag}: got the scale {self.scale!r}, expected linear or log")
        if self.scale == "log" and self.low <= 0:
            raise UserError(
                f"{flag}: a log scale starts above 0, got {self.low}; raise it or give "
                f"{self.low}:{self.high}:linear"
            )

    @property
    def is_integer(self) -> bool:
        """Whether the values are integers."""
        return _kind(self.name, self.own) is int

    def setting(self, value: Any) -> Value:
        """A value from KerasTuner as a value of the setting."""
        if self.is_integer:
            return int(value)
        rounded = float(f"{float(value):.{_DIGITS}g}")
        return min(max(rounded, self.low), self.high)

    def declare(self, hp: Any) -> None:
        """Adds the parameter to KerasTuner's `HyperParameters`."""
        kind = hp.Int if self.is_integer else hp.Float
        usual = _default(self.name, self.own)
        inside = isinstance(usual, (int, float)) and self.low <= usual <= self.high
        kind(
            self.name,
            self.low,
            self.high,
            sampling=self.scale,
            default=usual if inside else self.low,
        )

    def to_json(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high, "scale": self.scale}


@dataclasses.dataclass(frozen=True)
class Choices:
    """One of several values.

    Args:
        own: the setting, where it is one of a user's network.

    Raises:
        UserError: the setting does not take such a value, or fewer than two values differ.
    """

    name: str
    values: tuple[Value, ...]
    own: NetworkSetting | None = dataclasses.field(default=None, compare=False)

    def __post_init__(self) -> None:
        values = [_valid(self.name, value, self.own) for value in self.values]
        if (
            len({type(value) for value in values}) > 1
        ):  # such as 64 and 96x64; KerasTuner needs one type
            values = [str(value) for value in values]
        object.__setattr__(self, "values", tuple(dict.fromkeys(values)))
        if len(self.values) < 2:
            raise UserError(
                f"{flag_name(self.name)}: got one choice, {values}, expected two or more; one value "
                "fixes the setting"
            )

    def setting(self, value: Any) -> Value:
        """A value from KerasTuner as a value of the setting."""
        if isinstance(self.values[0], float):
            return min(self.values, key=lambda own: abs(own - value))
        return next(own for own in self.values if own == value)

    def declare(self, hp: Any) -> None:
        """Adds the parameter to KerasTuner's `HyperParameters`."""
        usual = _default(self.name, self.own)
        hp.Choice(self.name, list(self.values), default=usual if usual in self.values else None)

    def to_json(self) -> dict[str, Any]:
        return {"choices": list(self.values)}


Parameter = Range | Choices


@dataclasses.dataclass(frozen=True)
class SearchSpace:
    """The parameters of a search, one per setting."""

    parameters: tuple[Parameter, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The settings that are searched."""
        return tuple(parameter.name for parameter in self.parameters)

    def __getitem__(self, name: str) -> Parameter:
        return next(parameter for parameter in self.parameters if parameter.name == name)

    def with_parameters(self, changed: Iterable[Parameter]) -> "SearchSpace":
        """This space with parameters replaced or added."""
        merged = {parameter.name: parameter for parameter in (*self.parameters, *changed)}
        return SearchSpace(tuple(merged.values()))

    def without(self, names: Iterable[str]) -> "SearchSpace":
        """This space without settings, because these are fixed."""
        left_out = set(names)
        return SearchSpace(tuple(p for p in self.parameters if p.name not in left_out))

    def declare(self, hp: Any) -> None:
        """Adds every parameter to KerasTuner's `HyperParameters`."""
        for parameter in self.parameters:
            parameter.declare(hp)

    def settings(self, values: Mapping[str, Any]) -> dict[str, Value]:
        """The values of a KerasTuner trial as settings of `engine.train`."""
        return {p.name: p.setting(values[p.name]) for p in self.parameters}

    def to_json(self) -> dict[str, Any]:
        """The contents of a `--space` file."""
        return {parameter.name: parameter.to_json() for parameter in self.parameters}

    @classmethod
    def from_json(
        cls,
        values: Mapping[str, Any],
        *,
        source: str = "the space",
        network: Network | None = None,
    ) -> "SearchSpace":
        """The inverse of `to_json`.

        Args:
            network: the network that is searched, for its own settings.

        Raises:
            UserError: a setting cannot be searched, or its entry is neither a range nor choices.
        """
        return cls(tuple(_from_json(n, entry, source, network) for n, entry in values.items()))


def parse_parameter(name: str, text: str, network: Network | None = None) -> Parameter | None:
    """The text of a flag as a parameter; None if it is a single value, which fixes the setting.

    Args:
        network: the network that is searched, for its own settings.

    Raises:
        UserError: `text` is a range or choices that the setting does not take.
    """
    own = None if network is None else network.parameter(name)
    if own is not None and text == AUTO:
        return _around_default(own)
    if ":" in text:
        check_searchable(name, flag_name(name), network)
        parts = text.split(":")
        if len(parts) == 2:
            parts.append("log" if name in _LOG_BY_DEFAULT else "linear")
        if len(parts) != 3 or not all(parts):
            raise UserError(f"{flag_name(name)}: got {text!r}, expected LOW:HIGH or LOW:HIGH:log")
        return Range(name, parts[0], parts[1], parts[2], own)  # type: ignore[arg-type]
    if "," in text:
        check_searchable(name, flag_name(name), network)
        return Choices(name, tuple(part.strip() for part in text.split(",")), own)
    return None


def check_searchable(name: str, source: str, network: Network | None = None) -> None:
    """Raises `UserError` unless a search may vary the setting."""
    known = searchable_settings(network)
    if name not in known:
        raise UserError(f"{source}: {name!r} cannot be searched{did_you_mean(name, known)}")


def _around_default(own: NetworkSetting) -> Parameter:
    """What `auto` searches."""
    usual = own.default
    if own.kind is bool:
        return Choices(own.name, (False, True), own)
    if own.choices is not None:
        return Choices(own.name, own.choices, own)  # type: ignore[arg-type]
    if own.kind is str or not isinstance(usual, (int, float)) or usual <= 0:
        raise UserError(
            f"{flag_name(own.name)}: auto needs a default above 0, got {usual!r}; give LOW:HIGH or A,B,C"
        )
    if own.kind is int:
        return Range(own.name, max(1, int(usual) // 2), 2 * usual, "linear", own)
    high = 2 * usual if usual >= 1 else min(2 * usual, (1 + usual) / 2)
    return Range(own.name, usual / 2, high, "linear", own)


def _from_json(name: str, entry: Any, source: str, network: Network | None) -> Parameter:
    check_searchable(name, source, network)
    own = None if network is None else network.parameter(name)
    if entry == AUTO and own is not None:
        return _around_default(own)
    keys = set(entry) if isinstance(entry, Mapping) else set()
    if keys == {"choices"} and isinstance(entry["choices"], list):
        return Choices(name, tuple(entry["choices"]), own)
    if {"low", "high"} <= keys <= {"low", "high", "scale"}:
        usual = "log" if name in _LOG_BY_DEFAULT else "linear"
        return Range(name, entry["low"], entry["high"], entry.get("scale", usual), own)
    raise UserError(
        f'{source}: {name}: got {entry!r}, expected {{"low": X, "high": Y}} (and "scale": "log") or '
        '{"choices": [...]}'
    )


def _kind(name: str, own: NetworkSetting | None = None) -> Any:
    if own is not None:
        return own.kind
    hint = typing.get_type_hints(TrainConfig)[name]
    return next((k for k in (typing.get_args(hint) or (hint,)) if k is not type(None)), hint)


def _default(name: str, own: NetworkSetting | None = None) -> Any:
    return getattr(TrainConfig(), name) if own is None else own.default


def _valid(name: str, value: Any, own: NetworkSetting | None = None) -> Any:
    """`value` in the setting's type, checked by the setting's own rules.

    Image sizes stay numbers or texts, as a user would type them, since KerasTuner can choose from these.
    """
    if own is not None:
        value = own.checked(value)
    else:
        value = getattr(TrainConfig.from_json({name: value}), name)
    if value is None:
        raise UserError(f"{flag_name(name)}: none cannot be searched; give other values")
    if isinstance(value, tuple):
        return value[0] if len(set(value)) == 1 else config_module.shown(value)
    return value


DEFAULT_SPACE = SearchSpace(
    (
        Range("depth", 2, 5),
        Choices("width", (8, 16, 24, 32)),
        Range("dropout", 0.0, 0.5),
        Range("learning_rate", 3e-4, 1e-2, "log"),
    )
)
