"""The networks by name: those of `engine.networks.architectures`, and users' own functions and models.

Adding a network to the engine is adding one file to `architectures`. Nothing here needs TensorFlow.
"""

import dataclasses
import functools
import importlib
import pkgutil
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from engine.base.config import UserError
from engine.base.setting_names import did_you_mean, flag_name
from engine.base.settings import ModelSettings
from engine.images.format import ImageFormat
from engine.networks import architectures, user_models
from engine.networks.network import Network

if TYPE_CHECKING:
    import keras

    from engine.networks.training_form import TrainingForm

ConfigType = TypeVar("ConfigType", bound=ModelSettings)
_OF_OTHERS = ("model", "model_outputs", "model_settings")  # not handed to a built-in network
SETTINGS = tuple(
    field.name for field in dataclasses.fields(ModelSettings) if field.name not in _OF_OTHERS
)


@functools.cache
def built_in() -> Mapping[str, Network]:
    """The networks of the engine, by name."""
    networks = {}
    for found in sorted(pkgutil.iter_modules(architectures.__path__), key=lambda m: m.name):
        module = importlib.import_module(f"{architectures.__name__}.{found.name}")
        networks[module.NETWORK.name] = module.NETWORK
    return networks


def resolve(model: "str | Network | Callable[..., keras.Model] | keras.Model") -> Network:
    """The network that `--model`, or `model=` in Python, means.

    Args:
        model: a built-in network's name, `package.module:function` or `FILE.py:function`, the function
            itself, a Keras model, or a network.

    Raises:
        UserError: there is none of that name, or the function cannot be used.
    """
    if isinstance(model, Network):
        return model
    if not isinstance(model, str):
        return user_models.of_object(model)
    if ":" in model:
        return user_models.of_reference(model)
    networks = built_in()
    if model not in networks:
        raise UserError(
            f"--model: no network is called {model!r}{did_you_mean(model, list(networks))} (or give a "
            "function of your own, as package.module:function or FILE.py:function)"
        )
    return networks[model]


def sorted_settings(network: Network, values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by name, with those that only this network has moved into `model_settings`."""
    own = {name: value for name, value in values.items() if network.parameter(name) is not None}
    if not own:
        return dict(values)
    others = {name: value for name, value in values.items() if name not in own}
    return {**others, "model_settings": {**(values.get("model_settings") or {}), **own}}


def settings_of(network: Network, config: ModelSettings) -> dict[str, Any]:
    """The keyword settings that the network is built with."""
    shared = {name: getattr(config, name) for name in network.settings}
    return {**shared, **network.completed(config.model_settings)}


def unused_settings(network: Network) -> tuple[str, ...]:
    """The settings of networks that this one makes no use of."""
    idle = [name for name in SETTINGS if name not in network.settings]
    return (*idle, "model_outputs") if network.is_built_in else tuple(idle)


def checked(
    network: Network, config: ConfigType, *, given: Collection[str] = frozenset()
) -> ConfigType:
    """The configuration of this network, with all of its own settings and its name.

    Args:
        given: the settings that flags gave; any other value than the default counts as given too.

    Raises:
        UserError: a setting was given that the network does not use, or has a wrong value.
    """
    defaults = type(config)()
    for name in unused_settings(network):
        if name in given or getattr(config, name) != getattr(defaults, name):
            raise UserError(
                f"{flag_name(name)}: --model {network.name} does not use it; it takes {network.described}"
            )
    own = network.completed(config.model_settings)
    return dataclasses.replace(config, model=network.name, model_settings=own)


def with_defaults(network: Network, config: ConfigType, given: Collection[str]) -> ConfigType:
    """The configuration with what a pretrained network prefers for the settings that are not given.

    Args:
        given: the settings that flags, files or Python gave.
    """
    if not is_pretrained(network, config):
        return config
    preferred = {name: value for name, value in network.defaults.items() if name not in given}
    own_epochs = network.defaults.get("freeze_epochs")
    if "freeze_epochs" in given and getattr(config, "freeze_epochs", None) != own_epochs:
        preferred.pop("head_solver", None)  # it takes exactly so many epochs
    return dataclasses.replace(config, **preferred)


def check_weights(network: Network, config: ModelSettings) -> None:
    """Raises `UserError` where the pretrained weights that a configuration names are not there.

    Needs no TensorFlow.
    """
    network.check_weights(settings_of(network, config))


def without_weights(network: Network) -> Network:
    """The network, built with random weights in place of pretrained ones: a resume restores all of them."""
    if "weights" not in network.settings:
        return network

    def build(*arguments: Any, **settings: Any) -> Any:
        return network.build(*arguments, **{**settings, "weights": "none"})

    return dataclasses.replace(network, build=build)


def is_pretrained(network: Network, config: ModelSettings) -> bool:
    """Whether the network starts from pretrained weights, as its own and not by `--init-from`."""
    return "weights" in network.settings and config.weights != "none"


def build(
    network: Network, config: ModelSettings, image_format: ImageFormat, num_classes: int
) -> Any:
    """The network's Keras model for these images and classes, under the dtype policy in force.

    Raises:
        UserError: the settings do not fit the images or the classes, or the user's function fails.
    """
    try:
        return network.build(image_format, num_classes, **settings_of(network, config))
    except ValueError as error:
        raise UserError(str(error)) from error


def build_training_form(
    network: Network,
    model: Any,
    config: ModelSettings,
    image_format: ImageFormat,
    num_classes: int,
    *,
    synchronized: bool = False,
) -> "TrainingForm":
    """The training form of what `build` gave; see `training_form.training_form`.

    Raises:
        UserError: the model does not fit the images or the classes, or fails when it is called.
    """
    from engine.networks.training_form import training_form

    with user_models.errors_located(network):
        return training_form(
            model,
            image_shape=image_format.image_shape,
            num_classes=num_classes,
            outputs=config.model_outputs,
            synchronized=synchronized,
        )
