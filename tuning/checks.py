"""Checks, before the first trial starts, for anything that would make trials fail."""

from collections.abc import Iterator
from typing import Any

from engine.base import machine
from engine.base.config import UserError
from engine.base.setting_names import flag_name
from engine.metrics import thresholds
from engine.shards import dataset_checks
from engine.shards.tfrecords import Manifest
from tuning.search_space import OF_THE_CNN, Choices, Range, SearchSpace
from tuning.settings import SearchConfig


def fit_default_depth(space: SearchSpace, config: SearchConfig, manifest: Manifest) -> SearchSpace:
    """Limits the depth of the default space to what the smallest images allow."""
    from engine.networks import models

    depth = next((p for p in space.parameters if p.name == "depth"), None)
    if not isinstance(depth, Range):
        return space
    largest = min(models.largest_depth(size) for size in _image_sizes(space, config, manifest))
    if largest >= depth.high:
        return space
    if largest <= depth.low:
        return space.without(["depth"])
    return space.with_parameters([Range("depth", depth.low, largest)])


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
    _check_has_effect(config, space)
    thresholds.parse_threshold_rule(config.threshold)
    dataset_checks.check_validation(manifest)
    if config.compare_default:
        dataset_checks.split_info(manifest, "test")
    largest_batch = max(_settings(space, config, "global_batch_size"))
    dataset_checks.steps_per_epoch(manifest, "train", largest_batch)


def _check_has_effect(config: SearchConfig, space: SearchSpace) -> None:
    idle = [name for name in OF_THE_CNN if name in space.names] if config.model != "cnn" else []
    if config.optimizer == "adam" and "optimizer" not in space.names:
        idle += [name for name in ("weight_decay",) if name in space.names]
    if idle:
        why = f"--model {config.model}" if config.model != "cnn" else "--optimizer adam"
        names = ", ".join(flag_name(name) for name in idle)
        raise UserError(f"{names}: searched, but {why} does not use it; fix it to one value")


def _check_networks(config: SearchConfig, space: SearchSpace, manifest: Manifest) -> None:
    from engine.networks import models

    try:
        models.choose_head(config.head, len(manifest.class_names))
        for size in _image_sizes(space, config, manifest):
            models.check_resizable(manifest.image_size, size)
            depth = max(_settings(space, config, "depth"))
            largest = models.largest_depth(size)
            if config.model == "cnn" and depth > largest:
                raise ValueError(
                    f"--depth: {depth} stages are searched, but images of {size[0]}x{size[1]} pixels "
                    f"allow {largest}; give --depth LOW:{largest}"
                )
    except ValueError as error:
        raise UserError(str(error)) from error


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
