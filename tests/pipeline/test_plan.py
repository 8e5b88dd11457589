import dataclasses

import pytest

from engine.base.config import UserError
from engine.base.settings import TrainConfig
from engine.pipeline import augmentation
from engine.pipeline.mixing import Mixing
from engine.pipeline.plan import InputPlan


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"global_batch_size": 0}, "global_batch_size must be a positive integer, got 0"),
        ({"global_batch_size": 2.5}, "got 2.5"),
        ({"shuffle_window": True}, "shuffle_window must be a positive integer, got True"),
        ({"seed": "0"}, "seed must be an integer, got '0'"),
        ({"sampling": "even"}, "sampling must be one of natural, balanced, got 'even'"),
        ({"cache": "disk"}, "cache must be one of auto, memory, streaming, got 'disk'"),
        ({"strengths": "strong"}, "strengths must be augmentation.Strengths, got 'strong'"),
        ({"mixing": 0.2}, "mixing must be mixing.Mixing, got 0.2"),
        ({"mixing": Mixing(cutmix=1), "global_batch_size": 7}, "must be even"),
        ({"cache_memory_fraction": 1.5}, "above 0, at most 1, got 1.5"),
        ({"data_service": "here:1"}, "data_service: got 'here:1', expected grpc://HOST:PORT"),
        ({"data_service": 5}, "data_service: got 5, expected grpc://HOST:PORT"),
        ({"data_service": "grpc://here:1", "cache": "memory"}, "give one of them"),
    ],
)
def test_wrong_values_are_one_line_that_repeats_them(wrong, line):
    with pytest.raises(UserError) as raised:
        InputPlan(**wrong)
    assert line in str(raised.value) and "\n" not in str(raised.value)


def test_a_plan_takes_every_setting_of_the_input_from_a_configuration():
    config = TrainConfig(
        global_batch_size=48, cache="streaming", cache_memory_fraction=0.25, shuffle_window=96,
        sampling="balanced", seed=7, augment="light", data_service=None, mixup=0.2, cutmix=1.0,
    )  # fmt: skip
    plan = InputPlan.from_config(config, held_splits=("validation",))
    assert plan == InputPlan(
        global_batch_size=48, cache="streaming", cache_memory_fraction=0.25, shuffle_window=96,
        sampling="balanced", seed=7, strengths=augmentation.PRESETS["light"],
        held_splits=("validation",), mixing=Mixing(mixup=0.2, cutmix=1.0),
    )  # fmt: skip
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.seed = 1
