import math

import pytest

from engine.base.config import UserError
from engine.base.settings import TrainConfig
from engine.training import periodic
from engine.training.step_blocks import StepBlocks, choose


@pytest.mark.parametrize(
    ("step_seconds", "on_gpu", "expected"),
    [
        (0.2, False, 1),
        (0.002, False, 1),
        (0.0009, False, 64),
        (0.2, True, 1),
        (0.01, True, 10),
        (0.0001, True, 64),
        (0.0, True, 64),
    ],
)
def test_steps_run_together_where_a_call_costs_a_share_of_them(step_seconds, on_gpu, expected):
    assert choose(step_seconds, on_gpu=on_gpu) == expected


def test_auto_runs_single_steps_until_it_has_measured_some_and_takes_the_chiefs_choice():
    blocks = StepBlocks("auto", on_gpu=True, agreed=lambda values: [min(*values, 7.0)])
    lengths = []
    for _ in range(12):
        lengths.append(blocks.length(100))
        blocks.ran(lengths[-1], lengths[-1] * 0.01)
    assert lengths == [1] * 10 + [7] * 2


def test_no_call_goes_past_a_limit():
    blocks = StepBlocks("8", on_gpu=False, agreed=list)
    assert blocks.length(100, math.inf) == 8
    assert blocks.length(100, 3, math.inf) == 3
    assert blocks.length(1, 3) == 1


def test_a_checkpoint_and_a_traced_range_say_how_far_they_are(tmp_path):
    assert periodic.Interval(5).steps_until_due(0) == 5
    assert periodic.Interval(5).steps_until_due(8) == 2
    assert periodic.Interval(None, 60.0).steps_until_due(8) == math.inf
    trace = periodic.Trace((3, 4), tmp_path)
    assert [trace.steps_until_edge(step) for step in range(6)] == [2, 1, 2, 1, math.inf, math.inf]


@pytest.mark.parametrize("value", ["0", "-1", "many", "1001"])
def test_a_number_of_steps_that_is_none_is_refused(value):
    with pytest.raises(UserError, match="--steps-per-execution: got"):
        TrainConfig(steps_per_execution=value)
