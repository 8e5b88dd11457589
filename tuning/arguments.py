"""Merges flags, `--config FILE.json` and `--space FILE.json` into fixed settings and a search space.

Later sources override earlier ones: the default space; `--config`; `--space`, which replaces the space;
flags. One value fixes a setting; a range or choices make it a parameter (see `tuning.search_space`).
"""

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.base import config as config_module
from engine.networks import registry
from tuning import search_space
from tuning.search_space import DEFAULT_SPACE, Parameter, SearchSpace
from tuning.settings import SearchConfig


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What a user asked for.

    Attributes:
        asked: the parameters the user named, as opposed to those of the default space.
    """

    config: SearchConfig
    space: SearchSpace
    asked: frozenset[str]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `engine.train` and of the search to `parser`."""
    parser.add_argument(
        "--space",
        type=Path,
        metavar="FILE.json",
        help="what is searched, instead of the default space: "
        + ", ".join(DEFAULT_SPACE.names).replace("_", "-"),
    )
    config_module.add_flags(parser, SearchConfig)


def read(namespace: argparse.Namespace) -> Arguments:
    """Combines parsed flags with the files they name.

    Raises:
        UserError: a file cannot be read, or a value is not one that its setting takes.
    """
    space = DEFAULT_SPACE
    fixed: dict[str, Any] = {}
    asked: set[str] = set()
    layers: list[tuple[str, Mapping[str, Any]]] = []
    if namespace.config is not None:
        layers.append((str(namespace.config), config_module.read_settings(namespace.config)))
    given = vars(namespace)
    names = {field.name for field in dataclasses.fields(SearchConfig)}
    flags = {name: given[name] for name in names & given.keys()}
    for source, values in [*layers, ("the flags", flags)]:
        if source == "the flags" and namespace.space is not None:
            read_space = config_module.read_settings(namespace.space)
            space = SearchSpace.from_json(read_space, source=str(namespace.space))
            asked = set(space.names)
            fixed = {name: value for name, value in fixed.items() if name not in asked}
        parameters = {name: _parameter(name, value) for name, value in values.items()}
        searched = [parameter for parameter in parameters.values() if parameter is not None]
        single = {name: value for name, value in values.items() if parameters[name] is None}
        space = space.without(single).with_parameters(searched)
        fixed = {name: v for name, v in fixed.items() if parameters.get(name) is None} | single
        asked = (asked - single.keys()) | {parameter.name for parameter in searched}
    config = SearchConfig.from_json(fixed, source=layers[0][0] if layers else "the flags")
    unused = registry.unused_settings(registry.resolve(config.model))
    space = space.without(name for name in unused if name not in asked)
    return Arguments(config, space, frozenset(asked))


def _parameter(name: str, value: Any) -> Parameter | None:
    if not isinstance(value, str) or name not in search_space.searchable_settings():
        return None
    return search_space.parse_parameter(name, value)
