import argparse
import dataclasses
import json

import pytest

from engine.base import config, setting_values
from engine.base.config import Config, UserError, setting
from engine.base.run_settings import EvaluateConfig, ExplainConfig, PredictConfig
from engine.base.setting_names import flag_name
from engine.base.setting_values import parse_image_size


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample(Config):
    global_batch_size: int = setting(64, minimum=1, help="images per step")
    learning_rate: float = setting(1e-3, above=0, maximum=10, help="peak rate, 100 % of it")
    augment: str = setting("light", choices=("none", "light"), help="preset")
    deterministic: bool = setting(False, help="bit-identical")
    flip: bool | None = setting(None, help="mirror")
    rotation: float | None = setting(None, minimum=0, help="degrees")
    image_size: tuple[int, int] = setting((224, 224), parse=parse_image_size, help="pixels")


def from_command_line(*flags: str) -> Sample:
    parser = argparse.ArgumentParser()
    config.add_flags(parser, Sample)
    return config.from_flags(Sample, parser.parse_args(flags))


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("global_batch_size", 0, "must be at least 1"),
        ("global_batch_size", "many", "expected a whole number"),
        ("global_batch_size", 2.5, "expected a whole number"),
        ("global_batch_size", True, "expected a whole number"),
        ("global_batch_size", float("inf"), "expected a whole number"),
        ("learning_rate", 0, "must be above 0"),
        ("learning_rate", 11, "must be at most 10"),
        ("learning_rate", "nan", "finite"),
        ("learning_rate", True, "expected a number"),
        ("augment", "wild", "expected one of none, light"),
        ("augment", 3, "expected text"),
        ("deterministic", "yes", "expected true or false"),
        ("rotation", -1, "must be at least 0"),
        ("image_size", "abc", "expected N or HxW"),
        ("image_size", "224x", "expected N or HxW"),
        ("image_size", "4", "between 8 and 8192"),
        ("image_size", "64x64x3", "expected N or HxW"),
        ("image_size", (4, 64), "between 8 and 8192"),
        ("image_size", ["a", "b"], "expected N or HxW"),
        ("image_size", 224.5, "expected N or HxW"),
        ("image_size", None, "expected N or HxW"),
    ],
)
def test_a_wrong_value_is_named_with_its_flag_and_what_was_expected(field, value, says) -> None:
    with pytest.raises(UserError) as caught:
        Sample(**{field: value})
    message = str(caught.value)
    assert message.startswith(flag_name(field))
    assert says in message
    assert "\n" not in message


@pytest.mark.parametrize("value", [192, "192", "192x192", (192, 192), [192, 192]])
def test_an_image_size_is_the_same_however_it_is_given(value) -> None:
    assert Sample(image_size=value).image_size == (192, 192)


def test_height_comes_before_width() -> None:
    assert parse_image_size("192x256") == (192, 256)


def test_numbers_as_text_become_numbers() -> None:
    sample = Sample(global_batch_size="32", learning_rate="1e-2", rotation=5)
    assert sample.global_batch_size == 32
    assert sample.learning_rate == 0.01
    assert isinstance(sample.rotation, float)


def test_json_round_trip() -> None:
    sample = Sample(global_batch_size=8, image_size="64x96", rotation=3.0, flip=False)
    assert Sample.from_json(json.loads(json.dumps(sample.to_json()))) == sample


def test_absent_keys_take_their_defaults() -> None:
    assert Sample.from_json({}) == Sample()


def test_an_unknown_key_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(UserError, match=r"run.json.*'global_bach_size'.*'global_batch_size'"):
        Sample.from_json({"global_bach_size": 8}, source="run.json")
    with pytest.raises(UserError, match=r"expected one of .*augment"):
        Sample.from_json({"zzz": 8})


def test_flags_override_the_file_and_the_file_the_defaults(tmp_path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"global_batch_size": 8, "augment": "none", "image_size": [64, 96]}')
    sample = from_command_line("--config", str(path), "--augment", "light")
    assert sample == Sample(global_batch_size=8, augment="light", image_size=(64, 96))


def test_a_flag_at_its_default_still_overrides_the_file(tmp_path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"global_batch_size": 8}')
    assert from_command_line("--config", str(path), "--global-batch-size", "64") == Sample()


def test_no_flags_are_the_defaults() -> None:
    assert from_command_line() == Sample()


def test_boolean_flags_go_both_ways_and_none_can_be_said() -> None:
    sample = from_command_line("--deterministic", "--no-flip", "--rotation", "none")
    assert (sample.deterministic, sample.flip, sample.rotation) == (True, False, None)


@pytest.mark.parametrize(
    ("text", "says"),
    [("[1, 2]", "expected a JSON object"), ("{", "not valid JSON"), ("\xff", "not valid JSON")],
)
def test_a_damaged_settings_file_is_a_user_error(tmp_path, text, says) -> None:
    path = tmp_path / "settings.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=says):
        from_command_line("--config", str(path))


def test_a_missing_settings_file_is_a_user_error(tmp_path) -> None:
    with pytest.raises(UserError, match=r"absent.json: cannot be read"):
        from_command_line("--config", str(tmp_path / "absent.json"))


def test_help_shows_every_flag_with_its_default_and_bears_percent_signs() -> None:
    parser = argparse.ArgumentParser()
    config.add_flags(parser, Sample)
    text = " ".join(parser.format_help().split())
    for field in dataclasses.fields(Sample):
        assert flag_name(field.name) in text
    for shown in ("100 % of it", "(default: 224x224)", "(default: none)", "(default: off)"):
        assert shown in text


def test_replace_keeps_what_was_valid_and_checks_what_is_new() -> None:
    assert dataclasses.replace(Sample(), global_batch_size=2).image_size == (224, 224)
    with pytest.raises(UserError):
        dataclasses.replace(Sample(), global_batch_size=-2)


@pytest.mark.parametrize("value", ["0", "-3", "m", "0m", "1h", "infm", "nanm", "1.5"])
def test_an_interval_is_a_number_of_steps_or_minutes(value) -> None:
    assert setting_values.parse_interval("500") == (500, None)
    assert setting_values.parse_interval("1.5m") == (None, 90)
    with pytest.raises(ValueError, match="10m"):
        setting_values.parse_interval(value)


@pytest.mark.parametrize("value", ["", "5", "0:3", "4:3", "a:b", "1:2:3"])
def test_a_step_range_counts_from_one(value) -> None:
    assert setting_values.parse_step_range("1:1") == (1, 1)
    with pytest.raises(ValueError, match="FROM:TO"):
        setting_values.parse_step_range(value)


@pytest.mark.parametrize("config_class", [EvaluateConfig, PredictConfig, ExplainConfig])
def test_a_batch_that_no_memory_holds_is_one_line(config_class):
    with pytest.raises(UserError, match=r"--batch-size: got 1000000000, must be at most \d+$"):
        config_class(batch_size=1_000_000_000)


@pytest.mark.parametrize("value", ["0.7,0.2,0.1", [0.7, 0.2, 0.1], (0.7, 0.2, 0.1)])
def test_shares_are_the_same_however_they_are_given(value):
    assert EvaluateConfig(prevalence=value).prevalence == "0.7,0.2,0.1"
    assert EvaluateConfig.from_json({"prevalence": value}).prevalence == "0.7,0.2,0.1"


def test_shares_are_separated_by_commas_alone():
    with pytest.raises(UserError, match=r"--prevalence: got '0\.7x0\.3'"):
        EvaluateConfig(prevalence="0.7x0.3")
    assert EvaluateConfig(prevalence=0.1).prevalence == "0.1"
