import json

import pytest

from engine.base.config import UserError
from engine.base.settings import TrainConfig
from tuning import search_space
from tuning.search_space import DEFAULT_SPACE, Choices, Range, SearchSpace, parse_parameter

WIDE = DEFAULT_SPACE.with_parameters(
    [
        Range("weight_decay", 1e-4, 1e-1, "log"),
        Choices("augment", ("none", "light", "standard")),
        Choices("normalization", ("weight", "group")),
        Choices("global_batch_size", (16, 32, 64)),
        Choices("image_size", (64, "96x128")),
        Choices("horizontal_flip", (True, False)),
    ]
)


@pytest.mark.parametrize("space", [DEFAULT_SPACE, WIDE])
def test_a_space_is_the_same_after_json(space):
    assert SearchSpace.from_json(json.loads(json.dumps(space.to_json()))) == space


def test_the_default_space_is_depth_width_dropout_and_a_logarithmic_rate():
    assert DEFAULT_SPACE.names == ("depth", "width", "dropout", "learning_rate")
    assert DEFAULT_SPACE["learning_rate"].scale == "log"


@pytest.mark.parametrize(
    ("name", "text", "parameter"),
    [
        ("depth", "3", None),
        ("augment", "light", None),
        ("depth", "2:5", Range("depth", 2, 5)),
        ("learning_rate", "1e-4:1e-2", Range("learning_rate", 1e-4, 1e-2, "log")),
        ("learning_rate", "1e-4:1e-2:linear", Range("learning_rate", 1e-4, 1e-2, "linear")),
        ("dropout", "0.01:0.5:log", Range("dropout", 0.01, 0.5, "log")),
        ("augment", "none, light", Choices("augment", ("none", "light"))),
        ("global_batch_size", "16,32", Choices("global_batch_size", (16, 32))),
        ("image_size", "32,64", Choices("image_size", (32, 64))),
        ("image_size", "32,48x64", Choices("image_size", ("32", "48x64"))),
    ],
)
def test_a_flags_text_fixes_a_setting_or_makes_it_a_parameter(name, text, parameter):
    assert parse_parameter(name, text) == parameter


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("depth", "5:2", "LOW below HIGH"),
        ("depth", "2:9", "at most 7"),
        ("depth", "2:x", "whole number"),
        ("depth", "2:", "LOW:HIGH"),
        ("depth", "2:3:4:5", "LOW:HIGH"),
        ("depth", "2:5:cubic", "linear or log"),
        ("dropout", "0:0.5:log", "above 0"),
        ("augment", "none:light", "A,B,C"),
        ("augment", "none,wild", "'wild'"),
        ("augment", "none,none", "two or more"),
        ("image_size", "4,64", "8 and 8192"),
        ("epochs", "2:5", "'epochs' cannot be searched"),
        ("seed", "1,2", "'seed' cannot be searched"),
        ("threshold", "f1,youden", "cannot be searched"),
    ],
)
def test_what_cannot_be_searched_gets_one_line(name, text, said):
    with pytest.raises(UserError, match=said) as error:
        parse_parameter(name, text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"dept": {"low": 2, "high": 5}}, "did you mean 'depth'"),
        ({"depth": [2, 5]}, "expected"),
        ({"depth": {"low": 2}}, "expected"),
        ({"depth": {"low": 2, "high": 5, "step": 1}}, "expected"),
        ({"depth": {"choices": "2,3"}}, "expected"),
        ({"depth": {"choices": []}}, "two or more"),
        ({"depth": {"low": 2, "high": 5.5}}, "whole number"),
        ({"rotation": {"choices": [None, 5]}}, "none cannot be searched"),
    ],
)
def test_a_wrong_file_gets_one_line(entry, said):
    with pytest.raises(UserError, match=said) as error:
        SearchSpace.from_json(entry, source="space.json")
    assert "\n" not in str(error.value)


def test_values_are_the_settings_own_whatever_precision_they_come_in():
    values = {
        "depth": 3.0,
        "width": 16,
        "dropout": 0.10000000149011612,
        "learning_rate": 0.0099999999999,
    }
    settings = DEFAULT_SPACE.settings(values)
    assert settings == {"depth": 3, "width": 16, "dropout": 0.1, "learning_rate": 0.01}
    assert isinstance(settings["depth"], int)
    rates = SearchSpace((Choices("learning_rate", (0.1, 0.001)),))
    assert rates.settings({"learning_rate": 0.0010000000474974513}) == {"learning_rate": 0.001}


def test_every_setting_that_can_be_searched_is_one_of_a_training():
    names = search_space.searchable_settings()
    assert set(names) <= set(TrainConfig().to_json())
    assert {"depth", "augment", "weight_decay", "normalization", "image_size"} <= set(names)
