import argparse
import dataclasses
import re

import pytest

from engine import train
from engine.base import config
from engine.base.flag_parser import FlagParser, summary
from engine.base.setting_names import ALIASES
from engine.base.settings import TrainConfig
from tuning.settings import SearchConfig


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--lr", "0.1"], "unknown flag --lr; did you mean --learning-rate?"),
        (["--lr=0.1"], "unknown flag --lr; did you mean --learning-rate?"),
        (["-lr", "0.1"], "unknown flag -lr; did you mean --learning-rate?"),
        (["--epoch", "3"], "unknown flag --epoch; did you mean --epochs?"),
        (["--learning-rat", "1"], "unknown flag --learning-rat; did you mean --learning-rate?"),
        (["--learning_rate", "1"], "unknown flag --learning_rate; did you mean --learning-rate?"),
        (["--batch-size", "8"], "unknown flag --batch-size; did you mean --global-batch-size?"),
        (["--wd", "0"], "unknown flag --wd; did you mean --weight-decay?"),
        (["--momentum", "0.9"], "unknown flag --momentum; did you mean --optimizer?"),
        (["--ema", "0"], "unknown flag --ema; did you mean --ema-momentum?"),
        (["--clip-norm", "1"], "unknown flag --clip-norm; did you mean --global-clipnorm?"),
        (
            ["--early-stopping", "3"],
            "unknown flag --early-stopping; did you mean --early-stopping-patience?",
        ),
        (["--output", "run"], "unknown flag --output; did you mean --workdir?"),
        (["--zzz"], "unknown flag --zzz; --help lists the flags"),
        (["more"], "unexpected argument 'more'; --help shows what is expected"),
        (["--epochs"], "argument --epochs: expected one argument"),
    ],
)
def test_a_wrong_flag_is_one_line_with_the_right_one(words, said, capsys):
    with pytest.raises(SystemExit) as stop:
        train.main(["shards", "--workdir", "run", *words])
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"python -m engine.train: error: {said}\n"


def test_every_alias_names_a_flag_and_is_none_itself():
    """Else a hint leads nowhere."""
    from engine import build_tfrecords, explain
    from tuning import search

    flags = set()
    for command in (train, build_tfrecords, explain, search):
        flags |= {name.lstrip("-") for name in command.build_parser()._option_string_actions}
    assert set(ALIASES.values()) <= flags
    known = {name.replace("_", "-") for name in TrainConfig().to_json()}
    assert not known & ALIASES.keys()


def test_a_key_of_a_file_and_a_choice_are_met_with_the_right_one_too():
    with pytest.raises(config.UserError, match=r"'lr'; did you mean 'learning_rate'"):
        TrainConfig.from_json({"lr": 1})
    with pytest.raises(config.UserError, match=r"'ema'; did you mean 'ema_momentum'"):
        TrainConfig.from_json({"ema": 0.9}, source="RUN/config.json")
    with pytest.raises(config.UserError, match=r"'zzz'; \d\d names are known, which --help lists$"):
        TrainConfig.from_json({"zzz": 1})
    with pytest.raises(
        config.UserError, match=r"'standart', expected one of none, .*; did you mean standard\?"
    ):
        TrainConfig(augment="standart")


def test_a_beginning_of_a_flag_is_not_taken_for_it():
    """A script that leans on it would mean another flag on the day that one is added."""
    parser = FlagParser(prog="x")
    parser.add_argument("--resume", action="store_true")
    with pytest.raises(SystemExit):
        parser.parse_args(["--res"])
    assert parser.parse_args(["--resume"]) == argparse.Namespace(resume=True)


def test_help_names_what_must_be_given_and_groups_the_flags():
    """A usage line of fifty flags says nothing."""
    parser = FlagParser(prog="x", description="`x A`: does it.\n\nAnd well.\n\n    x 100%\n    x y")
    parser.add_argument("a", metavar="A")
    parser.add_argument("b", metavar="B", nargs="*")
    parser.add_argument("--port", metavar="P", required=True)
    config.add_flags(parser, TrainConfig)
    text = parser.format_help()
    assert text.startswith(
        "usage: x A [B ...] --port P [flags]\n\nDoes it.\n\nAnd well.\n\n    x 100%\n    x y\n\n"
    )
    assert re.search(r"\nthe network:\n  --model .*\n", text)
    assert re.search(r"\nhow the weights are found:\n  --epochs N .*\n", text)


def test_every_flag_is_in_one_group_its_commands_own_ones_first():
    groups = config.flag_groups(SearchConfig)
    names = [field.name for _, fields in groups for field in fields]
    fields = dataclasses.fields(SearchConfig)
    assert sorted(names) == sorted(field.name for field in fields if field.metadata["flag"])
    assert groups[0][1][0].name == "tuner"
    assert len({title for title, _ in groups}) == len(groups)


def test_the_summary_of_a_command_is_what_it_does():
    assert summary("`python -m x A [B]`: does it.\n\nMore.") == "Does it."
