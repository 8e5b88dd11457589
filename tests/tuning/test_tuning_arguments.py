import json

import pytest

from engine.base.config import UserError
from engine.base.flag_parser import FlagParser
from tuning import arguments
from tuning.search_space import DEFAULT_SPACE, Choices, Range


def read(*flags):
    parser = FlagParser()
    arguments.add_flags(parser)
    return arguments.read(parser.parse_args(list(flags)))


def test_without_flags_the_default_space_is_searched():
    assert read().space == DEFAULT_SPACE
    assert read().asked == frozenset()


def test_a_flag_fixes_narrows_or_adds_a_parameter():
    found = read("--depth", "3", "--dropout", "0.1:0.2", "--augment", "none,light", "--epochs", "5")
    assert found.space.names == ("width", "dropout", "learning_rate", "augment")
    assert found.space["dropout"] == Range("dropout", 0.1, 0.2)
    assert (found.config.depth, found.config.epochs) == (3, 5)
    assert found.asked == {"dropout", "augment"}


def test_files_and_flags_stand_over_one_another_in_turn(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"width": 8, "depth": 3, "dropout": "0.1:0.2", "tuner": "random", "epochs": 7})
    )
    with_config = read("--config", str(tmp_path / "config.json"))
    assert with_config.space.names == ("dropout", "learning_rate")
    assert (with_config.config.width, with_config.config.tuner) == (8, "random")
    (tmp_path / "space.json").write_text(json.dumps({"depth": {"low": 2, "high": 4}}))
    files = ["--config", str(tmp_path / "config.json"), "--space", str(tmp_path / "space.json")]
    assert read(*files).space.names == ("depth",)
    found = read(*files, "--width", "8,16", "--epochs", "9")
    assert found.space["depth"] == Range("depth", 2, 4)
    assert found.space["width"] == Choices("width", (8, 16))
    assert (found.config.width, found.config.epochs) == (48, 9)
    assert read(*files, "--depth", "2", "--width", "8,16").space.names == ("width",)


def test_the_files_of_a_search_ask_for_the_same_search(tmp_path):
    asked = read(
        "--depth", "3", "--augment", "none,light", "--max-trials", "7", "--image-size", "32"
    )
    (tmp_path / "search.json").write_text(json.dumps(asked.config.to_json()))
    (tmp_path / "space.json").write_text(json.dumps(asked.space.to_json()))
    again = read(
        *("--config", str(tmp_path / "search.json"), "--space", str(tmp_path / "space.json"))
    )
    assert (again.config, again.space) == (asked.config, asked.space)


def test_the_tutorial_network_leaves_out_what_it_does_not_have():
    assert read("--model", "tutorial").space.names == ("learning_rate",)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--objective", "val_f1"], "val_auroc, val_accuracy"),
        (["--epochs", "2:5"], "whole number"),
        (["--tuner", "luck"], "bayesian"),
        (["--strategy", "multi_worker"], "--num-workers"),
        (["--space", "absent.json"], "absent.json"),
    ],
)
def test_wrong_flags_get_one_line(flags, said):
    with pytest.raises(UserError, match=said):
        read(*flags)


def test_the_objective_is_what_the_best_epoch_goes_by():
    assert read("--objective", "val_auroc").config.train_config().monitor == "val_auroc"
    assert read("--objective", "loss").config.train_config().monitor == "val_loss"


def test_a_setting_by_its_earlier_name_is_met_with_the_name_it_has_now(tmp_path):
    for old, new in (("ema", "ema_momentum"), ("seeds", "num_seeds")):
        (tmp_path / "search.json").write_text(json.dumps({old: 1}))
        with pytest.raises(UserError, match=rf"'{old}'; did you mean '{new}'\?"):
            read("--config", str(tmp_path / "search.json"))
    (tmp_path / "space.json").write_text(json.dumps({"clip_norm": [0.5, 1.0]}))
    with pytest.raises(UserError, match=r"clip_norm.*global_clipnorm"):
        read("--space", str(tmp_path / "space.json"))


NETWORK = """
from typing import Literal

def build(image_format, num_classes, width=8, dropout=0.5, deep=False, kind: Literal["a", "b"] = "a"):
    ...
"""


@pytest.fixture
def named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NETWORK)
    return "--model", "net.py:build"


def test_the_settings_of_a_users_network_are_searched(named):
    found = read(*named, "--width", "4:16", "--kind", "a,b", "--dropout", "0.2")
    assert set(found.space.names) == {"learning_rate", "width", "kind"}
    assert found.space["width"] == Range("width", 4, 16) and found.space["width"].is_integer
    assert found.config.model_settings["dropout"] == 0.2
    trial = found.config.train_config(width=5, kind="b", learning_rate=1e-3)
    assert trial.model_settings == {"width": 5, "dropout": 0.2, "deep": False, "kind": "b"}
    assert trial.learning_rate == 1e-3


def test_auto_searches_around_the_default(named, tmp_path):
    found = read(*named, "--width", "auto", "--dropout", "auto").space
    assert found["width"] == Range("width", 4, 16)
    assert found["dropout"] == Range("dropout", 0.25, 0.75)
    (tmp_path / "space.json").write_text(json.dumps({"deep": "auto", "kind": "auto"}))
    found = read(*named, "--space", "space.json").space
    assert found.to_json() == {"deep": {"choices": [False, True]}, "kind": {"choices": ["a", "b"]}}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--width", "4:x"), "--width: got 'x', expected a whole number"),
        (("--kind", "a,c"), "--kind: got 'c', expected one of a, b"),
        (("--blocks", "2"), "--blocks: --model net.py:build does not use it"),
    ],
)
def test_wrong_values_of_a_users_network_are_refused(named, flags, message):
    with pytest.raises(UserError) as caught:
        read(*named, *flags)
    assert message in str(caught.value)
