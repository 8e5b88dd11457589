import dataclasses
import re
from pathlib import Path

import pytest

from engine.base.config import UserError
from engine.base.settings import ModelSettings, TrainConfig
from engine.networks import architectures, registry
from engine.networks.network import Parameter


def test_every_file_of_architectures_is_a_network_by_its_name():
    files = {p.stem for p in Path(architectures.__path__[0]).glob("[a-z]*.py")}
    assert files == set(registry.built_in())
    for name, network in registry.built_in().items():
        assert network.name == name and network.summary and network.explained_layer
        assert set(network.settings) <= set(registry.SETTINGS)


def test_the_help_of_model_names_every_network():
    (field,) = (one for one in dataclasses.fields(TrainConfig) if one.name == "model")
    assert set(registry.built_in()) <= set(re.findall(r"\w+", field.metadata["help"]))


def test_every_setting_of_networks_is_of_one_at_least():
    used = {name for network in registry.built_in().values() for name in network.settings}
    assert used == set(registry.SETTINGS)


def test_an_unknown_network_is_told_the_name_it_resembles():
    with pytest.raises(UserError, match="did you mean 'tutorial'"):
        registry.resolve("tutoral")


def test_what_a_network_does_not_use_is_refused_even_at_its_default():
    network = registry.resolve("tutorial")
    config = TrainConfig(model="tutorial")
    assert registry.checked(network, config) == config
    with pytest.raises(
        UserError, match="--depth: --model tutorial does not use it; it takes --head"
    ):
        registry.checked(network, config, given={"depth"})
    with pytest.raises(UserError, match="--width"):
        registry.checked(network, TrainConfig(model="tutorial", width=8))
    with pytest.raises(UserError, match="--model-outputs"):
        registry.checked(network, TrainConfig(model="tutorial", model_outputs="logits"))


def test_a_pretrained_network_has_defaults_of_its_own_for_what_is_not_given():
    network = registry.resolve("efficientnet_lite0")
    config = TrainConfig(model="efficientnet_lite0", epochs=3)
    found = registry.with_defaults(network, config, {"epochs", "model"})
    assert (found.epochs, found.learning_rate) == (3, network.defaults["learning_rate"])
    assert registry.checked(network, found) == found
    assert (found.freeze_epochs, found.head_solver) == (1, "lbfgs")
    stepped = TrainConfig(model="efficientnet_lite0", freeze_epochs=2)
    found = registry.with_defaults(network, stepped, {"freeze_epochs", "model"})
    assert (found.freeze_epochs, found.head_solver) == (2, "adam")
    untrained = TrainConfig(model="efficientnet_lite0", weights="none")
    assert registry.with_defaults(network, untrained, {"model"}) == untrained
    assert registry.with_defaults(registry.resolve("cnn"), TrainConfig(), ()) == TrainConfig()


def test_own_settings_are_told_from_shared_ones():
    own = (Parameter("dropout", float, 0.5), Parameter("width", int, 3))
    network = registry.Network("a:b", "", build=lambda *_: None, parameters=own)
    values = {"dropout": 0.1, "epochs": 3, "model_settings": {"width": 4}}
    assert registry.sorted_settings(network, values) == {
        "epochs": 3,
        "model_settings": {"width": 4, "dropout": 0.1},
    }
    assert registry.settings_of(network, ModelSettings(model_settings={"width": 4})) == {
        "dropout": 0.5,
        "width": 4,
    }
    assert "width" in registry.unused_settings(network)  # that of the cnn
