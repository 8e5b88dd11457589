"""What the engine knows of a network: how it is built, and which settings it takes. No TensorFlow."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine.base.config import UserError
from engine.base.setting_names import closest, flag_name

Value = int | float | bool | str | None
_EXPECTED = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_WORDS = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A keyword parameter of a user's function: a flag, a key of `model_settings`, and a search dimension.

    Attributes:
        kind: int, float, bool or str.
        choices: the values it takes; None for any of its kind.
        optional: whether it takes None.
    """

    name: str
    kind: type
    default: Value
    choices: tuple[Value, ...] | None = None
    optional: bool = False

    def checked(self, value: Any) -> Value:
        """`value`, which may be the text of a flag, as the parameter's kind.

        Raises:
            UserError: it is of another kind, or not among the choices.
        """
        if self.optional and (value is None or value == "none"):
            return None
        try:
            converted = self._converted(value)
        except (KeyError, TypeError, ValueError, OverflowError):
            expected = _EXPECTED[self.kind]
            raise UserError(f"{flag_name(self.name)}: got {value!r}, expected {expected}") from None
        if self.choices is not None and converted not in self.choices:
            choices = [str(choice) for choice in self.choices]
            meant = closest(str(value), choices)
            hint = f"; did you mean {meant}?" if meant else ""
            raise UserError(
                f"{flag_name(self.name)}: got {value!r}, expected one of {', '.join(choices)}{hint}"
            )
        return converted

    def _converted(self, value: Any) -> Value:
        if self.kind is bool:
            return value if isinstance(value, bool) else _WORDS[str(value).lower()]
        if isinstance(value, bool):
            raise ValueError
        if self.kind is int:
            if isinstance(value, float) and value != int(value):
                raise ValueError
            return int(value)
        if self.kind is float:
            number = float(value)
            if number - number != 0:  # infinite, or not a number
                raise ValueError
            return number
        if not isinstance(value, str):
            raise ValueError
        return value


@dataclasses.dataclass(frozen=True)
class Network:
    """A network that `--model` can name.

    Attributes:
        name: what `--model` says.
        summary: one line about it.
        build: `build(image_format, num_classes, **settings) -> keras.Model`, called under the dtype
            policy and in the strategy's scope. The model takes uint8 or float32 images
            [B, H, W, C], with values from 0 to 255 either way, and gives logits or probabilities [B, units].
        settings: the fields of `ModelSettings` that `build` takes.
        parameters: settings that only this network has; stored in `model_settings`.
        precision_advice: from those settings, why bfloat16 would be slower than float32 on a
            processor that has AVX512-BF16 but no AMX; None where it is faster.
        largest: from the size of the images in pixels, (height, width), the largest values that
            settings of this network can have.
        defaults: settings of `TrainConfig` that are taken, where it starts from pretrained weights and the
            user gives none.
        check_weights: raises `UserError`, from those settings and without TensorFlow, where the weights
            that they name are not there.
        explained_layer: the layer whose feature map explanations are drawn from; None finds the last.
        source: the user's file, for messages; None of a built-in network.
        code: the user's reference, function or model, for `training.code_identity`.
    """

    name: str
    summary: str
    build: Callable[..., Any]
    settings: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    precision_advice: Callable[[Mapping[str, Any]], str | None] = lambda settings: None
    largest: Callable[[tuple[int, int]], Mapping[str, int]] = lambda image_size: {}
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    check_weights: Callable[[Mapping[str, Any]], None] = lambda settings: None
    explained_layer: str | None = None
    source: Path | None = None
    code: Any = None

    @property
    def is_built_in(self) -> bool:
        """Whether it is one of `engine.networks.architectures`."""
        return bool(self.settings)

    def parameter(self, name: str) -> Parameter | None:
        """The network's own setting of that name, if it has one."""
        return next((one for one in self.parameters if one.name == name), None)

    def completed(self, given: Mapping[str, Any]) -> dict[str, Value]:
        """Every setting of `parameters`: those given, checked, and the defaults of the others.

        Raises:
            UserError: one that is given is not a setting of this network, or has a wrong value.
        """
        known = {one.name: one for one in self.parameters}
        for name in given:
            if name not in known:
                meant = closest(name, list(known))
                hint = f"; did you mean {meant!r}?" if meant else f"; it takes {self.described}"
                raise UserError(f"--model {self.name} has no setting {name!r}{hint}")
        return {n: p.checked(given[n]) if n in given else p.default for n, p in known.items()}

    @property
    def described(self) -> str:
        """The names of the settings it takes, for messages."""
        names = [*self.settings, *(one.name for one in self.parameters)]
        return ", ".join(flag_name(name) for name in names) or "no settings"
