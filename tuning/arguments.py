"""Merges flags, `--config FILE.json` and `--space FILE.json` into fixed settings and a search space.

Later sources override earlier ones: the default space; `--config`; `--space`, which replaces the space;
flags. One value fixes a setting; a range or choices make it a parameter (see `tuning.search_space`).
"""

import argparse
import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from engine.base import config as config_module
from engine.base.flag_parser import FlagParser
from engine.networks import model_flags, registry
from engine.networks.network import Network
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


def add_flags(parser: FlagParser) -> None:
    """Adds the flags of `engine.train` and of the search to `parser`."""
    parser.add_argument(
        "--space",
        type=Path,
        metavar="FILE.json",
        help="what is searched, instead of the default space: "
        + ", ".join(DEFAULT_SPACE.names).replace("_", "-"),
    )
    config_module.add_flags(parser, SearchConfig)
    model_flags.add_flags(parser, searched=True)


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
    network = model_flags.network_of(namespace, SearchConfig().model)
    names = {field.name for field in dataclasses.fields(SearchConfig)}
    names |= {parameter.name for parameter in network.parameters}
    flags = {name: given[name] for name in names & given.keys()}
    for source, values in [*layers, ("the flags", flags)]:
        if source == "the flags" and namespace.space is not None:
            read_space = config_module.read_settings(namespace.space)
            space = SearchSpace.from_json(read_space, source=str(namespace.space), network=network)
            asked = set(space.names)
            fixed = {name: value for name, value in fixed.items() if name not in asked}
        parameters = {name: _parameter(name, value, network) for name, value in values.items()}
        searched = [parameter for parameter in parameters.values() if parameter is not None]
        single = {name: value for name, value in values.items() if parameters[name] is None}
        space = space.without(single).with_parameters(searched)
        fixed = {name: v for name, v in fixed.items() if parameters.get(name) is None} | single
        asked = (asked - single.keys()) | {parameter.name for parameter in searched}
    source = layers[0][0] if layers else "the flags"
    config = SearchConfig.from_json(registry.sorted_settings(network, fixed), source=source)
    kept = {name for name in registry.SETTINGS if name in flags and not network.parameter(name)}
    config = registry.with_defaults(network, config, {*fixed, *asked})
    config = registry.checked(network, config, given=kept)
    space = space.without(_not_there(network, space, asked))
    return Arguments(config, space, frozenset(asked))


def _not_there(network: Network, space: SearchSpace, asked: Collection[str]) -> list[str]:
    """Settings of the default space that the network does not have, or means something else by."""
    unused = {
        *registry.unused_settings(network),
        *(parameter.name for parameter in network.parameters),
    }
    return [name for name in space.names if name in unused and name not in asked]


def _parameter(name: str, value: Any, network: Network) -> Parameter | None:
    if not isinstance(value, str) or name not in search_space.searchable_settings(network):
        return None
    return search_space.parse_parameter(name, value, network)
