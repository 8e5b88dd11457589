import json

import pytest

from engine.base import config as config_module
from engine.base.config import UserError
from engine.base.flag_parser import FlagParser
from engine.base.settings import TrainConfig
from engine.networks import model_flags, registry

SOURCE = """
def build(image_format, num_classes, width=4, dropout: float = 0.5, deep=False, kind="plain"):
    ...
"""


@pytest.fixture
def parser(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(SOURCE)
    parser = FlagParser(prog="train")
    parser.add_argument("--workdir")
    config_module.add_flags(parser, TrainConfig)
    model_flags.add_flags(parser)
    return parser


def read(parser, *words):
    return model_flags.from_flags(TrainConfig, parser.parse_args(list(words)))


def test_parameters_are_flags_where_the_function_is_named(parser):
    config = read(parser, "--model", "net.py:build", "--width", "9", "--deep", "--dropout=0.1")
    assert config.model_settings == {"width": 9, "dropout": 0.1, "deep": True, "kind": "plain"}
    assert config.dropout == TrainConfig().dropout  # the flag means the function's own
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_help_shows_them_in_a_group_of_their_own(parser, capsys):
    with pytest.raises(SystemExit):
        parser.parse_args(["--model", "net.py:build", "--help"])
    shown = capsys.readouterr().out
    group = shown[shown.index("settings of --model net.py:build") :]
    assert "--width N" in group and "--deep, --no-deep" in group and "(default: 0.5)" in group
    assert shown.count("--dropout X") == 1


def test_a_file_may_name_the_function_and_flags_override_it(parser, tmp_path):
    first = read(parser, "--model", "net.py:build", "--width", "9", "--epochs", "3")
    (tmp_path / "config.json").write_text(json.dumps(first.to_json()))
    again = read(parser, "--config", "config.json", "--kind", "other")
    assert again.epochs == 3
    assert again.model_settings == {**first.model_settings, "kind": "other"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "net.py:build", "--wdith", "3"], "did you mean --width?"),
        (["--model", "net.py:biuld"], "did you mean build?"),
        (["--deep"], "unknown flag --deep"),
    ],
)
def test_wrong_flags_end_the_command_with_one_line(parser, words, message, capsys):
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(words)
    error = capsys.readouterr().err
    assert ended.value.code == 2 and message in error and error.count("\n") == 1


def test_wrong_values_and_idle_settings_are_refused(parser):
    with pytest.raises(UserError, match="--width: got 'x', expected a whole number"):
        read(parser, "--model", "net.py:build", "--width", "x")
    with pytest.raises(UserError, match=r"--blocks: --model net\.py:build does not use it"):
        read(parser, "--model", "net.py:build", "--blocks", "1")
    with pytest.raises(UserError, match="--depth: --model tutorial does not use it"):
        read(parser, "--model", "tutorial", "--depth", "4")


def test_a_parameter_with_the_name_of_another_flag_is_refused(parser, tmp_path, capsys):
    (tmp_path / "net.py").write_text("def build(image_format, num_classes, workdir='a'): ...")
    with pytest.raises(SystemExit):
        parser.parse_args(["--model", "net.py:build"])
    assert "--workdir; rename it" in capsys.readouterr().err


def test_defaults_of_a_pretrained_network_yield_to_flags_and_files(parser, tmp_path):
    preferred = registry.resolve("efficientnet_lite0").defaults
    model = ("--model", "efficientnet_lite0")
    assert read(parser, *model).learning_rate == preferred["learning_rate"]
    usual = TrainConfig().learning_rate
    assert read(parser, *model, "--learning-rate", str(usual)).learning_rate == usual
    (tmp_path / "c.json").write_text(json.dumps({"learning_rate": usual}))
    found = read(parser, *model, "--config", "c.json")
    assert (found.learning_rate, found.epochs) == (usual, preferred["epochs"])
    assert read(parser, *model, "--weights", "none").learning_rate == usual
