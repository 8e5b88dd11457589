"""The settings of a user's network as flags: shown by `--help`, and read, where `--model` names a function."""

import argparse
import contextlib
import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from engine.base import config as config_module
from engine.base.config import UserError
from engine.base.flag_parser import FlagParser
from engine.base.setting_names import flag_name
from engine.networks import registry
from engine.networks.network import Network, Parameter
from engine.networks.registry import ConfigType


def add_flags(parser: FlagParser, *, searched: bool = False) -> None:
    """Lets `parser` take the flags of the network that `--model`, or the file of `--config`, names.

    Args:
        searched: whether a flag may also give a range or choices.
    """
    taken: set[str] = set()

    def extend(words: Sequence[str]) -> None:
        if not taken:
            taken.update({action.dest for action in parser._actions} - set(registry.SETTINGS))
        _extend(parser, words, taken, searched)

    parser.extend_by(extend)


def network_of(arguments: argparse.Namespace, default: str) -> Network:
    """The network that parsed flags name.

    Raises:
        UserError: there is none of that name, or its function cannot be used.
    """
    named = getattr(arguments, "model", None)
    if named is None and arguments.config is not None:
        named = config_module.read_settings(arguments.config).get("model")
    return registry.resolve(named if isinstance(named, str) else default)


def from_flags(config_class: type[ConfigType], arguments: argparse.Namespace) -> ConfigType:
    """As `config.from_flags`, with the settings of the chosen network, all of them.

    Raises:
        UserError: also where a flag is given that the network does not use.
    """
    network = network_of(arguments, config_class().model)
    names = {field.name for field in dataclasses.fields(config_class)}
    given = registry.sorted_settings(network, vars(arguments))
    config = config_module.from_flags(config_class, argparse.Namespace(**given))
    of_file = {} if arguments.config is None else config_module.read_settings(arguments.config)
    config = registry.with_defaults(network, config, names & {*given, *of_file})
    return registry.checked(network, config, given=names & given.keys())


def _extend(
    parser: FlagParser, words: Sequence[str], taken: Collection[str], searched: bool
) -> None:
    model = _value_of("--model", words)
    if model is None and (file := _value_of("--config", words)) is not None:
        # What is wrong with the file is said where its settings are read; `--help` needs none of them.
        with contextlib.suppress(UserError):
            named = config_module.read_settings(Path(file)).get("model")
            model = named if isinstance(named, str) else None
    if model is None or ":" not in model:
        return
    network = registry.resolve(model)
    # A flag of the built-in networks, such as --dropout, is the user's own where the function has it.
    parser.conflict_handler = "resolve"
    group = parser.add_argument_group(f"settings of --model {model}")
    for parameter in network.parameters:
        if parameter.name in taken:
            raise UserError(
                f"--model {model}: the parameter {parameter.name!r} has the name of a flag of this "
                f"command, {flag_name(parameter.name)}; rename it"
            )
        group.add_argument(flag_name(parameter.name), **_options(parameter, searched))


def _value_of(flag: str, words: Sequence[str]) -> str | None:
    """What follows a flag's last appearance, before argparse has seen the words."""
    found = None
    for index, word in enumerate(words):
        if word == flag and index + 1 < len(words):
            found = words[index + 1]
        elif word.startswith(f"{flag}="):
            found = word.partition("=")[2]
    return found


def _options(parameter: Parameter, searched: bool) -> dict[str, Any]:
    """The keyword arguments of `add_argument`."""
    default = config_module.shown(parameter.default).replace("%", "%%")
    options: dict[str, Any] = {
        "dest": parameter.name,
        "default": argparse.SUPPRESS,
        "help": f"(default: {default})",
    }
    if parameter.kind is bool and not searched:
        options["action"] = argparse.BooleanOptionalAction
    elif parameter.choices is not None:
        options["metavar"] = "{" + ",".join(str(choice) for choice in parameter.choices) + "}"
    else:
        options["metavar"] = {int: "N", float: "X", bool: "on|off"}.get(parameter.kind, "TEXT")
    return options
