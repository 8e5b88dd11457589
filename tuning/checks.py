"""Checks, before the first trial starts, for anything that would make trials fail."""

from collections.abc import Iterator
from typing import Any

from engine.base import machine
from engine.base.config import UserError, shown
from engine.base.setting_names import flag_name
from engine.metrics import thresholds
from engine.networks import ends, registry
from engine.shards import dataset_checks
from engine.shards.tfrecords import Manifest
from tuning.search_space import Choices, Range, SearchSpace
from tuning.settings import SearchConfig


def fit_to_images(space: SearchSpace, config: SearchConfig, manifest: Manifest) -> SearchSpace:
    """The default space with no larger values than the network allows for the smallest images."""
    for name, largest in _largest(space, config, manifest).items():
        parameter = next((p for p in space.parameters if p.name == name), None)
        if not isinstance(parameter, Range) or largest >= parameter.high:
            continue
        if largest <= parameter.low:
            space = space.without([name])
        else:
            space = space.with_parameters([Range(name, parameter.low, largest)])
    return space


def _largest(space: SearchSpace, config: SearchConfig, manifest: Manifest) -> dict[str, int]:
    """The largest values that the network's settings can have, for the smallest images of any trial."""
    network = registry.resolve(config.model)
    found: dict[str, int] = {}
    for size in _image_sizes(space, config, manifest):
        for name, largest in network.largest(size).items():
            found[name] = min(largest, found.get(name, largest))
    return found


def check_search(config: SearchConfig, space: SearchSpace, manifest: Manifest) -> None:
    """Raises `UserError` with one line for the user unless every trial of the search can start."""
    check_data(config, space, manifest)
    _check_networks(config, space, manifest)


def check_data(config: SearchConfig, space: SearchSpace, manifest: Manifest) -> None:
    """The part of `check_search` that needs no TensorFlow."""
    if not space.parameters:
        raise UserError(
            "nothing is searched; give a range, such as --depth 2:5, or choices, such as --augment A,B"
        )
    machine.check_processes("--num-workers", config.num_workers)
    registry.check_weights(registry.resolve(config.model), config)
    _check_has_effect(config, space)
    thresholds.parse_threshold_rule(config.threshold)
    dataset_checks.check_validation(manifest)
    if config.compare_default:
        dataset_checks.split_info(manifest, "test")
    largest_batch = max(_settings(space, config, "global_batch_size"))
    dataset_checks.steps_per_epoch(manifest, "train", largest_batch)


def _check_has_effect(config: SearchConfig, space: SearchSpace) -> None:
    network = registry.resolve(config.model)
    unused = [n for n in registry.unused_settings(network) if network.parameter(n) is None]
    reasons = dict.fromkeys(unused, f"--model {config.model}")
    if config.optimizer == "adam" and "optimizer" not in space.names:
        reasons["weight_decay"] = "--optimizer adam"
    for name in space.names:
        if name in reasons:
            raise UserError(
                f"{flag_name(name)}: searched, but {reasons[name]} does not use it; fix it to one value"
            )


def _check_networks(config: SearchConfig, space: SearchSpace, manifest: Manifest) -> None:
    """Raises `UserError` unless every network of the search fits the images and the classes."""
    try:
        ends.choose_head(config.head, len(manifest.class_names))
        for size in _image_sizes(space, config, manifest):
            ends.working_size(manifest.image_format.image_size, size)
    except ValueError as error:
        raise UserError(str(error)) from error
    for name, largest in _largest(space, config, manifest).items():
        value = max(_settings(space, config, name))
        if value > largest:
            flag = flag_name(name)
            raise UserError(
                f"{flag}: {value} is searched, but images of {_smallest(space, config, manifest)} pixels "
                f"allow {largest}; give {flag} LOW:{largest}"
            )


def _smallest(space: SearchSpace, config: SearchConfig, manifest: Manifest) -> str:
    """`HxW` of the smallest images that a trial may use."""
    return shown(min(_image_sizes(space, config, manifest), key=min))


def _image_sizes(
    space: SearchSpace, config: SearchConfig, manifest: Manifest
) -> Iterator[tuple[int, int]]:
    for value in _settings(space, config, "image_size"):
        size = config.train_config(image_size=value).image_size
        yield size if size is not None else tuple(manifest.image_size)  # type: ignore[misc]


def _settings(space: SearchSpace, config: SearchConfig, name: str) -> list[Any]:
    """The values that trials may use for a setting; for a range, its ends."""
    if name not in space.names:
        return [getattr(config, name)]
    parameter = space[name]
    if isinstance(parameter, Choices):
        return list(parameter.values)
    return [parameter.low, parameter.high]
